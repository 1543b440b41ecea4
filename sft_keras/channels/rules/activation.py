"""Activations: element-wise functions pass ids on; the rest freezes."""

from collections.abc import Callable
from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.channels.notes import Role
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.tensor import Channels
from sft_keras.channels.trace import Trace

KEEP_ZERO = frozenset(
    (
        *("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish"),
        *("tanh", "hard_tanh", "hard_silu", "hard_swish", "mish", "softsign"),
        *("hard_shrink", "soft_shrink", "tanh_shrink"),
    )
)
ELEMENTWISE = KEEP_ZERO | frozenset(
    (
        *("sigmoid", "hard_sigmoid", "log_sigmoid", "sparse_sigmoid"),
        *("softplus", "squareplus", "sparse_plus", "exponential", "threshold"),
    )
)
LIBRARIES = ("keras", "tf_keras", "tensorflow", "jax", "torch")


def activated(walk: Trace, layer: Any, x: Channels) -> Channels:
    """`x` after the `activation` argument of `layer`."""
    return applied(walk, layer, getattr(layer, "activation", None), x)


def applied(walk: Trace, layer: Any, function: Any, x: Channels) -> Channels:
    """`x` after one of the activation functions of `layer`."""
    if function is None:
        return x
    if type(function) in _rectifiers(layer):
        return _rectified(layer, function, x)
    name = getattr(function, "__name__", type(function).__name__)
    known = getattr(function, "__module__", "").partition(".")[0] in LIBRARIES
    if not known or name not in ELEMENTWISE:
        walk.freeze(x.ids, f"passes '{layer.name}', whose activation '{name}' is not element-wise")
        return x
    return mapped(layer, x, function, keeps_zero=name in KEEP_ZERO)


def mapped(layer: Any, x: Channels, function: Callable, keeps_zero: bool = False) -> Channels:
    """`x` after an element-wise function of `layer`."""
    if keeps_zero and not x.dead.any():
        return x
    values, where = np.unique(x.dead, return_inverse=True)
    # In float64, as the proof may have to run in it.
    image = flavors.to_numpy(function(flavors.to_tensor(values.reshape(1, -1), layer)))
    image = np.where(np.isnan(values), np.nan, np.asarray(image, "float64").ravel())
    return x.with_(dead=image[where].reshape(x.dead.shape))


@builtin_rule("Activation")
def activation(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Activation(name or function)."""
    return activated(walk, call.layer, x)


@builtin_rule("ReLU", "LeakyReLU", "ELU", "ThresholdedReLU")
def rectifier(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """The rectifier layers; with a threshold f(0) may differ from 0."""
    return _rectified(call.layer, call.layer, x)


def _rectified(layer: Any, rectifier: Any, x: Channels) -> Channels:
    keeps_zero = not getattr(rectifier, "threshold", 0)
    # Not the rectifier itself, which casts to its own dtype.
    return mapped(layer, x, rectifier.call, keeps_zero)


def _rectifiers(layer: Any) -> Any:
    layers = flavors.library(layer).layers
    return layers.ReLU, layers.LeakyReLU, layers.ELU


@builtin_rule("PReLU")
def prelu(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """PReLU: one slope per channel, or per channel and position."""
    for axis, size in enumerate(call.layer.alpha.shape):
        if size > 1 and x.ids.shape[axis] > 1:
            ids, _ = walk.vector(x, axis, call.layer)
            walk.claim(call.layer, call.layer.alpha, axis, ids, Role.CUT)
    if x.dead.any():
        walk.freeze(x.ids[x.dead != 0], f"emits a constant when pruned, into '{call.layer.name}'")
    return x


@builtin_rule("Softmax")
def softmax(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Softmax mixes what it normalizes over."""
    walk.freeze(x.ids, f"enters '{call.layer.name}' (Softmax), which mixes its inputs")
    return x
