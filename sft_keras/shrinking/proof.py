"""The proof that a shrunk model computes what the masked one does."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import tree

from sft_keras import flavors
from sft_keras.channels import ChannelGroups
from sft_keras.channels.mask import pruned_ids
from sft_keras.channels.tensor import Channels
from sft_keras.cloning import assign, clone, in_precision
from sft_keras.errors import ShrinkError, UnsupportedError
from sft_keras.flavors import random_inputs
from sft_keras.shrinking.cut import Cuts

FLOAT32_TOLERANCE = 1e-5
FLOAT64_TOLERANCE = 1e-10
ROUNDING_LIMIT = 0.1
"""What rounding alone may make of a difference, in a deep network in half precision."""


def prove_equal(groups: ChannelGroups, small: Any, mask: np.ndarray, cuts: Cuts) -> float:
    """Compares all tensors of the masked and the shrunk model on random input.

    Not the outputs alone: behind a saturated softmax or dead rectifiers they hide differences.

    Args:
        groups: channel groups of the masked model.
        small: the shrunk model.
        mask: boolean array (classes,), true where pruned.
        cuts: what the shrunk model's weights were made from, for the proof in float64.

    Returns:
        The largest difference, relative to its tensor's scale.

    Raises:
        ShrinkError: they differ by more than 1e-5, and also in float64 by more than 1e-10;
            names the layer where they part.
        UnsupportedError: a layer's config leaves something out.
    """
    with states_kept(groups.model, small):
        return _prove(groups, small, mask, cuts)


@contextlib.contextmanager
def states_kept(*models: Any) -> Iterator[None]:
    """Brings back the states of stateful layers, which each call changes."""
    before = [(v, flavors.to_numpy(v).copy()) for model in models for v in flavors.states(model)]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def _prove(groups: ChannelGroups, small: Any, mask: np.ndarray, cuts: Cuts) -> float:
    masked = groups.model
    inputs = random_inputs(masked)
    differences = _differences(groups, (masked, small), mask, inputs)
    if max(differences.values()) <= FLOAT32_TOLERANCE:
        return max(differences.values())
    require_faithful_copy(masked)
    values = [cuts.value(variable) for variable in flavors.variables(masked)]
    exact_small = in_precision("float64", small, values)
    exact = _differences(groups, (in_precision("float64", masked), exact_small), mask, inputs)
    rounding = relative_difference(outputs(masked, inputs), outputs(small, inputs))
    _require(exact, FLOAT64_TOLERANCE)
    if rounding > ROUNDING_LIMIT:
        _require(differences, FLOAT32_TOLERANCE)
    return max(exact.values())


def require_faithful_copy(model: Any) -> None:
    """Refuses a model that is another when it is made anew from its layers' configs.

    Models in float64 are made so: what a config leaves out would be missing in both.

    Raises:
        UnsupportedError: names the first layer that computes otherwise.
    """
    copy = clone(model)
    assign(copy, map(flavors.to_numpy, flavors.variables(model)))
    inputs = random_inputs(model)
    layers = [call.layer for call in flavors.calls(model) for _ in call.outputs]
    with states_kept(model, copy):
        values = [outputs(flavors.with_all_outputs(m), inputs) for m in (model, copy)]
    for layer, expected, got in zip(layers, *values, strict=True):
        if _relative(expected, got) > FLOAT32_TOLERANCE:
            raise UnsupportedError(
                f"Layer '{layer.name}' ({type(layer).__name__}) computes otherwise when it is made "
                f"anew from its config and weights: {_cause(layer)}."
            )


def _cause(layer: Any) -> str:
    if type(layer).__name__ == "Normalization":  # which computes with a copy of its weights
        return "call its finalize_state(), as is due after its weights were changed"
    return "its get_config() leaves something out; complete it, or use another layer"


def _require(differences: dict[str, float], tolerance: float) -> None:
    for name, difference in differences.items():
        if difference > tolerance:
            raise ShrinkError(
                f"The shrunk model parts from the masked one at layer '{name}', by "
                f"{difference:.1e} of the layer's scale; leave that layer out of pruning and "
                "report this as a bug."
            )


def _differences(groups: ChannelGroups, pair: tuple, mask: np.ndarray, inputs) -> dict[str, float]:
    """By layer, in graph order: how far the two models' kept channels differ."""
    calls = [(call.layer, x) for call in flavors.calls(groups.model) for x in call.outputs]
    found: dict[str, float] = {}
    values = [outputs(flavors.with_all_outputs(model), inputs) for model in pair]
    for (layer, tensor), masked, small in zip(calls, *values, strict=True):
        if flavors.is_operator(layer) and flavors.operator_name(layer) == "shape":
            continue  # which counts filters, for others to read what else it counts
        kept = _without_pruned(groups, groups.trace.tensors[id(tensor)], mask, masked)
        found[layer.name] = max(found.get(layer.name, 0.0), _relative(kept, small))
    return found


def _without_pruned(groups: ChannelGroups, x: Channels, mask: np.ndarray, value: np.ndarray):
    for axis in x.varying_axes():
        others = tuple(i for i in range(x.ids.ndim) if i != axis)
        pruned = pruned_ids(groups, x.ids, mask).all(axis=others)
        value = np.compress(~pruned, value, axis + 1)
    return value


def outputs(model: Any, inputs: Any) -> list[np.ndarray]:
    """The outputs of `model`, flat, as float64 arrays."""
    made = model(inputs, training=False)
    if flavors.is_tf_keras(model):
        made = flavors.plain_dicts(made)
    return [np.asarray(flavors.to_numpy(x), "float64") for x in tree.flatten(made)]


def relative_difference(expected: list[np.ndarray], got: list[np.ndarray]) -> float:
    """The largest difference over all outputs, each relative to its largest value."""
    return max(_relative(a, b) for a, b in zip(expected, got, strict=True))


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return float("inf")
    difference = np.abs(np.where(np.isfinite(a), a - b, 0)).max(initial=0)
    scale = np.abs(a, where=np.isfinite(a), out=np.zeros_like(a)).max(initial=0)
    return float(difference / scale) if scale else float(difference)
