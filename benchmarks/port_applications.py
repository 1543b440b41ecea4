"""Ports every constructor of keras.applications to tf_keras.

    nice -n 5 python benchmarks/port_applications.py --library=keras > port_applications.log
    python benchmarks/port_applications.py --library=keras --models='ConvNeXt*'

Each model gets random weights, and BatchNormalization the statistics of random pixels.
`to_tf_keras` proves its own result; here the two also predict the same images. One row a model, as
a Markdown table; what failed is listed at the end, and the exit code is then 1.
"""

import time
from typing import Any

import every_application
import numpy as np
from absl import app
from int8_applications import IMAGES, normalize

from sft_keras.quantization import to_tf_keras
from sft_keras.shrinking import proof

COLUMNS = ["layers", "port s", "GB", "largest relative difference"]
FLOAT32_ROUNDING = 1e-3
"""What the float32 of two Kerases may differ by: deep networks amplify each rounding."""


def measure(model: Any) -> dict:
    """Ports the model; layers, seconds, and how far apart the two predict."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, *model.input_shape[1:])).astype("float32")
    normalize(model, images)
    begin = time.perf_counter()
    ported = to_tf_keras(model)
    seconds = time.perf_counter() - begin
    outputs = (proof.outputs(m, images) for m in (model, ported))
    return {
        "layers": len(ported.layers),
        "seconds": seconds,
        "difference": proof.relative_difference(*outputs),
    }


def cells(found: dict) -> list:
    """A row of the table."""
    sizes = [f"{found['seconds']:.1f}", f"{found['gigabytes']:.1f}"]
    return [found["layers"], *sizes, f"{found['difference']:.0e}"]


def problem(name: str, found: dict) -> str:
    """Why a measured row counts as failed, or an empty string."""
    difference = found["difference"]
    return "" if difference <= FLOAT32_ROUNDING else f"differs by {difference:.0e} of its scale"


if __name__ == "__main__":
    app.run(lambda _: every_application.run(COLUMNS, measure, cells, problem))
