"""Runs the TFLite converter on one model, in a child process."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.errors import UnsupportedError
from sft_keras.tflite import child, export, mending, schema, targets
from sft_keras.tflite.lite_model import LiteModel
from sft_keras.tflite.promise import Promise

CALIBRATED = ("int8", "int16x8")


def run(
    model: Any, promise: Promise, samples: Sequence[np.ndarray] | None, timeout: float
) -> LiteModel:
    """Converts a model as it is.

    Args:
        model: a built model of either Keras with fixed input sizes.
        promise: what the file is to be.
        samples: for post-training quantization, one array an input, shape (samples, ...).
        timeout: seconds after which the converter is stopped.

    Returns:
        A `LiteModel` with inputs and outputs in the order of the model's; the gate has not seen it.

    Raises:
        UnsupportedError: the model has no quantization ranges, or those of another dtype.
        ChildError: the converter failed, crashed or ran out of time.
    """
    trace = export.trace(model)
    if promise.dtype in CALIBRATED and samples is None and not trace.has_fake_quant:
        raise UnsupportedError(
            f"Model '{model.name}' has no quantization ranges; pass it through "
            "sft_keras.quantize(model) first, or give representative_data=."
        )
    if promise.dtype != "int8" and trace.has_fake_quant:
        way_out = ", with representative_data=" if promise.dtype in CALIBRATED else ""
        raise UnsupportedError(
            f"Model '{model.name}' was trained for int8, not {promise.dtype}; convert the model "
            f"that it was made from{way_out}."
        )
    with tempfile.TemporaryDirectory(prefix="sft_keras_") as temporary:
        folder = Path(temporary)
        saved_model, target = folder / "saved_model", folder / "model.tflite"
        trace.save(saved_model)
        settings = {
            "dtype": promise.dtype,
            "input_dtype": promise.io[0],
            "output_dtype": promise.io[1],
            "per_channel_dense": targets.named(promise.target).per_channel_dense,
        }
        if samples is not None:
            settings["samples"] = str(folder / "samples.npz")
            # An equal model may take bytes as floats.
            dtypes = map(flavors.dtype_name, flavors.inputs(model))
            cast = [x.astype(dtype) for x, dtype in zip(samples, dtypes, strict=True)]
            np.savez(folder / "samples.npz", *cast)
            settings["inputs"] = trace.inputs
        (folder / "settings.json").write_text(json.dumps(settings))
        arguments: list[str | Path] = [saved_model, target, folder / "settings.json"]
        child.run("sft_keras.tflite.converter_process", arguments, timeout)
        content = mending.mended(target.read_bytes())
    return LiteModel(schema.reorder_io(content, trace.inputs, trace.outputs), f"'{model.name}'")
