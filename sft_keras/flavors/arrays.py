"""Tensors of either Keras, on any backend, as NumPy arrays and back."""

import sys
from typing import Any

import keras

from sft_keras.flavors.kinds import is_tf_keras, library


def to_numpy(value: Any):
    """A tensor or variable of either Keras, on any backend, as a NumPy array."""
    if isinstance(value, keras.Variable) or type(value).__module__.startswith("tensorflow"):
        return value.numpy()
    return keras.ops.convert_to_numpy(value)


def to_tensor(value: Any, layer: Any) -> Any:
    """A NumPy array as a tensor that the functions of `layer`'s Keras take."""
    if is_tf_keras(layer):
        return sys.modules["tensorflow"].constant(value)
    return keras.ops.convert_to_tensor(value)


def ops(thing: Any) -> Any:
    """The module with `softmax`, `log`, `clip`, `stack`, … for tensors of the Keras of `thing`."""
    return library(thing).backend if is_tf_keras(thing) else keras.ops
