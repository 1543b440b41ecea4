"""Ports a model to tf_keras, the only Keras that TFMOT takes."""

from typing import Any

import tf_keras
from keras import tree

from sft_keras import flavors
from sft_keras.quantization import equality
from sft_keras.quantization.port_layer import port_layer, port_operator
from sft_keras.quantization.problem import Problem, Unportable, require_none


def to_tf_keras(model: Any) -> tf_keras.Model:
    """Ports a model to tf_keras: same graph, weights, layer names and outputs.

    Nested models are flattened into the graph, and operators such as `x + y` become layers.

    Args:
        model: a built Sequential or Functional model of Keras 3 or tf_keras; it is not changed.

    Returns:
        A functional tf_keras model in float32, not compiled.

    Raises:
        UnsupportedError: layers have no counterpart in tf_keras (all of them are named), or the
            outputs differ on random input by more than 1e-5 of their scale.

    Example:
        >>> port = sft_keras.quantization.to_tf_keras(keras.applications.MobileNetV2())
    """
    problems: list[Problem] = []
    ported = port(model, problems)
    require_none(problems, model.name)
    return ported


def port(model: Any, problems: list[Problem]) -> tf_keras.Model:
    """Ports what it can of a model.

    Args:
        model: as in `to_tf_keras`.
        problems: what cannot be ported is added here.

    Returns:
        A functional tf_keras model, proven equal if all could be ported. Otherwise the graph ends
        before what could not and starts again behind it, so that all else can be looked at.
    """
    flavors.require_graph(model)
    walk = _Walk(problems, {call.layer.name for call in flavors.calls(model)})
    inputs = tree.map_structure(_input, flavors.input_structure(model))
    outputs = walk.run(model, tree.flatten(inputs))
    if walk.stand_ins:
        ends = [*outputs, *walk.dead_ends]
        return tf_keras.Model([*tree.flatten(inputs), *walk.stand_ins], ends, name=model.name)
    outputs = tree.pack_sequence_as(flavors.output_structure(model), outputs)
    ported = tf_keras.Model(inputs, outputs, name=model.name)
    equality.require_equal(model, ported)
    return ported


def _input(x: Any) -> Any:
    name = flavors.producer(x).name
    # Pixels that come as uint8 are quantized like any other numbers, so all inputs are float32.
    return tf_keras.Input(tuple(x.shape[1:]), batch_size=x.shape[0], name=name)


class _Walk:
    """Rebuilds a graph call by call, nested models in place."""

    def __init__(self, problems: list[Problem], names: set[str]):
        self.stand_ins: list[Any] = []
        self.dead_ends: list[Any] = []
        self._problems = problems
        self._names = names
        self._layers: dict[int, Any] = {}

    def run(self, model: Any, inputs: list, prefix: str = "") -> list:
        """Applies the graph of `model` to tf_keras tensors; returns its outputs, flat."""
        new = dict(zip(map(id, flavors.inputs(model)), inputs, strict=True))
        for call in flavors.calls(model):
            if flavors.is_input_layer(call.layer):
                continue
            args, kwargs = tree.map_structure(
                lambda x: new[id(x)] if flavors.is_symbolic(x) else x, (call.args, call.kwargs)
            )
            made = self._apply(call, args, kwargs, prefix)
            new.update(zip(map(id, call.outputs), tree.flatten(made), strict=True))
        return [new[id(x)] for x in flavors.outputs(model)]

    def _apply(self, call: flavors.Call, args: tuple, kwargs: dict, prefix: str) -> Any:
        if flavors.is_model(call.layer):
            inputs = [x for x in tree.flatten((args, kwargs)) if flavors.is_symbolic(x)]
            return self.run(call.layer, inputs, f"{prefix}{call.layer.name}_")
        try:
            if flavors.is_operator(call.layer):
                return port_operator(call.layer, args, kwargs)
            return self._layer(call.layer, prefix)(args, kwargs)
        except Unportable as e:
            problem = Problem(call.layer.name, e.reason, e.way_out)
            if problem not in self._problems:
                self._problems.append(problem)
        self.dead_ends += [x for x in tree.flatten((args, kwargs)) if flavors.is_symbolic(x)]
        return [self._stand_in(x) for x in call.outputs]

    def _layer(self, layer: Any, prefix: str) -> Any:
        if id(layer) not in self._layers:
            name = layer.name if not prefix else self._unique(layer.name, prefix)
            self._layers[id(layer)] = port_layer(layer, name)
        return self._layers[id(layer)]

    def _unique(self, name: str, prefix: str) -> str:
        """A nested layer's own name where it is free, else the name behind its model's."""
        while name in self._names:
            name = prefix + name
        self._names.add(name)
        return name

    def _stand_in(self, x: Any) -> Any:
        self.stand_ins.append(tf_keras.Input(tuple(x.shape[1:]), batch_size=x.shape[0]))
        return self.stand_ins[-1]
