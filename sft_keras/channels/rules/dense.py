"""Fully connected layers."""

from sft_keras import flavors
from sft_keras.channels.notes import Role
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.rules.activation import activated
from sft_keras.channels.tensor import Channels, along
from sft_keras.channels.trace import Trace


@builtin_rule("Dense")
def dense(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Dense over the last axis; its filters are its units."""
    layer = call.layer
    read, dead = walk.vector(x, -1, layer)
    units = walk.new_filters(layer, layer.units)
    walk.fold(layer, layer.kernel, 0, 1, read, dead, exact=True)
    walk.claim(layer, layer.kernel, 0, read, Role.CUT)
    walk.claim(layer, layer.kernel, 1, units, Role.FILTER)
    walk.claim(layer, layer.bias, 0, units, Role.PARAMETER)
    walk.width(layer, "units", units)
    shape = tuple(call.outputs[0].shape[1:])
    return activated(walk, layer, along(-1, units, shape, origin=layer))
