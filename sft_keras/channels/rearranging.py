"""Tensors that are put together from cells of other tensors: moved, copied, dropped."""

from collections.abc import Callable, Sequence

import numpy as np

from sft_keras import flavors
from sft_keras.channels.tensor import FIXED, Channels
from sft_keras.channels.trace import Trace, freeze_all
from sft_keras.flavors.sampling import UNKNOWN_SIZE


def rearranged(
    walk: Trace, call: flavors.Call, inputs: Sequence[Channels], function: Callable
) -> list[Channels]:
    """The outputs of a call whose every cell is a copy of one cell of the inputs, or fixed.

    Args:
        walk: takes the notes.
        call: the call.
        inputs: the channels of its inputs.
        function: what the call does: takes integer arrays like the inputs, each with two samples,
            and returns arrays like the outputs, with 0 where a cell is a copy of none.
    """
    cells = 1 + sum(x.ids.size for x in inputs)
    try:
        made = function(*_numbered(inputs, cells))
    except ValueError:  # a size that is not known matters
        made = []
    wanted = [tuple(x.shape[1:]) for x in call.outputs]
    if len(made) != len(wanted) or not all(map(_is_per_sample, made, wanted, [cells] * len(made))):
        unknown = any(None in shape for shape in [*wanted, *(x.shape for x in inputs)])
        why = "rearranges a tensor of unknown size" if unknown else "mixes samples"
        return freeze_all(walk, call, inputs, f"enters '{call.layer.name}', which {why}")
    ids = np.concatenate([[FIXED], *(x.ids.ravel() for x in inputs)])
    dead = np.concatenate([[0.0], *(x.dead.ravel() for x in inputs)])
    outputs = []
    for numbers, shape in zip(made, wanted, strict=True):
        numbers = _without_repetition(numbers[0])
        y = Channels(ids[numbers], shape, dead[numbers]).compact()
        if any(shape[axis] is None for axis in y.varying_axes()):
            reason = f"enters '{call.layer.name}', which rearranges a tensor of unknown size"
            return freeze_all(walk, call, inputs, reason)
        if np.setdiff1d(ids[1:], y.ids).size:
            walk.need(call.layer, y.ids)
        outputs.append(y)
    return outputs


def reshaped(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """The output of a call that reshapes each sample, by its static shape."""
    shape = tuple(call.outputs[0].shape[1:])
    if not x.varying_axes():
        ones = (1,) * len(shape)
        return Channels(x.ids.reshape(ones), shape, x.dead.reshape(ones))
    sizes = [-1 if size is None else size for size in shape]
    return rearranged(walk, call, [x], lambda a: [a.reshape(len(a), *sizes)])[0]


def by_position(ids: np.ndarray, axis: int) -> np.ndarray:
    """The ids at each position of one axis, as an array (positions, others)."""
    return np.moveaxis(ids, axis, 0).reshape(ids.shape[axis], -1)


def staying(stays: Callable, ids: np.ndarray, axis: int) -> np.ndarray:
    """Boolean array: which positions of an axis stay, by a function that tells which ids stay."""
    return stays(by_position(ids, axis)).any(axis=1)


def _numbered(inputs: Sequence[Channels], cells: int) -> list[np.ndarray]:
    """Arrays like the inputs, two samples each, that number the cells of their ids from 1."""
    arrays, first = [], 1
    for x in inputs:
        numbers = np.arange(first, first + x.ids.size, dtype="int32").reshape(x.ids.shape)
        full = np.broadcast_to(numbers, [UNKNOWN_SIZE if n is None else n for n in x.shape])
        arrays.append(np.stack([full, full + cells]))
        first += x.ids.size
    return arrays


def _is_per_sample(numbers: np.ndarray, shape: tuple, cells: int) -> bool:
    """Whether an array is of the shape, and its second sample made as its first."""
    fits = len(numbers) == 2 and numbers.ndim == len(shape) + 1
    fits = fits and all(n in (None, m) for n, m in zip(shape, numbers.shape[1:], strict=True))
    if not fits or not numbers.size:
        return False
    return np.array_equal(numbers[1], np.where(numbers[0], numbers[0] + cells, 0))


def _without_repetition(numbers: np.ndarray) -> np.ndarray:
    """An array with every axis along which it does not change reduced to size 1."""
    for axis in range(numbers.ndim):
        first = np.take(numbers, [0], axis)
        if np.all(numbers == first):
            numbers = first
    return numbers
