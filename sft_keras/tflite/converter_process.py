"""Child process of `convert`: turns a SavedModel into a `.tflite` file.

    python -m sft_keras.tflite.converter_process saved_model model.tflite int8 [samples.npz]

Imports TensorFlow only. `samples.npz` holds calibration samples for post-training quantization:
one array for each input of the signature.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf


def convert(folder: str, dtype: str, samples: str | None = None) -> bytes:
    """Converts a SavedModel.

    Args:
        folder: the SavedModel, with one signature.
        dtype: `"int8"` or `"float32"`.
        samples: path of the calibration samples, for a model that has no fake-quant nodes.

    Returns:
        The bytes of a `.tflite` file.
    """
    converter = tf.lite.TFLiteConverter.from_saved_model(folder)
    if dtype == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    if samples:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: _one_by_one(samples)
    return converter.convert()


def _one_by_one(samples: str) -> Iterator[dict[str, np.ndarray]]:
    arrays = dict(np.load(samples))
    for i in range(len(next(iter(arrays.values())))):
        yield {name: array[i : i + 1] for name, array in arrays.items()}


if __name__ == "__main__":
    saved_model, target, *rest = sys.argv[1:]
    Path(target).write_bytes(convert(saved_model, *rest))
