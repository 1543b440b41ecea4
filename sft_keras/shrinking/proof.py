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
    """Brings back the states of stateful layers and moving statistics, which calls may change."""
    changed = [v for m in models for v in (*flavors.states(m), *flavors.moving_statistics(m))]
    before = [(v, flavors.to_numpy(v).copy()) for v in changed]
    try:
        yield
    finally:
        for variable, value in before:
            variable.assign(value)


def _prove(groups: ChannelGroups, small: Any, mask: np.ndarray, cuts: Cuts) -> float:
    masked = groups.model
    inputs, values = _telling_inputs(masked)
    differences = _differences(groups, mask, values, _every_tensor(small, inputs))
    if max(differences.values()) <= FLOAT32_TOLERANCE:
        return max(differences.values())
    require_faithful_copy(masked)
    exact_masked = in_precision("float64", masked)
    cut_values = [cuts.value(variable) for variable in flavors.variables(masked)]
    exact_small = in_precision("float64", small, cut_values)
    exact_values = (_every_tensor(model, inputs) for model in (exact_masked, exact_small))
    exact = _differences(groups, mask, *exact_values)
    rounding = relative_difference(outputs(masked, inputs), outputs(small, inputs))
    _require(exact, FLOAT64_TOLERANCE)
    if rounding > ROUNDING_LIMIT:
        _require(differences, FLOAT32_TOLERANCE)
    return max(exact.values())


def _telling_inputs(model: Any) -> tuple[Any, list[np.ndarray]]:
    """Random inputs of the kind of which `model` makes the fewest NaN, and all that it makes.

    Of noise the logarithm and the root make NaN, which any other model makes as well.
    """
    best = -1.0
    for kind in flavors.KINDS:
        drawn = random_inputs(model, kind=kind)
        made = _every_tensor(model, drawn)
        shares = [1 - np.isnan(x).mean() for x in made if x.size]
        if min(shares, default=1) > best:
            best, inputs, values = min(shares, default=1), drawn, made
        if best == 1:
            break
    if best == 0:
        first = next(i for i, x in enumerate(values) if x.size and np.isnan(x).all())
        layer = _layers(model)[first]
        raise UnsupportedError(
            f"Layer '{layer.name}' ({type(layer).__name__}) makes NaN of any random input, which "
            "proves nothing of the layers behind it; begin the model there."
        )
    return inputs, values


def _layers(model: Any) -> list[Any]:
    """The layer that makes each tensor of a graph."""
    return [call.layer for call in flavors.calls(model) for _ in call.outputs]


def _every_tensor(model: Any, inputs: Any) -> list[np.ndarray]:
    """All that a model makes of its inputs, in the order of `_layers`."""
    with states_kept(model):
        return outputs(flavors.with_all_outputs(model), inputs)


def require_faithful_copy(model: Any) -> None:
    """Refuses a model that is another when it is made anew from its layers' configs.

    Models in float64 are made so: what a config leaves out would be missing in both.

    Raises:
        UnsupportedError: names the first layer that computes otherwise.
    """
    copy = clone(model)
    assign(copy, map(flavors.to_numpy, flavors.variables(model)), model)
    inputs, values = _telling_inputs(model)
    made, again = _every_tensor(copy, inputs), _every_tensor(model, inputs)
    for layer, *tensors in zip(_layers(model), values, again, made, strict=True):
        expected, repeated, got = tensors
        if _relative(expected, got) > FLOAT32_TOLERANCE:
            same = _relative(expected, repeated) <= FLOAT32_TOLERANCE
            raise UnsupportedError(
                f"Layer '{layer.name}' ({type(layer).__name__}) computes otherwise when it is made "
                f"anew from its config and weights: {_cause(layer, same)}."
            )


def _cause(layer: Any, same_each_time: bool) -> str:
    if not same_each_time:
        return "it gives other numbers at each call, also where nothing is trained; leave it out"
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


def _differences(
    groups: ChannelGroups, mask: np.ndarray, masked: list[np.ndarray], small: list[np.ndarray]
) -> dict[str, float]:
    """By layer, in graph order: how far the kept channels of all tensors differ."""
    calls = [(call.layer, x) for call in flavors.calls(groups.model) for x in call.outputs]
    found: dict[str, float] = {}
    for (layer, tensor), expected, got in zip(calls, masked, small, strict=True):
        if flavors.is_operator(layer) and flavors.operator_name(layer) == "shape":
            continue  # which counts filters, for others to read what else it counts
        kept = _without_pruned(groups, groups.trace.tensors[id(tensor)], mask, expected)
        found[layer.name] = max(found.get(layer.name, 0.0), _relative(kept, got))
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
    if a.shape != b.shape:
        return float("inf")
    finite = np.isfinite(a)
    endless, other = (np.where(np.isfinite(x), 0, x) for x in (a, b))
    if not np.array_equal(endless, other, equal_nan=True):
        return float("inf")
    difference = np.abs(np.subtract(a, b, where=finite, out=np.zeros_like(a))).max(initial=0)
    scale = np.abs(a, where=finite, out=np.zeros_like(a)).max(initial=0)
    return float(difference / scale) if scale else float(difference)
