"""What passes ask of a graph, and the few moves that they are made of."""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import tf_keras

from sft_keras import flavors


def rewrite(model: tf_keras.Model, call_function: Callable) -> tf_keras.Model:
    """Rebuilds the graph of a model around its own layers.

    Args:
        model: functional tf_keras model.
        call_function: takes `(layer, *args, **kwargs)` of each call of a layer, returns the
            outputs to use in its place.

    Returns:
        A new model; layers that `call_function` calls as they are belong to both models.
    """
    return flavors.rebuild(model, lambda layer: layer, call_function)


def like(layer: tf_keras.layers.Layer, **changes: Any) -> tf_keras.layers.Layer:
    """A fresh layer like `layer`, not built, with some constructor arguments changed."""
    return type(layer).from_config({**layer.get_config(), **changes})


def call_with(layer: tf_keras.layers.Layer, weights: list, x: Any) -> Any:
    """Calls a fresh layer on a symbolic tensor and gives it its weights."""
    y = layer(x)
    layer.set_weights(weights)
    return y


def single_readers(model: tf_keras.Model) -> dict[Any, Any]:
    """The chains of a graph.

    Returns:
        For each layer that is called once and read by one call of one other layer, which is
        itself called once: that other layer.
    """
    readers: dict[int, list] = defaultdict(list)
    counts: Counter = Counter()
    for call in flavors.calls(model):
        counts[call.layer] += 1
        for x in call.inputs:
            readers[id(x)].append(call.layer)
    for x in flavors.outputs(model):
        readers[id(x)].append(None)
    chains = {}
    for call in flavors.calls(model):
        read_by = [layer for x in call.outputs for layer in readers[id(x)]]
        if counts[call.layer] == 1 and len(read_by) == 1 and counts[read_by[0]] == 1:
            chains[call.layer] = read_by[0]
    return chains
