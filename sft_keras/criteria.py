"""How important a filter is: the weakest of each channel group are pruned.

A criterion takes a layer's `Filters` and returns one score a filter, higher for filters to keep.
Scores of the layers in a channel group are divided by their mean and added up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.channels import ChannelGroups
from sft_keras.channels.tensor import FIXED
from sft_keras.channels.trace import Role, Slices


@dataclass(frozen=True)
class Filters:
    """What a criterion sees of one layer.

    Attributes:
        weights: float array (filters, elements), one row a filter.
        scale: float array (filters,), |γ|/√(σ²+ε) of the BatchNormalization behind, else ones.
        rng: NumPy random generator, the same for the whole training.
    """

    weights: np.ndarray
    scale: np.ndarray
    rng: np.random.Generator


Criterion = Callable[[Filters], np.ndarray]


def l1(filters: Filters) -> np.ndarray:
    """Mean |w| of each filter (Li et al., ICLR 2017)."""
    return np.abs(filters.weights).mean(axis=1)


def l2(filters: Filters) -> np.ndarray:
    """Root mean square of each filter (SFP, He et al., IJCAI 2018)."""
    return np.sqrt(np.square(filters.weights).mean(axis=1))


def bn_folded(filters: Filters) -> np.ndarray:
    """Mean |w| of each filter as it acts behind its BatchNormalization: |γ|/√(σ²+ε)·|w|."""
    return filters.scale * l1(filters)


def geometric_median(filters: Filters) -> np.ndarray:
    """Sum of distances to the layer's other filters (FPGM, He et al., CVPR 2019)."""
    squares = np.square(filters.weights).sum(axis=1)
    products = filters.weights @ filters.weights.T
    return np.sqrt(np.maximum(squares[:, None] + squares - 2 * products, 0)).sum(axis=1)


def random(filters: Filters) -> np.ndarray:
    """Random scores: the baseline that any criterion must beat."""
    return filters.rng.random(len(filters.weights))


_BY_NAME = {f.__name__: f for f in (l1, l2, bn_folded, geometric_median, random)}


def get(identifier: str | Criterion) -> Criterion:
    """A criterion by name, or the function itself.

    Raises:
        ValueError: no criterion has that name.
    """
    if callable(identifier):
        return identifier
    if identifier in _BY_NAME:
        return _BY_NAME[identifier]
    names = ", ".join(repr(name) for name in _BY_NAME)
    raise ValueError(f"Unknown criterion {identifier!r}; take {names} or a function.")


def scores(groups: ChannelGroups, criterion: Criterion, rng: np.random.Generator) -> np.ndarray:
    """The score of every class: those of its members, each divided by its layer's mean, added.

    Args:
        groups: the channel groups of a model.
        criterion: what scores one layer's filters.
        rng: random generator that is handed to the criterion.

    Returns:
        Float array (classes,).
    """
    total = np.zeros(groups.count)
    for slices in groups.trace.slices:
        if slices.role is not Role.FILTER:
            continue
        classes = groups.classes_of(slices)
        of_layer = np.asarray(criterion(_filters(groups, slices, classes, rng)), "float64")
        mean = of_layer.mean()
        filters = classes != FIXED
        np.add.at(total, classes[filters], of_layer[filters] / (mean if mean > 0 else 1.0))
    return total


def _filters(groups: ChannelGroups, slices: Slices, classes, rng) -> Filters:
    weights = np.moveaxis(flavors.to_numpy(slices.variable), slices.axis, 0)
    weights = weights.reshape(len(weights), -1).astype("float64")
    return Filters(weights, norm_scale(groups, slices.layer, classes), rng)


def norm_scale(groups: ChannelGroups, layer: Any, classes: np.ndarray) -> np.ndarray:
    """|γ|/√(σ²+ε) behind a layer, for filters of the given classes; ones where no norm follows."""
    norms = groups.trace.norms.get(id(layer), [])
    if not norms:
        return np.ones(len(classes))
    total, count = np.zeros(groups.count), np.zeros(groups.count)
    for norm in norms:
        variance = flavors.to_numpy(norm.moving_variance).astype("float64")
        gamma = flavors.to_numpy(norm.gamma) if norm.scale else np.ones_like(variance)
        at = groups.channels_of(norm.moving_variance)
        filters = at != FIXED
        np.add.at(total, at[filters], (np.abs(gamma) / np.sqrt(variance + norm.epsilon))[filters])
        np.add.at(count, at[filters], 1)
    known = np.divide(total, count, out=np.ones_like(total), where=count > 0)
    return np.where(classes == FIXED, 1.0, known[classes])
