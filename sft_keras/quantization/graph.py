"""What passes ask of a graph, and the few moves that they are made of."""

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

import tf_keras

from sft_keras import flavors
from sft_keras.quantization.lineage import Lineage, origin


def rewrite(
    model: tf_keras.Model,
    call_function: Callable,
    where: Callable[[Any], bool] = lambda layer: True,
) -> tf_keras.Model:
    """Rebuilds the graph of a model around its own layers.

    Args:
        model: functional tf_keras model.
        call_function: takes `(layer, *args, **kwargs)` of each call of a layer, returns the
            outputs to use in its place.
        where: takes a layer, returns whether `call_function` is to be asked about its calls; by
            default about all.

    Returns:
        A new model, layers that are called as they are belong to both; `model` itself if there is
        no layer to ask about. New layers whose name another one has are given another.
    """
    layers = {call.layer for call in flavors.calls(model)}
    if not any(map(where, layers)):
        return model
    lineage = Lineage(layers)

    def call(layer, *args, **kwargs):
        made = (call_function if where(layer) else _call)(layer, *args, **kwargs)
        lineage.follow((args, kwargs), made, layer.name, origin(layer))
        return made

    return flavors.rebuild(model, _same_layer, call, finish=lineage.name_apart)


def _call(layer: Any, *args: Any, **kwargs: Any) -> Any:
    return layer(*args, **kwargs)


def _same_layer(layer: Any) -> Any:
    return flavors.fresh(layer) if flavors.is_input_layer(layer) else layer


def like(layer: tf_keras.layers.Layer, **changes: Any) -> tf_keras.layers.Layer:
    """A fresh layer like `layer`, not built, with some constructor arguments changed."""
    return type(layer).from_config({**layer.get_config(), **changes})


def call_with(layer: tf_keras.layers.Layer, weights: list, x: Any) -> Any:
    """Calls a layer on a symbolic tensor and gives it its weights."""
    y = layer(x)
    layer.set_weights(weights)
    return y


class Replaced:
    """Calls other layers in place of one; a layer that is called twice is replaced by the same.

    Args:
        make: takes a layer and a symbolic tensor, returns the fresh layers to call one after
            another in its place, each with its weights.
        by: takes a symbolic tensor, returns what of it the fresh layers depend on: a layer that is
            called on others gets others. Nothing by default.
    """

    def __init__(self, make: Callable, by: Callable[[Any], Any] = lambda x: None):
        self._make, self._by = make, by
        self._made: dict[Any, list[tuple]] = {}

    def __call__(self, layer: tf_keras.layers.Layer, x: Any, **_: Any) -> Any:
        """Applies to `x` what replaces `layer`, whatever else it was called with."""
        key = layer, self._by(x)
        if key not in self._made:
            self._made[key] = self._make(layer, x)
        for new, weights in self._made[key]:
            x = call_with(new, weights, x)
        return x


def shape(x: Any) -> tuple:
    """The shape of a symbolic tensor, without the batch: what a `Replaced` may go `by`."""
    return tuple(x.shape[1:])


def output_layers(model: tf_keras.Model) -> set:
    """The layers that make the model's outputs."""
    return {flavors.producer(x) for x in flavors.outputs(model)}


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
