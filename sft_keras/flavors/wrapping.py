"""Layers that are made of other layers: wrappers, and recurrent layers over cells."""

from typing import Any

from sft_keras.flavors.kinds import is_tf_keras, library

# By class: the attribute that holds each argument of the constructor that is a layer, or several.
_PARTS = {
    "TimeDistributed": {"layer": "layer"},
    "Bidirectional": {"layer": "forward_layer", "backward_layer": "backward_layer"},
    "RNN": {"cell": "cell"},
    "StackedRNNCells": {"cells": "cells"},
}


def parts(layer: Any) -> dict[str, Any]:
    """The layers, or lists of layers, that `layer` is made of, by its constructor's arguments.

    Empty for all classes but the wrappers and cells that either Keras defines.
    """
    name = type(layer).__name__
    if name not in _PARTS or type(layer) is not getattr(library(layer).layers, name):
        return {}
    found = {argument: getattr(layer, held) for argument, held in _PARTS[name].items()}
    return {key: [*x] if isinstance(x, list | tuple) else x for key, x in found.items()}


def assemble(layer: Any, config: dict, made: dict[str, Any]) -> Any:
    """A new layer of the class of `layer`, made of other parts.

    Args:
        layer: a layer that has `parts`.
        config: its config; entries that are parts are not read.
        made: fresh layers for its parts, by the constructor's arguments.
    """
    # tf_keras writes the number of constants down, and finds it anew in the call.
    given = {key: value for key, value in config.items() if key != "num_constants"}
    if is_tf_keras(layer) and "backward_layer" in made:
        # tf_keras adds a prefix to any name, which would grow with each copy.
        for argument, prefix in (("layer", "forward_"), ("backward_layer", "backward_")):
            made[argument]._name = made[argument].name.removeprefix(prefix)
    return type(layer)(**{**given, **made})
