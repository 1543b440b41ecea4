"""`convert`: a Keras model in, a checked `.tflite` file out."""

import tempfile
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from absl import logging

from sft_keras import flavors
from sft_keras.errors import ConversionError, UnsupportedError
from sft_keras.tflite import child, export, gate, schema
from sft_keras.tflite.data import Slot, batches
from sft_keras.tflite.lite_model import LiteModel

CALIBRATION_SAMPLES = 500  # more only costs time: ranges hardly move after some hundred
DTYPES = tuple(gate.CHECKS)


def convert(
    model: Any,
    representative_data: Any = None,
    *,
    dtype: str = "int8",
    timeout: float = 600,
) -> LiteModel:
    """Converts a model to `.tflite` and refuses a file that a device could not run.

    The converter runs in a child process, because it can crash; starting it takes some seconds.
    The batch is fixed at 1, and inputs and outputs keep their order and the layers' names.

    Args:
        model: a Keras 3 or tf_keras model: what `sft_keras.quantize` returned, or a plain one
            together with `representative_data` or `dtype="float32"`.
        representative_data: typical inputs, for post-training quantization of a plain model:
            arrays, a `tf.data.Dataset`, a `PyDataset`, with or without labels. The first 500
            samples are used.
        dtype: `"int8"` for int8 inputs, outputs and operators, `"float32"` for a plain float file.
        timeout: seconds after which the converter is stopped.

    Returns:
        A `LiteModel`.

    Raises:
        UnsupportedError: the model is of a kind that cannot be converted, or has nothing to
            quantize by.
        DataError: `representative_data` does not fit the model.
        ConversionError: the converter failed, crashed or ran out of time.
        GateError: the file has float tensors, operators that TFLite Micro lacks, or dead layers.

    Example:
        >>> lite = sft_keras.convert(qat)
        >>> lite = sft_keras.convert(model, representative_data=x_train)
        >>> lite.save("model.tflite")
    """
    _require_convertible(model, dtype)
    samples = None if representative_data is None else _collect(model, representative_data)
    trace = export.trace(model)
    if dtype == "int8" and samples is None and not trace.has_fake_quant:
        raise UnsupportedError(
            f"Model '{model.name}' has no quantization ranges; pass it through "
            "sft_keras.quantize(model) first, or give representative_data=."
        )
    started = time.monotonic()
    content = _run_converter(trace, model.name, dtype, samples, timeout)
    lite = LiteModel(schema.reorder_io(content, trace.inputs, trace.outputs), f"'{model.name}'")
    logging.info("Converted %r in %.1f s.", lite, time.monotonic() - started)
    gate.check(lite, dtype)
    return lite


def _require_convertible(model: Any, dtype: str) -> None:
    if dtype not in DTYPES:
        raise UnsupportedError(f"dtype '{dtype}' is unknown; choose one of {', '.join(DTYPES)}.")
    flavors.require_graph(model)
    if not flavors.is_tf_keras(model) and keras.backend.backend() != "tensorflow":
        raise UnsupportedError(
            f"Model '{model.name}' runs on Keras' {keras.backend.backend()} backend; pass it "
            "through sft_keras.quantize(model), or set KERAS_BACKEND=tensorflow."
        )
    for slot in _slots(model):
        if None in slot.shape:
            raise UnsupportedError(
                f"Input '{slot.name}' of model '{model.name}' has the dynamic shape "
                f"{('batch', *slot.shape)}; give its Input fixed sizes."
            )
    for layer in model.layers:
        if not all(np.isfinite(weights).all() for weights in layer.get_weights()):
            raise UnsupportedError(
                f"Layer '{layer.name}' has NaN or infinite weights; train again with a lower "
                "learning rate, or load sound weights."
            )


def _slots(model: Any) -> list[Slot]:
    return [Slot(flavors.producer(t).name, tuple(t.shape[1:])) for t in flavors.inputs(model)]


def _collect(model: Any, data: Any) -> list[np.ndarray]:
    parts = [batch.inputs for batch in batches(data, _slots(model), limit=CALIBRATION_SAMPLES)]
    # A dtype is a string in Keras 3 and an object with a name in tf_keras.
    dtypes = [getattr(t.dtype, "name", t.dtype) for t in flavors.inputs(model)]
    columns = zip(*parts, strict=True)
    return [np.concatenate(c).astype(dtype) for c, dtype in zip(columns, dtypes, strict=True)]


def _run_converter(
    trace: export.Trace,
    name: str,
    dtype: str,
    samples: list[np.ndarray] | None,
    timeout: float,
) -> bytes:
    with tempfile.TemporaryDirectory(prefix="sft_keras_") as temporary:
        folder = Path(temporary)
        saved_model, target = folder / "saved_model", folder / "model.tflite"
        trace.save(saved_model)
        arguments: list[str | Path] = [saved_model, target, dtype]
        if dtype == "int8" and samples is not None:
            arguments.append(folder / "samples.npz")
            np.savez(arguments[-1], **dict(zip(trace.inputs, samples, strict=True)))
        try:
            child.run("sft_keras.tflite.converter_process", arguments, timeout)
        except child.ChildError as error:
            raise ConversionError(
                f"The TFLite converter gave up on model '{name}': {error}. If it crashed or ran "
                "out of time, unroll recurrent layers (unroll=True) or raise timeout=; "
                "dtype='float32' tells whether quantization is the cause."
            ) from error
        return target.read_bytes()
