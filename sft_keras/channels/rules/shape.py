"""Layers that only rearrange a tensor: ids are rearranged just as the values are."""

import numpy as np

from sft_keras import flavors
from sft_keras.channels.rearranging import by_position, rearranged, reshaped
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.tensor import Channels
from sft_keras.channels.trace import Trace


@builtin_rule("Flatten")
def flatten(walk: Trace, call: flavors.Call, x: Channels):
    """Flatten; with channels first it moves them last before."""
    move = call.layer.data_format == "channels_first" and len(x.shape) > 1

    def function(a):
        return [(np.moveaxis(a, 1, -1) if move else a).reshape(len(a), -1)]

    return rearranged(walk, call, [x], function)


@builtin_rule("Reshape")
def reshape(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Reshape; behind it the filters may lie along several axes."""
    y = reshaped(walk, call, x)
    for axis in y.varying_axes():
        if call.layer.target_shape[axis] != -1:
            walk.width(call.layer, ("target_shape", axis), by_position(y.ids, axis))
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
