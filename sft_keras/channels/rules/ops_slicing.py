"""Operators that take a part of a tensor: slices, take, split; their bounds follow the filters."""

from collections.abc import Callable
from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.channels.operators import operator_rule, refused, running, without_batch
from sft_keras.channels.rearranging import rearranged, staying
from sft_keras.channels.tensor import Channels
from sft_keras.channels.trace import Trace


@operator_rule("getitem")
def get_item(walk: Trace, call: flavors.Call, x: Channels):
    """`x[key]` of slices, integers, `...` and new axes."""
    key = flavors.arguments(call)["key"]
    if not all(map(_is_plain, key)):
        return refused(walk, call, [x], "which picks by an array")
    places = _places(key, len(x.shape) + 1)
    first = key[places[0]] if 0 in places else slice(None)
    if not isinstance(first, slice) or range(9)[first] != range(9):
        return refused(walk, call, [x], "which picks samples")
    cut = [axis for axis in x.varying_axes() if _cuts(key, places.get(axis + 1))]
    for axis in cut:
        _tie_steps(walk, call, x, axis, key[places[axis + 1]])
    y = rearranged(walk, call, [x], running(call))
    if cut:

        def change(stays):
            new = list(key)
            for axis in cut:
                item = new[places[axis + 1]]
                new[places[axis + 1]] = _moved_item(item, staying(stays, x.ids, axis))
            return {"key": tuple(new)}

        walk.rewrite(call, x.ids, change)
    return y


def _is_plain(item: Any) -> bool:
    numbers = [item.start, item.stop, item.step] if isinstance(item, slice) else [item]
    return all(x is None or x is Ellipsis or _is_int(x) for x in numbers)


def _is_int(x: Any) -> bool:
    return isinstance(x, int | np.integer) and not isinstance(x, bool)


def _places(key: tuple, rank: int) -> dict[int, int]:
    """By axis, batch first: where its slice or integer stands in the key."""
    ellipsis = next((i for i, item in enumerate(key) if item is Ellipsis), len(key))
    before = [i for i in range(ellipsis) if key[i] is not None]
    behind = [i for i in range(ellipsis + 1, len(key)) if key[i] is not None]
    first_behind = rank - len(behind)
    return dict(enumerate(before)) | {first_behind + n: i for n, i in enumerate(behind)}


def _cuts(key: tuple, place: int | None) -> bool:
    return place is not None and key[place] != slice(None)


def _tie_steps(walk: Trace, call: flavors.Call, x: Channels, axis: int, item: Any) -> None:
    """With a step of n, n channels side by side go together, or what stays is on no such grid."""
    size = x.ids.shape[axis]
    step = abs(item.step or 1) if isinstance(item, slice) else 1
    if step > 1 and len(range(size)[item]) > 1:
        firsts = np.take(x.ids, np.arange(size) // step * step, axis)
        reason = f"is stepped over by '{call.layer.name}' with channels that cannot go"
        walk.unite(firsts, x.ids, reason)


def _moved_item(item: Any, kept: np.ndarray) -> Any:
    """What picks the same of the positions that are kept as `item` picks of all."""
    if not isinstance(item, slice):
        return int(_moved(np.array([item]), kept)[0])
    moved = _moved(np.arange(len(kept))[item], kept)
    step = item.step or 1
    stop = int(moved[-1]) + (1 if step > 0 else -1)
    return slice(int(moved[0]), stop if stop >= 0 else None, item.step)


def _moved(positions: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Where those of the positions that are kept come to lie."""
    positions = positions % len(kept)
    return (np.cumsum(kept) - 1)[positions[kept[positions]]]


@operator_rule("take")
def take(walk: Trace, call: flavors.Call, x: Channels):
    """Takes positions of an axis by constant indices."""
    given = flavors.arguments(call)
    if given["axis"] is None or without_batch(given["axis"], x) < 0 or given.get("batch_dims"):
        return refused(walk, call, [x], "which picks samples")
    axis = without_batch(given["axis"], x)
    indices = np.asarray(_value(given["indices"]))
    if axis in x.varying_axes() and indices.ndim > 1:
        return refused(walk, call, [x], "which takes channels along several axes")
    y = rearranged(walk, call, [x], running(call))
    if axis in x.varying_axes():

        def change(stays):
            moved = _moved(indices.ravel(), staying(stays, x.ids, axis))
            return {"indices": moved.tolist() if indices.ndim else int(moved[0])}

        walk.rewrite(call, x.ids, change)
    return y


def _value(argument: Any) -> Any:
    return flavors.to_numpy(argument) if flavors.is_array(argument) else argument


@operator_rule("split")
def split(walk: Trace, call: flavors.Call, x: Channels):
    """Split; along the channels into as many parts as before, of the sizes that stay."""
    axis = without_batch(flavors.arguments(call)["axis"], x)
    outputs = rearranged(walk, call, [x], running(call))
    if axis in x.varying_axes() and len(outputs) > 1:
        walk.rewrite(call, x.ids, _sections(call, x, axis, [y.shape[axis] for y in outputs]))
    return outputs


def _sections(call: flavors.Call, x: Channels, axis: int, sizes: list[int]) -> Callable:
    bounds = np.cumsum(sizes)[:-1]

    def change(stays):
        parts = np.split(staying(stays, x.ids, axis), bounds)
        left = np.array([part.sum() for part in parts])
        if not flavors.is_tf_keras(call.layer):  # which counts where, not how many
            left = np.cumsum(left)[:-1]
        return {"indices_or_sections": left.tolist()}

    return change


@operator_rule("unstack", "arraysplit")
def unstack(walk: Trace, call: flavors.Call, x: Channels):
    """Unstack, one tensor for each position of an axis."""
    if without_batch(flavors.arguments(call)["axis"], x) in x.varying_axes():
        return refused(walk, call, [x], "which takes the channels apart")
    return rearranged(walk, call, [x], running(call))
