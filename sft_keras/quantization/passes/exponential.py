"""ELU and SELU in operators that the converter has int8 kernels for."""

import functools
from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras import layers

from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import rewrite

# Klambauer et al. 2017, Self-Normalizing Neural Networks.
SELU = {"alpha": 1.6732632423543772, "scale": 1.0507009873554805}


@proven
def expand_elu(model: tf_keras.Model) -> tf_keras.Model:
    """Turns `elu(x)` into `relu(x) + alpha * (exp(x - relu(x)) - 1)`, and SELU likewise.

    With `min(x, 0)` in the exponential the converter would give `x` itself the range up to 0.
    """
    named = functools.cache(lambda name: layers.Activation("linear", name=name))

    def call(layer, *args, **kwargs):
        # What makes the output keeps the name.
        return named(layer.name)(_elu(*args, **(_form(layer) or {})))

    return rewrite(model, call, lambda layer: _form(layer) is not None)


def _form(layer: Any) -> dict | None:
    if type(layer) is layers.ELU:
        return {"alpha": float(layer.alpha)}
    function = layer.activation if type(layer) is layers.Activation else None
    if function is tf_keras.activations.elu:
        return {}
    return SELU if function is tf_keras.activations.selu else None


def _elu(x: Any, alpha: float = 1.0, scale: float = 1.0) -> Any:
    positive = tf.nn.relu(x)
    negative = tf.exp(x - positive) * (scale * alpha) - scale * alpha
    return positive * scale + negative if scale != 1 else positive + negative
