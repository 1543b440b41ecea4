"""Layers that compute with a mask, which no int8 file does."""

from collections.abc import Collection, Iterator
from typing import Any

from sft_keras import flavors
from sft_keras.quantization.problem import Problem

READERS = {
    *("Attention", "AdditiveAttention", "MultiHeadAttention", "GroupedQueryAttention"),
    "GlobalAveragePooling1D",
}


def problems(model: Any, floats: Collection[str] = ()) -> list[Problem]:
    """The layers of a model of either Keras that read a mask, and are to compute in int8.

    Args:
        model: a functional or sequential model.
        floats: paths of layers that stay float32, `model/layer` in a nested model.
    """
    found = {path: layer for path, layer in _readers(model, "", False) if path not in floats}
    return [_problem(layer) for layer in found.values()]


def _readers(model: Any, outer: str, is_masked: bool) -> Iterator[tuple[str, Any]]:
    """What reads masks; in a nested model that is called on one, whatever can read it."""
    for call in flavors.calls(model):
        path, layer = f"{outer}{call.layer.name}", call.layer
        masked = is_masked or any(map(flavors.has_mask, call.inputs))
        if flavors.is_model(layer):
            yield from _readers(layer, f"{path}/", masked)
        elif _can_read(layer) and (masked or call.kwargs.get("mask") is not None):
            yield path, layer


def _can_read(layer: Any) -> bool:
    return flavors.is_recurrent(layer) or type(layer).__name__ in READERS


def _problem(layer: Any) -> Problem:
    reason = f"is a {type(layer).__name__} that reads a mask, with which no int8 file computes"
    other = "dtype='float32'"
    if not flavors.is_recurrent(layer):  # whose loops no file of several dtypes has
        other = "let it and all from what makes the mask stay float32 by layer_dtypes"
    return Problem(layer.name, reason, f"leave the mask out, such as mask_zero, or {other}")
