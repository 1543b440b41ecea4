"""Channel ids along one tensor of the graph."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

FIXED = -1
"""The id of a channel that is no filter and so never goes away, such as a model input's."""


@dataclass(frozen=True)
class Channels:
    """Which filter each channel of a tensor comes from.

    Attributes:
        ids: integer array with one axis per axis of the tensor (without batch), each of size 1
            where the ids do not change along it. `FIXED` marks what is no filter.
        shape: the tensor's shape without batch, `None` where unknown.
        dead: float array shaped like `ids`: the constant that a pruned filter emits here, NaN
            where what it emits is no constant.
        origin: the layer whose filters these are, as long as only activations and spatial
            layers lie between; a BatchNormalization met now scales exactly that layer's filters.
    """

    ids: np.ndarray
    shape: tuple
    dead: np.ndarray
    origin: Any = None

    def with_(self, **changes) -> "Channels":
        """A copy with some attributes changed."""
        return replace(self, **changes)

    def varying_axes(self) -> tuple[int, ...]:
        """Axes along which the ids change."""
        return tuple(i for i, size in enumerate(self.ids.shape) if size > 1)

    def expanded(self, axes: tuple[int, ...]) -> "Channels":
        """The same ids written out to the tensor's full size, where known, along `axes`."""
        target = list(self.ids.shape)
        for axis in axes:
            target[axis] = self.shape[axis] or target[axis]
        return self.with_(
            ids=np.broadcast_to(self.ids, target), dead=np.broadcast_to(self.dead, target)
        )

    def compact(self) -> "Channels":
        """The same ids with every axis along which nothing changes reduced to size 1."""
        ids, dead = self.ids, np.where(self.ids == FIXED, 0.0, self.dead)
        for axis in range(ids.ndim):
            first = np.take(ids, [0], axis), np.take(dead, [0], axis)
            same = (dead == first[1]) | (np.isnan(dead) & np.isnan(first[1]))
            if ids.size and np.all(ids == first[0]) and np.all(same):
                ids, dead = first
        return self.with_(ids=ids, dead=dead)


def along(axis: int, ids: np.ndarray, shape: tuple, dead=0.0, origin: Any = None) -> Channels:
    """Ids that change along one axis of a tensor of `shape` (without batch) only."""
    layout = [1] * len(shape)
    layout[axis] = len(ids)
    dead = np.broadcast_to(np.asarray(dead, "float64"), ids.shape)
    return Channels(ids.reshape(layout), tuple(shape), dead.reshape(layout), origin)


def fixed(shape: tuple) -> Channels:
    """A tensor of `shape` (without batch) without any filter in it."""
    layout = (1,) * len(shape)
    return Channels(np.full(layout, FIXED), tuple(shape), np.zeros(layout))
