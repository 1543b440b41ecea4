"""Merges: element-wise merges tie their inputs' filters, concatenation lines them up."""

from collections.abc import Callable, Sequence

import numpy as np

from sft_keras import flavors
from sft_keras.channels.registry import builtin_rule, explain
from sft_keras.channels.tensor import Channels
from sft_keras.channels.trace import Trace, freeze_all

explain("which multiplies tensors over their channels", "Dot")


def merged(
    walk: Trace, call: flavors.Call, inputs: Sequence[Channels], value: Callable, annuls: Callable
) -> Channels:
    """The output of an element-wise function of several tensors.

    Args:
        walk: takes the notes.
        call: the call.
        inputs: the channels of the tensors.
        value: takes an array of constants for each tensor, returns what the function makes of them.
        annuls: takes the tensors that are broadcast over filters, as a spatial gate is; tells
            whether a filter that emits 0 leaves 0 whatever they hold.
    """
    shape = tuple(call.outputs[0].shape[1:])
    if any(len(x.shape) != len(shape) for x in inputs):
        reason = f"enters '{call.layer.name}', which merges tensors of different rank"
        return freeze_all(walk, call, inputs, reason)[0]
    is_gate = [_is_broadcast_over_filters(x, inputs) for x in inputs]
    gates, partners = (
        [x for x, gate in zip(inputs, is_gate, strict=True) if gate is wanted]
        for wanted in (True, False)
    )
    if not partners:
        reason = f"enters '{call.layer.name}', which merges filters along different axes"
        return freeze_all(walk, call, inputs, reason)[0]
    for gate in gates:
        walk.freeze(gate.ids, f"is broadcast over channels by '{call.layer.name}'")
    first = partners[0]
    reason = f"is merged by '{call.layer.name}' with channels that cannot go"
    for other in partners[1:]:
        walk.unite(first.ids, other.ids, reason)
    ones = np.ones((1,) * len(shape))
    dead = value([ones if g else x.dead for x, g in zip(inputs, is_gate, strict=True)])
    ids, dead = np.broadcast_arrays(_coupled([x.ids for x in partners]), dead)
    if gates and not annuls(gates):
        walk.freeze(ids, f"gets another tensor's values from '{call.layer.name}' when pruned")
    elif gates:
        walk.freeze(ids[dead != 0], f"emits a constant that '{call.layer.name}' multiplies")
    return Channels(ids, shape, dead)


def _is_broadcast_over_filters(x: Channels, inputs: Sequence[Channels]) -> bool:
    """Whether `x` has one channel where another input has many filters, as a spatial gate has."""
    return any(
        all(x.shape[axis] == 1 and other.shape[axis] != 1 for axis in other.varying_axes())
        for other in inputs
        if other.varying_axes()
    )


def _coupled(all_ids: list[np.ndarray]) -> np.ndarray:
    """Ids of the merged tensor: any member of each tie will do, a filter before a fixed one."""
    merged = np.broadcast_arrays(*all_ids)
    return np.max(np.stack(merged), axis=0)


def _sum(values):
    return sum(values[1:], start=values[0])


def _difference(values):
    return values[0] - values[1]


def _product(values):
    return np.prod(np.stack(np.broadcast_arrays(*values)), axis=0)


def _mean(values):
    return _sum(values) / len(values)


def _maximum(values):
    return np.max(np.stack(np.broadcast_arrays(*values)), axis=0)


def _minimum(values):
    return np.min(np.stack(np.broadcast_arrays(*values)), axis=0)


_VALUES = {
    "Add": _sum,
    "Subtract": _difference,
    "Multiply": _product,
    "Average": _mean,
    "Maximum": _maximum,
    "Minimum": _minimum,
}


@builtin_rule(*_VALUES)
def elementwise_merge(walk: Trace, call: flavors.Call, *inputs: Channels):
    """Add, Subtract, Multiply, Average, Maximum and Minimum."""
    name = type(call.layer).__name__
    return merged(walk, call, inputs, _VALUES[name], lambda gates: name == "Multiply")


@builtin_rule("CustomScaleLayer")
def scaled_residual(walk: Trace, call: flavors.Call, x: Channels, residual: Channels):
    """`x + scale * residual`, a layer of InceptionResNetV2."""

    def value(dead):
        return dead[0] + call.layer.scale * dead[1]

    return merged(walk, call, (x, residual), value, lambda gates: False)


@builtin_rule("Concatenate")
def concatenate(walk: Trace, call: flavors.Call, *inputs: Channels):
    """Concatenation along an axis that is counted with the batch."""
    rank = len(call.outputs[0].shape)
    return concatenated(walk, call, inputs, call.layer.axis % rank - 1)


def concatenated(walk: Trace, call: flavors.Call, inputs: Sequence[Channels], axis: int):
    """Concatenation; along an axis without filters it ties its inputs.

    Args:
        walk: takes the notes.
        call: the call.
        inputs: the channels of its inputs.
        axis: the axis without batch, -1 for the batch.
    """
    shape = tuple(call.outputs[0].shape[1:])
    along = any(axis in x.varying_axes() for x in inputs)
    others = tuple({a for x in inputs for a in x.varying_axes() if a != axis})
    if axis < 0 or (not others and any(x.shape[axis] is None for x in inputs)):
        reason = f"enters '{call.layer.name}', which concatenates along an unknown size"
        return freeze_all(walk, call, inputs, reason)[0]
    if others and not along:
        full = [x.expanded(others) for x in inputs]
        reason = f"is lined up by '{call.layer.name}' with channels that cannot go"
        for x in full[1:]:
            walk.unite(full[0].ids, x.ids, reason)
    else:
        full = [x.expanded((axis, *others)) for x in inputs]
    ids = np.concatenate([x.ids for x in full], axis)
    dead = np.concatenate([x.dead for x in full], axis)
    y = Channels(ids, shape, dead)
    return _one_filter_axis(walk, call, y, axis) if others and not along else y


def _one_filter_axis(walk: Trace, call: flavors.Call, x: Channels, axis: int) -> Channels:
    """After a concatenation along positions: each filter's ids and constants must agree there."""
    differ = np.any(x.dead != np.take(x.dead, [0], axis), axis=axis, keepdims=True)
    clash = np.broadcast_to(differ, x.ids.shape)
    walk.freeze(x.ids[clash], f"emits different constants into '{call.layer.name}'")
    ids = np.max(x.ids, axis=axis, keepdims=True)
    return x.with_(ids=ids, dead=np.take(x.dead, [0], axis))
