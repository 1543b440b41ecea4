"""Merges: element-wise merges tie their inputs' filters, concatenation lines them up."""

from collections.abc import Callable

import numpy as np

from sft_keras import flavors
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.tensor import Channels
from sft_keras.channels.trace import Trace, freeze_all


def _merge(walk: Trace, call: flavors.Call, inputs, value: Callable, is_product: bool):
    shape = tuple(call.outputs[0].shape[1:])
    if len(inputs) < 2 or any(len(x.shape) != len(shape) for x in inputs):
        reason = f"enters '{call.layer.name}', which merges tensors of different rank"
        return freeze_all(walk, call, inputs, reason)
    partners = [x for x in inputs if not _is_broadcast_over_filters(x, inputs)]
    gates = [x for x in inputs if _is_broadcast_over_filters(x, inputs)]
    if not partners:
        reason = f"enters '{call.layer.name}', which merges filters along different axes"
        return freeze_all(walk, call, inputs, reason)
    for gate in gates:
        walk.freeze(gate.ids, f"is broadcast over channels by '{call.layer.name}'")
    first = partners[0]
    reason = f"is merged by '{call.layer.name}' with channels that cannot go"
    for other in partners[1:]:
        walk.unite(first.ids, other.ids, reason)
    dead = value([x.dead for x in partners])
    ids, dead = np.broadcast_arrays(_coupled([x.ids for x in partners]), dead)
    if gates and not is_product:
        walk.freeze(ids, f"gets another tensor's values from '{call.layer.name}' when pruned")
    if gates and is_product:
        walk.freeze(ids[dead != 0], f"emits a constant that '{call.layer.name}' multiplies")
    return Channels(ids, shape, dead)


def _is_broadcast_over_filters(x: Channels, inputs) -> bool:
    """Whether `x` has one channel where another input has many filters, as a spatial gate has."""
    return any(
        x.shape[axis] == 1 and other.shape[axis] != 1
        for other in inputs
        for axis in other.varying_axes()
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
@builtin_rule(*(name.lower() for name in _VALUES if name != "Average"), kind="ops")
def elementwise_merge(walk: Trace, call: flavors.Call, *inputs: Channels):
    """Add, Subtract, Multiply, Average, Maximum and Minimum, as layers and as operators."""
    name = type(call.layer).__name__
    if flavors.is_operator(call.layer):
        name = flavors.operator_name(call.layer).capitalize()
    return _merge(walk, call, inputs, _VALUES[name], is_product=name == "Multiply")


@builtin_rule("CustomScaleLayer")
def scaled_residual(walk: Trace, call: flavors.Call, x: Channels, residual: Channels):
    """`x + scale * residual`, a layer of InceptionResNetV2."""

    def value(dead):
        return dead[0] + call.layer.scale * dead[1]

    return _merge(walk, call, (x, residual), value, is_product=False)


@builtin_rule("Concatenate")
def concatenate(walk: Trace, call: flavors.Call, *inputs: Channels):
    """Concatenation; along any other axis than the filters' it ties its inputs."""
    shape = tuple(call.outputs[0].shape[1:])
    axis = call.layer.axis
    axis = axis % (len(shape) + 1) - 1
    if axis < 0 or any(x.shape[axis] is None for x in inputs):
        reason = f"enters '{call.layer.name}', which concatenates along an unknown size"
        return freeze_all(walk, call, inputs, reason)
    others = tuple({a for x in inputs for a in x.varying_axes() if a != axis})
    if others and any(axis in x.varying_axes() for x in inputs):
        reason = f"enters '{call.layer.name}' with filters along two axes"
        return freeze_all(walk, call, inputs, reason)
    full = [x.expanded((axis, *others)) for x in inputs]
    for x in full[1:]:
        if others:
            reason = f"is lined up by '{call.layer.name}' with channels that cannot go"
            first = np.take(full[0].ids, [0], axis)
            walk.unite(first, np.take(x.ids, [0], axis), reason)
    ids = np.concatenate([x.ids for x in full], axis)
    dead = np.concatenate([x.dead for x in full], axis)
    merged = Channels(ids, shape, dead)
    return merged if not others else _one_filter_axis(walk, call, merged, axis)


def _one_filter_axis(walk: Trace, call: flavors.Call, x: Channels, axis: int) -> Channels:
    """After a concatenation along positions: each filter's ids and constants must agree there."""
    differ = np.any(x.dead != np.take(x.dead, [0], axis), axis=axis, keepdims=True)
    clash = np.broadcast_to(differ, x.ids.shape)
    walk.freeze(x.ids[clash], f"emits different constants into '{call.layer.name}'")
    ids = np.max(x.ids, axis=axis, keepdims=True)
    return x.with_(ids=ids, dead=np.take(x.dead, [0], axis))
