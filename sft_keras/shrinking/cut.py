"""Which part of every variable, config and argument stays when the masked filters go."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.channels import ChannelGroups
from sft_keras.channels.mask import pruned_ids, pruned_positions


class Cuts:
    """What a mask leaves of each variable and of each number in a layer's config.

    Args:
        groups: the channel groups of the model.
        mask: boolean array (classes,), true where pruned.
    """

    def __init__(self, groups: ChannelGroups, mask: np.ndarray):
        self._kept: dict[int, dict[int, np.ndarray]] = {}
        for slices in groups.trace.slices:
            kept = np.flatnonzero(~pruned_positions(groups, slices, mask))
            if len(kept) < len(slices.ids):
                self._kept.setdefault(id(slices.variable), {})[slices.axis] = kept
        self._widths: dict[int, list[tuple[tuple, int]]] = {}
        for layer, path, ids in groups.trace.widths:
            kept = ~pruned_ids(groups, ids, mask).reshape(len(ids), -1).all(axis=1)
            count = int(np.count_nonzero(kept))  # layers take no integers of NumPy
            self._widths.setdefault(id(layer), []).append((path, count))
        self._changed_calls: dict[int, Callable] = {}
        self._changed_operators: dict[int, Callable] = {}
        for call, ids, change in groups.trace.rewrites:
            if pruned_ids(groups, ids, mask).any():
                self._changed_calls[id(call.outputs[0])] = change
                self._changed_operators[id(call.layer)] = change
        self._stay = lambda ids: ~pruned_ids(groups, ids, mask)
        self._bias_shifts = _bias_shifts(groups, mask)
        self._scales = _scales(groups, mask)

    def config(self, layer: Any) -> dict:
        """The config of `layer` with its new widths, and without anything of this package."""
        config = flavors.config(layer)
        config.update(_own_objects_replaced(layer, config))
        for (key, *rest), count in self._widths.get(id(layer), []):
            config[key] = _replaced(config[key], rest, count)
        if change := self._changed_operators.get(id(layer)):
            config.update({key: x for key, x in change(self._stay).items() if key in config})
        return config

    def arguments(self, call: flavors.Call) -> tuple[tuple, dict]:
        """The arguments of a call of the graph, with bounds and sizes as the shrunk one has."""
        if change := self._changed_calls.get(id(call.outputs[0])):
            return flavors.with_arguments(call, change(self._stay))
        return call.args, call.kwargs

    def value(self, variable: Any) -> np.ndarray:
        """What stays of a variable; with folded constants added, or rescaled, in float64."""
        value = flavors.to_numpy(variable)
        shift, scale = self._bias_shifts.get(id(variable)), self._scales.get(id(variable))
        if shift is not None:
            value = value.astype("float64") + shift
        if scale is not None:
            value = value.astype("float64") * scale
        return self.part(variable, value)

    def part(self, variable: Any, value: np.ndarray) -> np.ndarray:
        """What stays of any array shaped like `variable`, such as its momentum."""
        for axis, kept in self._kept.get(id(variable), {}).items():
            value = np.take(value, kept, axis)
        return value


def _replaced(value: Any, path: list, count: int) -> Any:
    """A copy of a config entry with the number at `path` in it replaced."""
    if not path:
        return count
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _replaced(copy[path[0]], path[1:], count)
    return copy


def _own_objects_replaced(layer: Any, config: dict) -> dict:
    """Config entries instead of this package's penalties and masks, which fit the old widths."""
    values = {name: flavors.argument(layer, name) for name in config}
    return {
        name: getattr(value, "inner", None)
        for name, value in values.items()
        if type(value).__module__.startswith("sft_keras.")
    }


def _bias_shifts(groups: ChannelGroups, mask: np.ndarray) -> dict[int, np.ndarray]:
    """By bias: what the constants of pruned filters add up to at its layer's output."""
    shifts: dict[int, np.ndarray] = {}
    for fold in groups.trace.folds:
        emitted = np.where(pruned_positions(groups, fold, mask), fold.dead, 0.0)
        if emitted.any():
            kernel = flavors.to_numpy(fold.kernel).astype("float64")
            axes = list(range(kernel.ndim))
            summed = np.einsum(kernel, axes, emitted, [fold.axis], list(fold.output_axes))
            shift = shifts[id(fold.bias)] = np.zeros(fold.bias.shape)
            shift[fold.place] = summed.reshape(shift[fold.place].shape)
    return shifts


def _scales(groups: ChannelGroups, mask: np.ndarray) -> dict[int, float]:
    """By variable: the factor that makes up for a divisor that shrinks with its filters."""
    return {
        id(variable): math.sqrt(1 - pruned_ids(groups, ids, mask).mean())
        for variable, ids in groups.trace.scales
    }
