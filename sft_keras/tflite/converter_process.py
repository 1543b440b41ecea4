"""Child process of `convert`: turns a SavedModel into a `.tflite` file.

    python -m sft_keras.tflite.converter_process saved_model model.tflite settings.json

Imports no Keras. The settings are the fields of `Settings`.
"""

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

if __name__ == "__main__":
    # TensorFlow imports Keras where it finds it, and that scikit-learn: half of the time to start.
    sys.modules["keras"] = None  # type: ignore[assignment]

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.optimize import calibrator

from sft_keras.tflite import calibration, pinning

INTEGER_ONLY = {
    "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """How to convert.

    Args:
        dtype: what the file computes in: `"int8"`, `"int16x8"`, `"dynamic"`, `"float16"` or
            `"float32"`.
        input_dtype: of the file's inputs.
        output_dtype: of its outputs.
        per_channel_dense: whether each output of a Dense gets a range of its own.
        samples: path of calibration samples, one array for each of `inputs`, for a model that has
            no fake-quant nodes.
        inputs: the signature's names of what the samples are for.
    """

    dtype: str
    input_dtype: str
    output_dtype: str
    per_channel_dense: bool
    samples: str | None = None
    inputs: Sequence[str] = ()


def convert(folder: str, settings: Settings) -> bytes:
    """Converts a SavedModel.

    Args:
        folder: the SavedModel, with one signature.
        settings: how.

    Returns:
        The bytes of a `.tflite` file.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    if settings.dtype == "float32":
        return converter.convert()
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if settings.dtype == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if settings.dtype in INTEGER_ONLY:
        converter.inference_input_type = tf.dtypes.as_dtype(settings.input_dtype)
        converter.inference_output_type = tf.dtypes.as_dtype(settings.output_dtype)
        # There is no public switch; a test notices when this one is gone.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = (
            not settings.per_channel_dense
        )
    if samples := settings.samples:
        converter.target_spec.supported_ops = [INTEGER_ONLY[settings.dtype]]
        converter.representative_dataset = lambda: _one_by_one(samples, settings.inputs)
        with _prepared():
            return calibration.cleaned(converter.convert())
    return converter.convert()


@contextlib.contextmanager
def _prepared() -> Iterator[None]:
    """Lets what is calibrated be prepared for it, and what was measured be changed."""
    # There is no public place before or after calibration; tests notice when these are gone.
    prepare, measure = calibrator.add_intermediate_tensors, calibrator.Calibrator.calibrate
    calibrator.add_intermediate_tensors = lambda content: calibration.prepared(prepare(content))
    calibrator.Calibrator.calibrate = lambda *args: pinning.pinned(measure(*args))
    try:
        yield
    finally:
        calibrator.add_intermediate_tensors = prepare
        calibrator.Calibrator.calibrate = measure


def _one_by_one(samples: str, inputs: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
    with np.load(samples) as stored:
        arrays = dict(zip(inputs, stored.values(), strict=True))
    for i in range(len(next(iter(arrays.values())))):
        yield {name: array[i : i + 1] for name, array in arrays.items()}


if __name__ == "__main__":
    saved_model, target, settings_path = sys.argv[1:]
    given = Settings(**json.loads(Path(settings_path).read_text()))
    Path(target).write_bytes(convert(saved_model, given))
