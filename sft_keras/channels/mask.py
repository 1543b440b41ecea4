"""Masks: boolean arrays (classes,), true for the filters that are pruned."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from sft_keras import flavors
from sft_keras.channels.groups import ChannelGroups
from sft_keras.channels.notes import Fold, Role, Slices
from sft_keras.channels.tensor import FIXED
from sft_keras.errors import ShrinkError


def pruned_positions(groups: ChannelGroups, slices: Slices | Fold, mask: np.ndarray) -> np.ndarray:
    """Boolean array along the slice's axis: which positions belong to pruned filters."""
    return pruned_ids(groups, slices.ids, mask)


def pruned_ids(groups: ChannelGroups, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Boolean array shaped like `ids`: which of them belong to pruned filters."""
    return np.append(mask, False)[groups.classes_of(ids)]  # FIXED, -1, looks up the last


def owned(groups: ChannelGroups) -> list[Slices]:
    """The slices that are zero when their filter is masked."""
    return [s for s in groups.trace.slices if s.role is not Role.CUT]


def read_mask(groups: ChannelGroups) -> np.ndarray:
    """The mask that the zeros of a model's weights spell.

    A class counts as pruned when everything it owns is exactly zero, and it is not frozen.

    Args:
        groups: the channel groups of the model.

    Returns:
        Boolean array (classes,), true where pruned.
    """
    zero = groups.prunable.copy()
    for slices in owned(groups):
        weights = flavors.to_numpy(slices.variable)
        other_axes = tuple(i for i in range(weights.ndim) if i != slices.axis)
        nonzero = np.any(weights != 0, axis=other_axes)
        classes = groups.classes_of(slices.ids)[nonzero]
        zero[classes[classes != FIXED]] = False
    return zero


def apply_mask(groups: ChannelGroups, mask: np.ndarray) -> None:
    """Zeroes in place everything that the masked filters own.

    Args:
        groups: the channel groups of the model.
        mask: boolean array (classes,), true where pruned.
    """
    for slices in owned(groups):
        pruned = pruned_positions(groups, slices, mask)
        if pruned.any():
            weights = flavors.to_numpy(slices.variable).copy()
            np.moveaxis(weights, slices.axis, 0)[pruned] = 0
            slices.variable.assign(weights)


@contextlib.contextmanager
def masked(groups: ChannelGroups, mask: np.ndarray) -> Iterator[None]:
    """Shows the masked model while the block runs, and brings its weights back behind it.

    Args:
        groups: the channel groups of the model.
        mask: boolean array (classes,), true where pruned.
    """
    kept = set_aside(groups, mask)
    try:
        apply_mask(groups, mask)
        yield
    finally:
        put_back(kept)


class Aside(NamedTuple):
    """What masked filters own of one slice.

    Attributes:
        slices: where.
        pruned: boolean array along its axis, true for what is kept here.
        value: the weights there, the slice's axis first.
    """

    slices: Slices
    pruned: np.ndarray
    value: np.ndarray


def set_aside(groups: ChannelGroups, mask: np.ndarray) -> list[Aside]:
    """Copies of everything that the masked filters own."""
    parts = ((part, pruned_positions(groups, part, mask)) for part in owned(groups))
    return [
        Aside(part, pruned, np.moveaxis(flavors.to_numpy(part.variable), part.axis, 0)[pruned])
        for part, pruned in parts
        if pruned.any()
    ]


def put_back(kept: Iterable[Aside]) -> None:
    """Gives the masked filters what was set aside; all other weights stay as they are now."""
    for part, pruned, value in kept:
        weights = flavors.to_numpy(part.variable).copy()
        np.moveaxis(weights, part.axis, 0)[pruned] = value
        part.variable.assign(weights)


def require_filters_left(groups: ChannelGroups, mask: np.ndarray) -> None:
    """Refuses a mask under which a layer would have no filter left.

    Raises:
        ShrinkError: names the first such layer.
    """
    for name, classes in groups.never_empty:
        if mask[classes].all():
            raise ShrinkError(
                f"Every filter of layer '{name}' is pruned, which would leave it empty; "
                "keep at least one, with a lower pruning ratio for that layer."
            )
