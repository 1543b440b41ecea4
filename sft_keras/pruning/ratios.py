"""How much of each channel group is to be pruned, and which of its filters."""

import fnmatch
import math
import numbers
from collections.abc import Mapping, Sequence

import numpy as np

from sft_keras import flavors
from sft_keras.channels import ChannelGroup, ChannelGroups
from sft_keras.channels.notes import Role
from sft_keras.errors import ArgumentError, UnsupportedError

Ratio = float | Mapping[str, float]


def check_ratio(ratio: Ratio) -> None:
    """Refuses a ratio outside [0, 1).

    Raises:
        ArgumentError: names the ratio, and the layer where it is one of several.
    """
    items = ratio.items() if isinstance(ratio, Mapping) else [("", ratio)]
    for name, value in items:
        if not (isinstance(value, numbers.Real) and 0 <= value < 1):
            where = f" for layer '{name}'" if name else ""
            raise ArgumentError(
                f"pruning_ratio{where} is {value!r}; take a number from 0 up to, not including, 1."
            )


def check_width_multiple(multiple: int) -> None:
    """Refuses a width that filters cannot be rounded up to a multiple of.

    Raises:
        ArgumentError: it is no whole number above 0.
    """
    if not (isinstance(multiple, numbers.Integral) and multiple >= 1):
        raise ArgumentError(f"width_multiple is {multiple!r}; take a whole number of 1 or more.")


def group_ratios(
    groups: ChannelGroups, ratio: Ratio, exclude: Sequence[str] | str = ()
) -> list[float]:
    """The final pruning ratio of each channel group.

    Args:
        groups: the channel groups of a model.
        ratio: one number for all layers, or a mapping from layer names or patterns (`block?_*`)
            to numbers; layers that it does not name keep all their filters.
        exclude: names or patterns of layers that keep all their filters; one as a string.

    Returns:
        One ratio a group, in order; the smallest that any of the group's layers asks for.

    Raises:
        UnsupportedError: nothing can be pruned.
        ArgumentError: a name or pattern fits no layer, or names one that cannot be pruned, or not
            without others that it is tied to.
    """
    check_ratio(ratio)
    exclude = [exclude] if isinstance(exclude, str) else exclude
    if not any(group.prunable for group in groups):
        reasons = "; ".join(f"{g.layers[0]} {g.reason}" for g in groups) or "it has no filters"
        raise UnsupportedError(
            f"Model '{groups.model.name}' has no filter that can be pruned: {reasons}; "
            "see print(sft_keras.channel_groups(model))."
        )
    asked = ratio if isinstance(ratio, Mapping) else {"*": ratio}
    _check_names(groups, [*(asked if isinstance(ratio, Mapping) else ()), *exclude])
    ratios = [_group_ratio(group, asked, exclude) for group in groups]
    _check_ties(groups, ratios, asked, exclude)
    return ratios


def without_frozen(groups: ChannelGroups, ratios: Sequence[float]) -> list[float]:
    """The same ratios, with 0 for the groups in which a layer is not trained.

    Raises:
        UnsupportedError: nothing that was to be pruned is trained.
    """
    frozen = [_is_frozen(groups, group) for group in groups]
    left = [0.0 if still else ratio for ratio, still in zip(ratios, frozen, strict=True)]
    if any(ratios) and not any(left):
        raise UnsupportedError(
            f"All layers of model '{groups.model.name}' that were to be pruned are frozen; set "
            "trainable=True on some and compile again, or prune without training: "
            "sft_keras.shrink(model, sft_keras.plan(model))."
        )
    return left


def _is_frozen(groups: ChannelGroups, group: ChannelGroup) -> bool:
    kernels = (part for part in groups.trace.slices if part.role is Role.FILTER)
    return any(
        not flavors.is_trained(part.layer, part.variable)
        for part in kernels
        if np.isin(groups.classes_of(part.ids), group.classes).any()
    )


def _check_names(groups: ChannelGroups, patterns: Sequence[str]) -> None:
    names = [name for group in groups for name in group.layers]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise ArgumentError(
                f"No layer with filters is called '{pattern}'; there are: {', '.join(names)}."
            )
    for group in groups:
        for name in set(group.layers) & set(patterns):
            if not group.prunable and group.filters == _filters_of(groups, name):
                raise ArgumentError(
                    f"Layer '{name}' cannot be pruned: it {group.reason}; leave it out."
                )


def _check_ties(
    groups: ChannelGroups,
    ratios: Sequence[float],
    asked: Mapping[str, float],
    exclude: Sequence[str],
) -> None:
    """Refuses names of layers that keep all filters, since what they are tied to is not named."""
    for name in (name for name, ratio in asked.items() if ratio > 0):
        pairs = zip(groups, ratios, strict=True)
        own = [(group, ratio) for group, ratio in pairs if group.prunable and name in group.layers]
        if any(ratio for _, ratio in own):
            continue
        tied = {other for group, _ in own for other in group.layers}
        if forgotten := sorted(x for x in tied if not _fits(x, [*asked, *exclude])):
            raise ArgumentError(
                f"Layer '{name}' loses filters only together with {', '.join(forgotten)}; name "
                "them in pruning_ratio too."
            )


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _filters_of(groups: ChannelGroups, name: str) -> int:
    return sum(group.filters for group in groups if name in group.layers)


def _group_ratio(group: ChannelGroup, asked: Mapping[str, float], exclude: Sequence[str]) -> float:
    if not group.prunable:
        return 0.0
    return min(_layer_ratio(name, asked, exclude) for name in group.layers)


def _layer_ratio(name: str, asked: Mapping[str, float], exclude: Sequence[str]) -> float:
    if _fits(name, exclude):
        return 0.0
    if name in asked:
        return asked[name]
    fitting = (value for pattern, value in asked.items() if fnmatch.fnmatchcase(name, pattern))
    return next(fitting, 0.0)


def kept_filters(filters: int, ratio: float, width_multiple: int = 1) -> int:
    """How many of `filters` stay: at least 1, rounded up to a multiple where one is asked for."""
    kept = filters - math.floor(filters * ratio + 1e-9)
    return min(filters, math.ceil(kept / width_multiple) * width_multiple)


def select(
    groups: ChannelGroups, scores: np.ndarray, ratios: Sequence[float], width_multiple: int = 1
) -> np.ndarray:
    """Masks the weakest filters of each group.

    Args:
        groups: the channel groups of a model.
        scores: float array (classes,), higher for filters to keep.
        ratios: one pruning ratio a group.
        width_multiple: round the number of filters that stay up to a multiple of this.

    Returns:
        Boolean array (classes,), true where pruned; no layer is left without a filter.

    Raises:
        UnsupportedError: a score is NaN.
    """
    if np.isnan(scores).any():
        raise UnsupportedError(
            f"The filters of model '{groups.model.name}' cannot be ranked: a score is NaN; "
            "look for NaN weights, or lower the learning rate."
        )
    mask = np.zeros(groups.count, bool)
    for group, ratio in zip(groups, ratios, strict=True):
        pruned = group.filters - kept_filters(group.filters, ratio, width_multiple)
        weakest = np.argsort(scores[group.classes], kind="stable")[:pruned]
        mask[group.classes[weakest]] = True
    for _, classes in groups.never_empty:
        if mask[classes].all():
            mask[classes[np.argmax(scores[classes])]] = False
    return mask
