"""Takes every constructor of keras.applications and tf_keras.applications to an int8 file.

    nice -n 5 python benchmarks/int8_applications.py --max_params=3.1e7 > int8_applications.log
    python benchmarks/int8_applications.py --library=keras --models='MobileNet*'

Each model gets random weights, and BatchNormalization the statistics of random pixels; it is
quantized, trained on them for one step and converted. What `quantize` refuses is converted with
representative data. The file has to pass the gate for TFLite Micro, or else for LiteRT, and then
runs on LiteRT beside the model that it was made from. One row a model, as a Markdown table; what
failed is listed at the end, and the exit code is then 1.
"""

import re
import time
from collections import Counter
from typing import Any

import every_application
import numpy as np
from absl import app

import sft_keras
from sft_keras.quantization import problems
from sft_keras.tflite import runtimes

IMAGES = 8
COLUMNS = [
    *("way", "target", "operators", "KB", "quantize s", "train s", "convert s", "GB"),
    *("largest difference", "refused by quantize() because"),
]


def measure(model: Any) -> dict:
    """Makes the int8 file; its size, seconds, and how far it is from the model."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, *model.input_shape[1:])).astype("float32")
    labels = rng.integers(0, every_application.CLASSES, IMAGES)
    normalize(model, images)
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.optimizer.learning_rate = 1e-4
    model.optimizer.clipnorm = 1.0  # gradients reach 1e9 in a deep network that has learned nothing
    refused = problems(model)
    clock = [time.perf_counter()]
    source = model if refused else sft_keras.quantize(model)
    clock.append(time.perf_counter())
    if not refused:
        source.fit(images, labels, batch_size=IMAGES, verbose=0)
    clock.append(time.perf_counter())
    lite, target = _converted(source, images if refused else None)
    clock.append(time.perf_counter())
    return {
        "way": "PTQ" if refused else "QAT",
        "target": target,
        "reasons": Counter(re.sub("'[^']*'", "…", p.reason) for p in refused).most_common(3),
        "operators": sum(1 for _ in lite.file.operators),
        "bytes": len(lite.content),
        "seconds": np.diff(clock).tolist(),
        **_run(source, lite, images),
    }


def normalize(model: Any, images: np.ndarray) -> None:
    """Gives the layers of a network that has learned nothing outputs of a usual size.

    Nothing is dropped from here on: such a network, its BatchNormalization folded, makes a thousand
    times as much of each block that is left out, and the ranges would be of those outputs.
    """
    norms, drops = (
        [layer for layer in model.layers if type(layer).__name__ == kind]
        for kind in ("BatchNormalization", "Dropout")
    )
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    for layer in drops:
        layer.rate = 0.0
    model(images, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


def _converted(model: Any, images: np.ndarray | None) -> tuple[sft_keras.LiteModel, str]:
    """The file, and the first target that has all its operators."""
    try:
        return sft_keras.convert(model, images), "tflm"
    except sft_keras.errors.GateError as error:
        if "is missing from" not in str(error):
            raise
    return sft_keras.convert(model, images, target="litert"), "litert"


def _run(model: Any, lite: sft_keras.LiteModel, images: np.ndarray) -> dict:
    """How far the file's outputs are from the model's at most, and whether they tell images apart.

    A deep network that has learned nothing makes much of every rounding, so the first is not held
    against a file.
    """
    (found,) = runtimes.run("litert", lite.content, [lite.quantize_input(images)])
    difference = lite.dequantize_output(found) - model.predict(images, verbose=0)
    return {"difference": float(np.abs(difference).max()), "alive": bool(np.ptp(found, 0).any())}


def cells(found: dict) -> list:
    """A row of the table."""
    return [
        *(found["way"], found["target"], found["operators"], f"{found['bytes'] / 1e3:,.0f}"),
        *(f"{seconds:.1f}" for seconds in found["seconds"]),
        *(f"{found['gigabytes']:.1f}", f"{found['difference']:.3f}"),
        "; ".join(f"{count} {reason}" for reason, count in found["reasons"]),
    ]


def problem(name: str, found: dict) -> str:
    """Why a measured row counts as failed, or an empty string."""
    if found["way"] == "PTQ" and not name.startswith("ConvNeXt"):
        return "is refused by quantize()"
    return "" if found["alive"] else "puts out the same for every image"


if __name__ == "__main__":
    app.run(lambda _: every_application.run(COLUMNS, measure, cells, problem))
