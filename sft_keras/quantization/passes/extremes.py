"""Minima and maxima that leave the ranges of what they read alone."""

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tf_keras
from tf_keras import layers

from sft_keras import flavors
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import rewrite


@proven
def free_extremes(model: tf_keras.Model) -> tf_keras.Model:
    """Turns `min(a, b)` into `a - relu(a - b)`, and `max(a, b)` into `b + relu(a - b)`.

    MINIMUM and MAXIMUM have one range for all that they read and write, and the converter takes
    that of the output: what another layer reads too would be cut off for that one as well.
    """
    reads = Counter(id(x) for call in flavors.calls(model) for x in call.inputs)
    reads.update(id(x) for x in flavors.outputs(model))
    shared = {
        call.layer
        for call in flavors.calls(model)
        if _form(call.layer) and any(reads[id(x)] > 1 for x in call.inputs)
    }
    named = functools.cache(lambda name: layers.Activation("linear", name=name))

    def call(layer, *args, **kwargs):
        form = _form(layer)
        assert form
        # What makes the output keeps the name.
        return named(layer.name)(form(*args, **kwargs))

    return rewrite(model, call, lambda layer: layer in shared)


def _minimum(x: Any, y: Any, name: str | None = None) -> Any:
    return x - tf.nn.relu(x - y)


def _maximum(x: Any, y: Any, name: str | None = None) -> Any:
    return y + tf.nn.relu(x - y)


def _clipped(t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None) -> Any:
    return _maximum(_minimum(t, clip_value_max), clip_value_min)


def _of_all(function: Any) -> Any:
    def form(tensors: Sequence) -> Any:
        return functools.reduce(function, tensors)

    return form


LAYERS = {layers.Minimum: _of_all(_minimum), layers.Maximum: _of_all(_maximum)}
OPERATORS = {"minimum": _minimum, "maximum": _maximum, "clip": _clipped}


def _form(layer: Any) -> Any:
    """What computes the same as a layer, None for layers of other kinds."""
    if flavors.is_operator(layer):
        return OPERATORS.get(flavors.operator_name(layer))
    return LAYERS.get(type(layer))
