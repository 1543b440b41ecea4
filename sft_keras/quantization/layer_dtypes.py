"""Layers that are to compute in another dtype than the rest, by name or pattern."""

import fnmatch
from collections.abc import Iterator, Mapping
from typing import Any

from sft_keras import flavors
from sft_keras.errors import ArgumentError
from sft_keras.quantization.lineage import origin

DTYPES = ("int8", "int16x8", "float32")


def by_path(model: Any, layer_dtypes: Mapping[str, str]) -> dict[str, str]:
    """The dtype of each layer that was chosen, by its path: `model/layer` in a nested model.

    Args:
        model: the model as the user knows it, of either Keras.
        layer_dtypes: from names or patterns (`block?_*`) to one of `DTYPES`; of two that fit, the
            later one holds. The name of a nested model stands for all layers in it, and a path for
            one of several of the same name.

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
        found = [
            "/".join(path)
            for path in _paths(model)
            if fnmatch.filter((*path, "/".join(path)), pattern)
        ]
        if not found:
            raise ArgumentError(
                f"layer_dtypes names '{pattern}', but no layer of model '{model.name}' is called "
                f"that; there are: {', '.join(map('/'.join, _paths(model)))}."
            )
        chosen |= dict.fromkeys(found, dtype)
    return chosen


def _paths(model: Any, outer: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The name of each layer behind those of the nested models that it is in."""
    for call in flavors.calls(model):
        if flavors.is_model(call.layer):
            yield from _paths(call.layer, (*outer, call.layer.name))
        elif not flavors.is_input_layer(call.layer):
            yield (*outer, call.layer.name)


def of_rewritten(rewritten: Any, model: Any, chosen: Mapping[str, str]) -> dict[str, str]:
    """The same for the layers that were made of those, by name.

    Args:
        rewritten: a model that a port and passes made of `model`, or `model` itself.
        model: the one that was chosen in.
        chosen: from `by_path`.

    Raises:
        ArgumentError: nothing is left of a layer that was chosen.
    """
    layers = [c.layer for c in flavors.calls(rewritten) if not flavors.is_input_layer(c.layer)]
    paths: dict[str, str] = {
        layer.name: layer.name if rewritten is model else origin(layer) or "" for layer in layers
    }
    gone = chosen.keys() - paths.values()
    if gone:
        raise ArgumentError(
            f"Layer '{min(gone)}' is in layer_dtypes, but becomes part of the layer beside it; "
            "choose that one instead."
        )
    return {name: chosen[path] for name, path in paths.items() if path in chosen}
