"""Inputs with the outputs that belong to them, for a test on the device."""

from typing import Any, NamedTuple

import numpy as np

from sft_keras.errors import DataError, UnsupportedError
from sft_keras.tflite import runtimes
from sft_keras.tflite.child import ChildError
from sft_keras.tflite.data import batches
from sft_keras.tflite.lite_model import LiteModel, TensorDetails

COUNT = 3


class Vectors(NamedTuple):
    """Samples as a device has them, each array of shape (samples, ...) and of a tensor's dtype."""

    inputs: list[np.ndarray]
    outputs: list[np.ndarray]


def vectors(lite: LiteModel, samples: Any = None) -> Vectors:
    """Runs some samples on TFLite Micro.

    Args:
        lite: the file.
        samples: real values, whatever `verify` takes; by default random steps.

    Raises:
        DataError: `samples` do not fit the inputs, or give NaN.
        UnsupportedError: TFLite Micro cannot run the file.
        MissingExtraError: `tflite-micro` is not installed.
    """
    if samples is None:
        rng = np.random.default_rng(0)
        inputs = [_random(details, rng) for details in lite.inputs]
    else:
        parts = [batch.inputs for batch in batches(samples, lite.slots(), limit=COUNT)]
        arrays = (np.concatenate(column) for column in zip(*parts, strict=True))
        inputs = [d.quantize(x) for d, x in zip(lite.inputs, arrays, strict=True)]
    try:
        outputs = runtimes.run("tflm", lite.content, inputs)
    except ChildError as error:
        raise UnsupportedError(
            f"TFLite Micro cannot run {lite.name}: {error}; verify() tells which runtimes can."
        ) from error
    if not all(np.isfinite(values).all() for values in outputs):
        raise DataError(f"{lite.name} gives NaN or infinity on the samples; give other samples.")
    return Vectors(inputs, outputs)


def _random(details: TensorDetails, rng: np.random.Generator) -> np.ndarray:
    shape = (COUNT, *details.shape[1:])
    if "float" in details.dtype:
        return rng.normal(size=shape).astype(details.dtype)
    if details.scale is None:
        return rng.integers(0, 2, shape).astype(details.dtype)  # tokens that any table has
    limits = np.iinfo(details.dtype)
    return rng.integers(limits.min, limits.max + 1, shape).astype(details.dtype)
