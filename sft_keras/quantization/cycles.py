"""Calls of layers that wait for each other, for which tf_keras would wait for ever."""

import graphlib
from collections.abc import Iterator
from typing import Any

from sft_keras.errors import FileError

CONSTANT = "_CONSTANT_VALUE"  # stands where a layer's name would


def require_none(path: str, layers: list) -> None:
    """Refuses layers of a functional model whose calls cannot all be made, one after the other.

    Args:
        path: the file that they are from.
        layers: their configs, each with the calls in its `inbound_nodes`.

    Raises:
        FileError: names a layer that takes what there never is.
    """
    calls: dict[tuple, set[tuple]] = {}
    names = set()
    for layer in filter(_is_called, layers):
        name, number = layer["name"], int(_is_called_inside(layer))
        if name in names:
            raise _refusal(path, name, "is there twice")
        names.add(name)
        if layer.get("class_name") == "InputLayer":
            calls[name, 0] = set()
        for node in layer["inbound_nodes"]:
            # tf_keras makes the calls of one layer in their order.
            before = {(name, number - 1)} & calls.keys()
            calls[name, number] = before | {*_taken(node)}
            number += 1
    try:
        order = [*graphlib.TopologicalSorter(calls).static_order()]
    except graphlib.CycleError as error:
        raise _refusal(path, error.args[1][0][0], "waits for its own output") from error
    for name, number in order:
        if (name, number) not in calls:
            raise _refusal(path, name, f"is taken from call {number}, which there is not")


def _refusal(path: str, name: Any, reason: str) -> FileError:
    return FileError(f"In '{path}', layer '{name}' {reason}; save the model again.")


def _is_called(layer: Any) -> bool:
    return (
        isinstance(layer, dict)
        and isinstance(layer.get("name"), str)
        and isinstance(layer.get("inbound_nodes"), list)
    )


def _is_called_inside(layer: dict) -> bool:
    """Whether the layer is a model, whose first call is the one that made it."""
    config = layer.get("config")
    layers = config.get("layers") if isinstance(config, dict) else None
    if not isinstance(layers, list):
        return False
    return not layers or (
        isinstance(layers[0], dict) and layers[0].get("class_name") == "InputLayer"
    )


def _taken(node: Any) -> Iterator[tuple]:
    """The calls, by layer and number, whose outputs a call takes."""
    pending = [node]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            pending.extend(part.values())
        elif isinstance(part, list) and len(part) in (3, 4) and isinstance(part[0], str):
            if part[0] != CONSTANT:
                yield part[0], part[1] if isinstance(part[1], int) else str(part[1])
            pending.extend(part[3:])
        elif isinstance(part, list):
            pending.extend(part)
