"""Layers that are to compute in another dtype than the rest, by name or pattern."""

import fnmatch
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sft_keras import flavors
from sft_keras.errors import ArgumentError

DTYPES = ("int8", "int16x8", "float32")


def by_name(model: Any, layer_dtypes: Mapping[str, str]) -> dict[str, str]:
    """The dtype of each layer that was chosen.

    Args:
        model: the model as the user knows it, of either Keras.
        layer_dtypes: from names or patterns (`block?_*`) to one of `DTYPES`; of two that fit, the
            later one holds. The name of a nested model stands for all layers in it.

    Raises:
        ArgumentError: it is no mapping, a pattern fits no layer, or a dtype is unknown.
    """
    if not isinstance(layer_dtypes, Mapping):
        raise ArgumentError(
            f"layer_dtypes is {layer_dtypes!r}; give each layer its dtype: {{'head': 'float32'}}."
        )
    chosen: dict[str, str] = {}
    for pattern, dtype in layer_dtypes.items():
        if dtype not in DTYPES:
            raise ArgumentError(
                f"layer_dtypes gives '{pattern}' the dtype {dtype!r}; choose one of "
                f"{', '.join(DTYPES)}."
            )
        found = [path[-1] for path in _paths(model) if fnmatch.filter(path, pattern)]
        if not found:
            raise ArgumentError(
                f"layer_dtypes names '{pattern}', but no layer of model '{model.name}' is called "
                f"that; there are: {', '.join(path[-1] for path in _paths(model))}."
            )
        chosen |= dict.fromkeys(found, dtype)
    return chosen


def _paths(model: Any, outer: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The name of each layer behind those of the nested models that it is in."""
    for call in flavors.calls(model):
        if not flavors.is_input_layer(call.layer):
            yield (*outer, call.layer.name)
            if flavors.is_model(call.layer):
                yield from _paths(call.layer, (*outer, call.layer.name))


def of_rewritten(rewritten: Any, model: Any, chosen: Mapping[str, str]) -> dict[str, str]:
    """The same for the layers that were made of those.

    A pass names what it makes after what it was made of: `conv_linear`, `lstm_step_0`.

    Args:
        rewritten: a model that a port and passes made of `model`.
        model: the one that was chosen in.
        chosen: from `by_name`.

    Raises:
        ArgumentError: nothing is left of a layer that was chosen.
    """
    originals = sorted({path[-1] for path in _paths(model)}, key=len, reverse=True)
    dtypes = {}
    for call in flavors.calls(rewritten):
        name = call.layer.name
        dtype = chosen.get(_origin(name, originals))
        if dtype is not None and not flavors.is_input_layer(call.layer):
            dtypes[name] = dtype
    gone = chosen.keys() - {_origin(name, originals) for name in dtypes} - _models(model)
    if gone:
        raise ArgumentError(
            f"Layer '{min(gone)}' is in layer_dtypes, but becomes part of the layer beside it; "
            "choose that one instead."
        )
    return dtypes


def _origin(name: str, originals: Iterable[str]) -> str:
    """The longest name of an original that `name` begins with."""
    return next((o for o in originals if name == o or name.startswith(f"{o}_")), "")


def _models(model: Any) -> set[str]:
    layers = [call.layer for call in flavors.calls(model)]
    nested = [layer for layer in layers if flavors.is_model(layer)]
    return {layer.name for layer in nested}.union(*map(_models, nested))
