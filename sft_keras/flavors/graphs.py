"""The graph of a functional or sequential model: read, and built anew."""

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
from keras import tree

from sft_keras.errors import UnsupportedError
from sft_keras.flavors.kinds import is_input_layer, is_symbolic, is_tf_keras, library, producer


class Call(NamedTuple):
    """One call of a layer (or Keras operation) in a functional graph."""

    layer: Any
    args: tuple
    kwargs: dict
    outputs: list

    @property
    def inputs(self) -> list:
        """Symbolic tensors among the arguments, in order."""
        return [x for x in tree.flatten((self.args, self.kwargs)) if is_symbolic(x)]


def is_graph(layer: Any) -> bool:
    """Whether `layer` is a built Sequential or Functional model, whose graph can be read."""
    lib = library(layer)
    if isinstance(layer, lib.Sequential):
        return layer.built and type(layer).call is lib.Sequential.call
    # A subclass with a `call` of its own may compute anything.
    own: Any = _functional_class(layer)
    return is_functional(layer) and type(layer).call is own.call


def is_functional(layer: Any) -> bool:
    """Whether `layer` was made of symbolic inputs and outputs; its `call` may be its own."""
    return isinstance(layer, library(layer).Model) and isinstance(layer, _functional_class(layer))


def require_graph(model: Any) -> None:
    """Refuses what is not a built Sequential or Functional model.

    Raises:
        UnsupportedError: `model` is no Keras model, is subclassed, or was never built.
    """
    lib = library(model)
    name = getattr(model, "name", type(model).__name__)
    if not isinstance(model, lib.Model):
        raise UnsupportedError(
            f"Expected a keras.Model or tf_keras.Model, got {type(model).__name__}; "
            "pass the model itself."
        )
    if isinstance(model, lib.Sequential) and not model.built:
        raise UnsupportedError(
            f"Model '{name}' was never built; give it an Input layer or call it once on data."
        )
    if not is_graph(model):
        raise UnsupportedError(
            f"Model '{name}' is a subclass of keras.Model whose graph cannot be read; rebuild it "
            "with the functional API: keras.Model(inputs, model.call(inputs))."
        )


def _functional_class(model: Any) -> type:
    if is_tf_keras(model):
        # tf_keras exports no Functional class.
        return sys.modules["tf_keras"].src.engine.functional.Functional
    # keras.Model(inputs, outputs) returns this class; `keras.src` is its only address.
    return keras.src.models.Functional


def graph(model: Any) -> Any:
    """The Functional model behind `model`: itself, or the one inside a Sequential."""
    require_graph(model)
    lib = library(model)
    if isinstance(model, lib.Sequential) and not is_tf_keras(model):
        # A Keras 3 Sequential runs an inner Functional whose nodes are the graph.
        return model._functional
    return model


def calls(model: Any) -> Iterator[Call]:
    """Every layer call of the graph of `model`, inputs before consumers.

    Yields:
        `Call` records; input layers come with no arguments.

    Raises:
        UnsupportedError: the model is subclassed or was never built.
    """
    functional = graph(model)
    # Neither Keras lists its nodes publicly; depth order is the order both execute in.
    by_depth = functional._nodes_by_depth
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            yield call_of(node)


def producing_call(tensor: Any) -> Call:
    """The call that a symbolic tensor comes from."""
    # Both Kerases keep (operation or layer, node index, tensor index) here.
    layer, number, _ = tensor._keras_history
    return call_of(layer._inbound_nodes[number])


def call_of(node: Any) -> Call:
    """The call that a node of either Keras records."""
    outputs = tree.flatten(node.outputs)
    if hasattr(node, "operation"):
        return Call(node.operation, node.arguments.args, node.arguments.kwargs, outputs)
    return Call(node.layer, tuple(node.call_args), dict(node.call_kwargs), outputs)


def inputs(model: Any) -> list:
    """Symbolic inputs of the graph, flat."""
    return tree.flatten(graph(model).inputs)


def outputs(model: Any) -> list:
    """Symbolic outputs of the graph, flat."""
    return tree.flatten(graph(model).outputs)


def open_inputs(model: Any) -> dict[str, tuple]:
    """The names and shapes of inputs that have more unknown sizes than that of the batch."""
    shapes = {producer(x).name: ("batch", *x.shape[1:]) for x in inputs(model)}
    return {name: shape for name, shape in shapes.items() if None in shape}


def input_structure(model: Any) -> Any:
    """Symbolic inputs in the structure that the model takes them in."""
    return _structures(model if is_functional(model) else graph(model))[0]


def output_structure(model: Any) -> Any:
    """Symbolic outputs in the structure that the model returns them in."""
    return _structures(graph(model))[1]


def _structures(model) -> tuple:
    # The public `inputs` and `outputs` are flat; dictionaries survive only in these.
    if is_tf_keras(model):
        return plain_dicts(model._nested_inputs), plain_dicts(model._nested_outputs)
    return model._inputs_struct, model._outputs_struct


def plain_dicts(structure: Any) -> Any:
    """A structure of tf_keras, whose order `keras.tree` goes by in dictionaries alone.

    tf_keras sorts the keys of an OrderedDict, and `keras.tree` does not.
    """
    if isinstance(structure, dict):
        return {key: plain_dicts(value) for key, value in structure.items()}
    if type(structure) in (list, tuple):
        return type(structure)(plain_dicts(x) for x in structure)
    return structure


def with_all_outputs(model: Any) -> Any:
    """A model of the same graph that outputs every tensor in it, inputs first."""
    tensors = [x for call in calls(model) for x in call.outputs]
    return library(model).Model(input_structure(model), tensors)


def weights(model: Any) -> list:
    """The variables of a model, layer by layer in the order of the graph."""
    return [w for layer in model.layers for w in layer.weights]


def rebuild(
    model: Any,
    clone_function: Callable,
    call_function: Callable | None = None,
    arguments: Callable[[Call], tuple[tuple, dict]] | None = None,
    finish: Callable[[], None] | None = None,
):
    """Rebuilds a functional or sequential model with other layers.

    Args:
        model: a built model of either Keras.
        clone_function: takes a layer, returns the layer to use in its place; asked once a layer.
            It must give a new layer for an InputLayer.
        call_function: takes `(new_layer, *args, **kwargs)` with the old call's arguments and
            returns the new outputs; a Sequential model has no calls to change. Defaults to
            calling the layer.
        arguments: takes an old call, returns the `(args, kwargs)` to call the new layer with, still
            with the old model's tensors. Defaults to those of the call.
        finish: called when all calls are made, before there is a model of them.

    Returns:
        A model of the same flavor, name and input/output structure, with fresh variables.
    """
    # keras.models.clone_model also compiles the clone, which fails on a loss that has no config;
    # tf_keras' cannot clone operators (`x + y`) and takes no call_function.
    lib = library(model)
    new_layer = functools.lru_cache(maxsize=None)(clone_function)
    if isinstance(model, lib.Sequential):
        return lib.Sequential(
            [new_layer(_input_layer(model)), *map(new_layer, model.layers)], name=model.name
        )
    new: dict[int, Any] = {}
    for call in calls(model):
        if is_input_layer(call.layer):
            made = new_layer(call.layer).output
        else:
            given = arguments(call) if arguments else (call.args, call.kwargs)
            args, kwargs = tree.map_structure(lambda x: new[id(x)] if is_symbolic(x) else x, given)
            made = (call_function or _call_layer)(new_layer(call.layer), *args, **kwargs)
        new.update(zip(map(id, call.outputs), tree.flatten(made), strict=True))
    if finish:
        finish()
    ins, outs = tree.map_structure(lambda x: new[id(x)], _structures(model))
    return lib.Model(ins, outs, name=model.name)


def _call_layer(layer, *args, **kwargs):
    return layer(*args, **kwargs)


def _input_layer(model):
    return next(call.layer for call in calls(model) if is_input_layer(call.layer))
