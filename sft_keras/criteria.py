"""How important a filter is: the weakest of each channel group are pruned.

A criterion takes a layer's `Filters` and returns one score a filter, higher for filters to keep.
Scores of the layers in a channel group are divided by their mean and added up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from scipy import stats

from sft_keras import flavors
from sft_keras.channels import ChannelGroups
from sft_keras.channels.notes import Role, Slices
from sft_keras.channels.tensor import FIXED
from sft_keras.errors import ArgumentError


@dataclass(frozen=True)
class Filters:
    """What a criterion sees of one layer.

    Attributes:
        weights: float array (filters, elements), one row a filter.
        gamma: float array (filters,), |γ| of the BatchNormalization behind, else None.
        beta: float array (filters,), its β, else None.
        scale: float array (filters,), its |γ|/√(σ²+ε), else ones.
        read: float array (filters,), L2 norm of the weights with which the next layers read each
            filter, their own BatchNormalization folded in; ones where nothing reads it.
        rng: NumPy random generator, the same for the whole training.
    """

    weights: np.ndarray
    gamma: np.ndarray | None
    beta: np.ndarray | None
    scale: np.ndarray
    read: np.ndarray
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


def contribution(filters: Filters) -> np.ndarray:
    """How much a filter moves what the next layers compute: its activity times how it is read.

    Behind a BatchNormalization a filter's output is near N(β, γ²); its activity is the standard
    deviation of the ReLU of that, in closed form. Elsewhere it is the filter's root mean square.
    """
    if filters.gamma is None or filters.beta is None:
        return l2(filters) * filters.read
    return _relu_deviation(filters.beta, filters.gamma) * filters.read


def _relu_deviation(mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """Standard deviation of max(0, z) for normally distributed z."""
    deviation = np.maximum(deviation, 1e-12)
    density = deviation * stats.norm.pdf(mean / deviation)
    positive = stats.norm.cdf(mean / deviation)
    first = mean * positive + density
    second = (mean**2 + deviation**2) * positive + mean * density
    return np.sqrt(np.maximum(second - first**2, 0))


def geometric_median(filters: Filters) -> np.ndarray:
    """Sum of distances to the layer's other filters (FPGM, He et al., CVPR 2019)."""
    squares = np.square(filters.weights).sum(axis=1)
    products = filters.weights @ filters.weights.T
    return np.sqrt(np.maximum(squares[:, None] + squares - 2 * products, 0)).sum(axis=1)


def random(filters: Filters) -> np.ndarray:
    """Random scores: the baseline that any criterion must beat."""
    return filters.rng.random(len(filters.weights))


_BY_NAME = {f.__name__: f for f in (l1, l2, bn_folded, contribution, geometric_median, random)}


def get(identifier: str | Criterion) -> Criterion:
    """A criterion by name, or the function itself.

    Args:
        identifier: a function of `Filters`, or the name of one of this module or of one that
            `keras.saving.register_keras_serializable` has registered.

    Raises:
        ArgumentError: no criterion has that name.
    """
    if callable(identifier):
        return identifier
    found = _BY_NAME.get(identifier) or keras.saving.get_registered_object(identifier)
    if found is not None:
        return found
    names = ", ".join(repr(name) for name in _BY_NAME)
    raise ArgumentError(f"Unknown criterion {identifier!r}; take {names} or a function.")


def serialize(criterion: Criterion) -> str:
    """The name that `get` finds a criterion by.

    Raises:
        ArgumentError: the criterion is a function that has not been registered.
    """
    name = keras.saving.get_registered_name(criterion)
    if _BY_NAME.get(name) is criterion or keras.saving.get_registered_object(name) is criterion:
        return name
    raise ArgumentError(
        f"The criterion {name!r} has no name to be found by; decorate the function with "
        "keras.saving.register_keras_serializable('your_package')."
    )


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
    read = _read_norms(groups)
    for slices in groups.trace.slices:
        if slices.role is not Role.FILTER:
            continue
        rows = _rows(slices.ids)
        classes = groups.classes_of(slices.ids)[rows[:, 0]]
        filters = classes != FIXED
        of_layer = np.asarray(criterion(_filters(groups, slices, rows, read, rng)), "float64")
        mean = of_layer.mean()
        np.add.at(total, classes[filters], of_layer[filters] / (mean if mean > 0 else 1.0))
    return total


def _rows(ids: np.ndarray) -> np.ndarray:
    """Positions (filters, positions of each): a recurrent unit has one in each gate's block."""
    found, counts = np.unique(ids, return_counts=True)
    if len(found) == len(ids) or FIXED in found or np.ptp(counts):
        return np.arange(len(ids))[:, None]
    return np.argsort(ids, kind="stable").reshape(len(found), -1)


def _filters(
    groups: ChannelGroups, slices: Slices, rows: np.ndarray, read: np.ndarray, rng
) -> Filters:
    weights = np.moveaxis(flavors.to_numpy(slices.variable), slices.axis, 0)
    weights = weights[rows] if rows.shape[1] > 1 else weights  # a copy, of what may be large
    classes = groups.classes_of(slices.ids)[rows[:, 0]]
    norm = _norm_behind(groups, slices.layer)
    gamma, beta, scale = (_by_class(values, classes) for values in norm) if norm else (None,) * 3
    return Filters(
        weights=weights.reshape(len(weights), -1).astype("float64"),
        gamma=gamma,
        beta=beta,
        scale=np.ones(len(weights)) if scale is None else scale,
        read=_by_class(read, classes),
        rng=rng,
    )


def _by_class(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Values by class, for each filter; 1 for what is no filter."""
    return np.where(classes == FIXED, 1.0, values[classes])


def _norm_behind(groups: ChannelGroups, layer: Any) -> list[np.ndarray] | None:
    """By class: |γ|, β and |γ|/√(σ²+ε) behind a layer, the mean where it has several norms."""
    norms = groups.trace.norms.get(id(layer), [])
    if not norms:
        return None
    total, count = np.zeros((3, groups.count)), np.zeros(groups.count)
    for norm in norms:
        variance = flavors.to_numpy(norm.moving_variance).astype("float64")
        gamma = np.abs(flavors.to_numpy(norm.gamma)) if norm.scale else np.ones_like(variance)
        beta = flavors.to_numpy(norm.beta) if norm.center else np.zeros_like(variance)
        at = groups.channels_of(norm.moving_variance)
        filters = at != FIXED
        values = np.stack([gamma, beta, gamma / np.sqrt(variance + norm.epsilon)])
        for row, value in zip(total, values, strict=True):
            np.add.at(row, at[filters], value[filters])
        np.add.at(count, at[filters], 1)
    return list(np.divide(total, count, out=np.ones_like(total), where=count > 0))


def _read_norms(groups: ChannelGroups) -> np.ndarray:
    """By class: the L2 norm of the kernels' parts that read it, 1 where nothing does."""
    squares = np.zeros(groups.count)
    producing = {id(s.variable): s for s in groups.trace.slices if s.role is Role.FILTER}
    for reading in groups.trace.slices:
        writing = producing.get(id(reading.variable))
        if reading.role is not Role.CUT or writing is None:
            continue
        norm = _norm_behind(groups, writing.layer)
        classes = groups.classes_of(writing.ids)
        scale = _by_class(norm[2], classes) if norm else np.ones(len(classes))
        kernel = flavors.to_numpy(reading.variable).astype("float64")
        np.square(kernel, out=kernel)  # in place: a kernel may be most of the memory
        kernel = np.moveaxis(kernel, (reading.axis, writing.axis), (0, 1))
        by_pair = kernel.sum(axis=tuple(range(2, kernel.ndim))) if kernel.ndim > 2 else kernel
        at = groups.classes_of(reading.ids)
        np.add.at(squares, at[at != FIXED], (by_pair @ np.square(scale))[at != FIXED])
    return np.where(squares > 0, np.sqrt(squares), 1.0)
