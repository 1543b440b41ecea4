"""Keras 3 and tf_keras behind one small interface.

Every private attribute of either Keras that the package reads is read here, each with its reason;
`tests/test_flavors.py` notices when one changes.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import keras
from keras import tree

from sft_keras.errors import UnsupportedError


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


def is_symbolic(value: Any) -> bool:
    """Whether `value` is a tensor of a functional graph rather than a constant argument."""
    # Both Kerases mark graph tensors with this attribute and have no public test for it.
    return hasattr(value, "_keras_history")


def is_tf_keras(thing: Any) -> bool:
    """Whether a model, layer or optimizer belongs to tf_keras, told without importing tf_keras."""
    return any(base.__module__.partition(".")[0] == "tf_keras" for base in type(thing).__mro__)


def library(thing: Any):
    """The module, `keras` or `tf_keras`, that `thing` was made with."""
    return sys.modules["tf_keras"] if is_tf_keras(thing) else keras


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
    sequential = isinstance(model, lib.Sequential)
    if not sequential and not isinstance(model, _functional_class(model)):
        raise UnsupportedError(
            f"Model '{name}' is a subclass of keras.Model whose graph cannot be read; rebuild it "
            "with the functional API: keras.Model(inputs, model.call(inputs))."
        )
    if sequential and not model.built:
        raise UnsupportedError(
            f"Model '{name}' was never built; give it an Input layer or call it once on data."
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
            yield _call(node)


def _call(node: Any) -> Call:
    outputs = tree.flatten(node.outputs)
    if hasattr(node, "operation"):
        return Call(node.operation, node.arguments.args, node.arguments.kwargs, outputs)
    return Call(node.layer, tuple(node.call_args), dict(node.call_kwargs), outputs)


def is_input_layer(layer: Any) -> bool:
    """Whether `layer` is an InputLayer of either Keras."""
    return type(layer).__name__ == "InputLayer"


def is_model(layer: Any) -> bool:
    """Whether a layer of a graph is a model itself."""
    return isinstance(layer, library(layer).Model)


def is_operator(layer: Any) -> bool:
    """Whether a node of a graph is an operator on tensors (`x + y`), no layer."""
    if is_tf_keras(layer):
        # tf_keras makes a layer of each operator, of classes that it does not export.
        return type(layer).__name__ in ("TFOpLambda", "SlicingOpLambda", "ClassMethod")
    return not isinstance(layer, keras.layers.Layer)


def operator_name(operator: Any) -> str:
    """The lower-case name of an operator, the same for both Kerases: `add`, `divide`, `relu6`."""
    if is_tf_keras(operator):
        name = operator.get_config().get("function", type(operator).__name__).rpartition(".")[2]
    else:
        name = type(operator).__name__.lower()
    return {"truediv": "divide", "truedivide": "divide"}.get(name, name)


def producer(tensor: Any) -> Any:
    """The layer or operator that a tensor of a functional graph comes from."""
    # Both Kerases keep (operation or layer, node index, tensor index) here.
    return tensor._keras_history[0]


def inputs(model: Any) -> list:
    """Symbolic inputs of the graph, flat."""
    return tree.flatten(graph(model).inputs)


def outputs(model: Any) -> list:
    """Symbolic outputs of the graph, flat."""
    return tree.flatten(graph(model).outputs)


def rebuild(model: Any, clone_function: Callable, call_function: Callable | None = None):
    """Rebuilds a functional or sequential model with other layers.

    Args:
        model: a built model of either Keras.
        clone_function: takes a layer, returns the layer to use in its place; asked once a layer.
        call_function: takes `(new_layer, *args, **kwargs)` with the old call's arguments and
            returns the new outputs; a Sequential model has no calls to change. Defaults to
            calling the layer.

    Returns:
        A model of the same flavor, name and input/output structure, with fresh variables.
    """
    # keras.models.clone_model also compiles the clone, which fails on a loss that has no config;
    # tf_keras' cannot clone operators (`x + y`) and takes no call_function.
    lib = library(model)
    new_layer = functools.lru_cache(maxsize=None)(clone_function)
    if isinstance(model, lib.Sequential):
        return lib.Sequential(
            [_input_layer(lib, model), *map(new_layer, model.layers)], name=model.name
        )
    new: dict[int, Any] = {}
    for call in calls(model):
        if is_input_layer(call.layer):
            made = lib.layers.InputLayer.from_config(call.layer.get_config()).output
        else:
            args, kwargs = tree.map_structure(
                lambda x: new[id(x)] if is_symbolic(x) else x, (call.args, call.kwargs)
            )
            made = (call_function or _call_layer)(new_layer(call.layer), *args, **kwargs)
        new.update(zip(map(id, call.outputs), tree.flatten(made), strict=True))
    ins, outs = tree.map_structure(lambda x: new[id(x)], _structures(model))
    return lib.Model(ins, outs, name=model.name)


def _call_layer(layer, *args, **kwargs):
    return layer(*args, **kwargs)


def _structures(model) -> tuple:
    # The public `inputs` and `outputs` are flat; dictionaries survive only in these.
    if is_tf_keras(model):
        return model._nested_inputs, model._nested_outputs
    return model._inputs_struct, model._outputs_struct


def _input_layer(lib, model):
    layer = next(call.layer for call in calls(model) if is_input_layer(call.layer))
    return lib.layers.InputLayer.from_config(layer.get_config())


def is_compiled(model: Any) -> bool:
    """Whether `compile` was called."""
    return model._is_compiled if is_tf_keras(model) else model.compiled  # tf_keras: no public one


def compile_arguments(model: Any) -> dict:
    """What `compile` was called with, with copies of the optimizer and of metric objects.

    Returns:
        Keyword arguments for `compile`; the optimizer keeps its hyper-parameters, not its state.
    """
    # Neither Keras gives back the objects; the public get_compile_config fails on plain functions.
    given = dict(model._get_compile_args() if is_tf_keras(model) else model._compile_config.config)
    if is_tf_keras(model):
        given["jit_compile"] = model.jit_compile
        given["run_eagerly"] = model._run_eagerly  # the public one is true for dynamic layers too
        given["steps_per_execution"] = int(model._steps_per_execution)
    given["optimizer"] = fresh(model.optimizer)
    for key in ("metrics", "weighted_metrics"):
        given[key] = tree.map_structure(
            lambda x: fresh(x) if isinstance(x, library(model).metrics.Metric) else x, given[key]
        )
    return given


def fresh(thing: Any) -> Any:
    """A copy, without state, of a layer, optimizer or metric."""
    return type(thing).from_config(thing.get_config())


def loss_config(loss: Any) -> dict:
    """The constructor arguments of a loss object, with its function's: Huber forgets `delta`."""
    return {**loss.get_config(), **getattr(loss, "_fn_kwargs", {})}


def to_numpy(value: Any):
    """A tensor or variable of either Keras, on any backend, as a NumPy array."""
    if type(value).__module__.startswith("tensorflow"):
        return value.numpy()
    return keras.ops.convert_to_numpy(value)


def to_tensor(value: Any, layer: Any) -> Any:
    """A NumPy array as a tensor that the functions of `layer`'s Keras take."""
    if is_tf_keras(layer):
        return sys.modules["tensorflow"].constant(value)
    return keras.ops.convert_to_tensor(value)


def weights(model: Any) -> list:
    """The variables of a model, layer by layer in the order of the graph."""
    return [w for layer in model.layers for w in layer.weights]


def input_structure(model: Any) -> Any:
    """Symbolic inputs in the structure that the model takes them in."""
    return _structures(graph(model))[0]


def output_structure(model: Any) -> Any:
    """Symbolic outputs in the structure that the model returns them in."""
    return _structures(graph(model))[1]


def with_all_outputs(model: Any) -> Any:
    """A model of the same graph that outputs every tensor in it, inputs first."""
    tensors = [x for call in calls(model) for x in call.outputs]
    return library(model).Model(input_structure(model), tensors)


def is_built(optimizer: Any) -> bool:
    """Whether an optimizer has its slot variables."""
    if is_tf_keras(optimizer):
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        return getattr(optimizer, "_built", False)  # no public one; some get it only when built
    return optimizer.built


def attach_penalty(layer: Any, variable: Any, penalty: Callable) -> Callable[[], None]:
    """Adds `penalty(variable)` to the training loss, beside any regularizer that is there.

    Returns:
        A function that takes it off again.
    """
    if is_tf_keras(layer):
        # tf_keras binds a variable's regularizer when the layer is built; this list is read live.
        layer.add_loss(lambda: penalty(variable))
        added = layer._callable_losses[-1]
        return lambda: layer._callable_losses.remove(added)
    before = variable.regularizer
    variable.regularizer = (
        penalty if before is None else lambda value: before(value) + penalty(value)
    )

    def detach():
        variable.regularizer = before

    return detach


def attach_constraint(variable: Any, constraint: Callable) -> Callable[[], None]:
    """Sets a variable's constraint.

    Returns:
        A function that brings the former constraint back.
    """
    before = variable.constraint

    def set_constraint(value):
        if type(variable).__module__.startswith("tensorflow"):
            variable._constraint = value  # tf.Variable.constraint cannot be set
        else:
            variable.constraint = value

    set_constraint(constraint)
    return lambda: set_constraint(before)
