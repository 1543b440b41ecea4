"""Layers that only rearrange a tensor: ids are rearranged just as the values are."""

from collections.abc import Callable

import numpy as np

from sft_keras import flavors
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.tensor import Channels
from sft_keras.channels.trace import Trace, freeze_all


def _rearranged(walk: Trace, call: flavors.Call, x: Channels, function: Callable):
    """Writes the ids out to the tensor's size and rearranges them with a NumPy function."""
    if any(size is None for size in (*x.shape, *call.outputs[0].shape[1:])):
        reason = f"enters '{call.layer.name}', which rearranges a tensor of unknown size"
        return freeze_all(walk, call, [x], reason)[0]
    full = x.expanded(tuple(range(len(x.shape))))
    shape = tuple(call.outputs[0].shape[1:])
    return Channels(function(full.ids), shape, function(full.dead)).compact()


@builtin_rule("Flatten")
def flatten(walk: Trace, call: flavors.Call, x: Channels):
    """Flatten; with channels first it moves them last before."""
    move = call.layer.data_format == "channels_first" and len(x.shape) > 1

    def function(a):
        return (np.moveaxis(a, 0, -1) if move else a).reshape(-1)

    return _rearranged(walk, call, x, function)


@builtin_rule("Reshape")
def reshape(walk: Trace, call: flavors.Call, x: Channels):
    """Reshape; the filters must still lie along one axis behind it."""
    shape = tuple(call.outputs[0].shape[1:])
    if not x.varying_axes():
        return x.with_(
            ids=x.ids.reshape(-1)[:1].reshape((1,) * len(shape)),
            shape=shape,
            dead=x.dead.reshape(-1)[:1].reshape((1,) * len(shape)),
        )
    y = _rearranged(walk, call, x, lambda a: a.reshape(shape))
    axes = y.varying_axes()
    if len(axes) > 1:
        reason = f"is split over several axes by '{call.layer.name}'"
        return freeze_all(walk, call, [x], reason)[0]
    for axis in axes:
        if call.layer.target_shape[axis] != -1:
            walk.width(call.layer, ("target_shape", axis), y.ids.reshape(-1))
    return y


@builtin_rule("Permute")
def permute(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Permute: `dims` count from 1."""
    axes = [d - 1 for d in call.layer.dims]
    shape = tuple(call.outputs[0].shape[1:])
    return Channels(x.ids.transpose(axes), shape, x.dead.transpose(axes), x.origin)


@builtin_rule("RepeatVector")
def repeat_vector(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """RepeatVector: (features) to (n, features)."""
    return Channels(x.ids[None], tuple(call.outputs[0].shape[1:]), x.dead[None], x.origin)
