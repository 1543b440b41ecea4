"""Operators that rearrange a tensor: reshape, transpose, repeat and the like."""

from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.channels.operators import operator_rule, refused, running, without_batch
from sft_keras.channels.rearranging import rearranged, reshaped, staying
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.tensor import Channels, fixed
from sft_keras.channels.trace import Trace, freeze_all


@operator_rule("transpose", "swapaxes", "moveaxis", "rot90", "expanddims", "flip", "tile")
def moved(walk: Trace, call: flavors.Call, x: Channels):
    """What moves, adds or repeats axes whatever their sizes are."""
    return rearranged(walk, call, [x], running(call))


@operator_rule("reshape", inputs=None)
def reshape(walk: Trace, call: flavors.Call, x: Channels, *sizes: Channels):
    """Reshape, to sizes of which some may come from the graph, as the number of samples does."""
    name = "shape" if flavors.is_tf_keras(call.layer) else "newshape"
    y = reshaped(walk, call, x)
    return _resized(walk, call, x, y, name)


@operator_rule("broadcastto")
def broadcast_to(walk: Trace, call: flavors.Call, x: Channels):
    """Broadcasting to a shape."""
    y = rearranged(walk, call, [x], running(call))[0]
    return _resized(walk, call, x, y, "shape")


def _resized(walk: Trace, call: flavors.Call, x: Channels, y: Channels, name: str):
    """Rewrites the argument `name`, the shape of `y`, where filters lie along its axes."""
    varying = y.varying_axes()
    if not varying:
        return y
    shape = _sizes(flavors.arguments(call)[name])
    if len(shape) != len(y.shape) + 1 or any(flavors.is_symbolic(shape[a + 1]) for a in varying):
        return refused(walk, call, [x, y], "which takes its shape from other tensors")
    if rewritten := [axis for axis in varying if shape[axis + 1] != -1]:

        def change(stays):
            sizes = {axis + 1: int(staying(stays, y.ids, axis).sum()) for axis in rewritten}
            return {name: tuple(sizes.get(i, size) for i, size in enumerate(shape))}

        walk.rewrite(call, y.ids, change)
    return y


def _sizes(shape: Any) -> list:
    """A shape as a list of ints, and of tensors of the graph."""
    if flavors.is_symbolic(shape):
        return []
    if flavors.is_array(shape):
        shape = flavors.to_numpy(shape)
    sizes = list(shape) if isinstance(shape, list | tuple) or np.ndim(shape) else [shape]
    return [size if flavors.is_symbolic(size) else int(size) for size in sizes]


@operator_rule("squeeze")
def squeeze(walk: Trace, call: flavors.Call, x: Channels):
    """Squeeze; one of no given axis must not take those that pruning makes as small."""
    given = flavors.arguments(call)["axis"]
    if x.varying_axes() and (given is None or given in ([], ())):
        ones = tuple(axis + 1 for axis, size in enumerate(x.shape) if size == 1)
        walk.rewrite(call, x.ids, lambda stays: {"axis": ones})
    return rearranged(walk, call, [x], running(call))


@operator_rule("repeat")
def repeat(walk: Trace, call: flavors.Call, x: Channels):
    """Repeats each position of an axis."""
    given = flavors.arguments(call)
    if given["axis"] is None:
        return refused(walk, call, [x], "which mixes samples")
    if np.size(given["repeats"]) > 1 and without_batch(given["axis"], x) in x.varying_axes():
        return refused(walk, call, [x], "which repeats some channels more often than others")
    return rearranged(walk, call, [x], running(call))


@operator_rule("roll")
def roll(walk: Trace, call: flavors.Call, x: Channels):
    """Rolls axes; along the channels by as many as stay of those that come round."""
    given = flavors.arguments(call)
    if given["axis"] is None:
        return refused(walk, call, [x], "which mixes samples")
    axes = [without_batch(axis, x) for axis in np.ravel(given["axis"])]
    y = rearranged(walk, call, [x], running(call))
    if set(axes) & set(x.varying_axes()):
        if len(axes) > 1:
            return refused(walk, call, [x], "which rolls channels and other axes at once")
        axis, round_ = axes[0], int(np.ravel(given["shift"])[0]) % x.shape[axes[0]]

        def change(stays):
            shift = int(staying(stays, x.ids, axis)[x.shape[axis] - round_ :].sum())
            return {"shift": shift if np.ndim(given["shift"]) == 0 else [shift]}

        walk.rewrite(call, x.ids, change)
    return y


@builtin_rule("shape", kind="ops")
def shape_of(walk: Trace, call: flavors.Call, x: Channels):
    """The shape as a tensor, of which sizes may be read along which no filters lie."""
    consumers = flavors.consumers(call)
    if not consumers or any(_reads_size(x, consumer) for consumer in consumers):
        reason = f"enters '{call.layer.name}' (shape), which counts filters"
        return freeze_all(walk, call, [x], reason)
    return fixed(tuple(call.outputs[0].shape[1:]))


def _reads_size(x: Channels, consumer: flavors.Call) -> bool:
    """Whether a consumer of the shape of `x` reads how many filters it has."""
    layer = consumer.layer
    if not flavors.is_operator(layer) or flavors.operator_name(layer) != "getitem":
        return True
    axis = flavors.arguments(consumer)["key"][0]
    return not isinstance(axis, int) or without_batch(axis, x) in x.varying_axes()
