"""The graph of a subclassed model, found by calling it on symbolic inputs."""

import inspect
from collections.abc import Collection
from typing import Any

import keras
import numpy as np
from keras import tree

from sft_keras.errors import UnsupportedError
from sft_keras.flavors.arrays import to_numpy
from sft_keras.flavors.graphs import (
    Call,
    calls,
    input_structure,
    inputs,
    is_functional,
    is_graph,
    rebuild,
    require_graph,
    weights,
)
from sft_keras.flavors.kinds import (
    is_input_layer,
    is_model,
    is_operator,
    is_tf_keras,
    library,
    operator_name,
)
from sft_keras.flavors.sampling import random_inputs

TOLERANCE = 1e-6
"""The same layers run on the same numbers; what differs by more is another computation."""


def as_graph(model: Any) -> Any:
    """The graph that a model computes, as a model with the same layers and variables.

    A subclassed model is called once on symbolic inputs, and so are subclassed models inside a
    model. One inside that cannot be traced stays a layer that nothing is known of.

    Args:
        model: a built model of either Keras.

    Returns:
        `model` itself where its graph can be read, else a Functional view of it: what changes in
        the view's layers changes in the model's.

    Raises:
        UnsupportedError: it is no model, was never built, or its graph cannot be traced.
    """
    lib = library(model)
    if not isinstance(model, lib.Model) or (isinstance(model, lib.Sequential) and not model.built):
        require_graph(model)
    return _with_traced_parts(model if is_graph(model) else _traced(model))


def _with_traced_parts(model: Any) -> Any:
    views = {id(layer): view for layer in model.layers if (view := _part_view(layer)) is not None}
    if not views:
        return model

    def part(layer):
        if is_input_layer(layer):
            return type(layer).from_config(layer.get_config())
        return views.get(id(layer), layer)

    try:
        return rebuild(model, part)
    except (TypeError, ValueError):  # called on another structure or shape than it was traced on
        return model


def _part_view(layer: Any) -> Any:
    """The view of a model inside a model, or None where there is none or it is not needed."""
    if not is_model(layer):
        return None
    try:
        view = as_graph(layer)
    except UnsupportedError:
        return None
    return None if view is layer else view


def _traced(model: Any) -> Any:
    """A Functional view of a subclassed model; refuses what it cannot trace for certain."""
    if not model.built:
        raise UnsupportedError(
            f"Model '{model.name}' is a subclass of keras.Model that was never built; call it once "
            "on data."
        )
    try:
        view = _view(model, specs := _specs(model))
        if integers := _read_by_embeddings(view):
            view = _view(model, specs, integers)
        problem = _difference(model, view) or _while_training(model, view, specs, integers)
    except Exception as error:  # whatever the user's `call` does with a symbolic tensor
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise _refusal(model, f"calling it on symbolic inputs fails: {reason}") from error
    if problem:
        raise _refusal(model, problem)
    return view


def _refusal(model: Any, problem: str) -> UnsupportedError:
    return UnsupportedError(
        f"Model '{model.name}' is a subclass of keras.Model whose graph cannot be read: {problem}; "
        "rebuild it with the functional API: keras.Model(inputs, outputs)."
    )


def _specs(model: Any) -> Any:
    """What `model` was built on: a `KerasTensor` for every input, in their structure."""
    parameters = inspect.signature(model.call).parameters.values()
    if sum(p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters) > 1:
        raise ValueError("it takes several arguments")
    if is_functional(model):
        return tree.map_structure(_spec, input_structure(model))
    saved = model.save_spec() if is_tf_keras(model) else None
    if saved is not None:
        arguments, keywords = saved
        if len(arguments) != 1 or keywords.keys() - {"training"}:
            raise ValueError("it takes several arguments")
        return tree.map_structure(_spec, arguments[0])
    shapes = (model.get_build_config() or {}).get("input_shape")
    if shapes is None:
        raise ValueError("the shape of its input is not known; call it once on data")
    dtype = model.compute_dtype
    return tree.map_shape_structure(lambda shape: keras.KerasTensor(shape, dtype), shapes)


def _spec(tensor: Any) -> keras.KerasTensor:
    return keras.KerasTensor(tuple(tensor.shape), getattr(tensor.dtype, "name", tensor.dtype))


def _view(
    model: Any, specs: Any, integers: Collection[int] = (), training: bool | None = None
) -> Any:
    """The view on inputs like `specs`, of any batch size; some, by position, hold integers."""
    lib = library(model)
    flat = [
        lib.Input(spec.shape[1:], dtype="int32" if i in integers else spec.dtype)
        for i, spec in enumerate(tree.flatten(specs))
    ]
    symbolic = tree.pack_sequence_as(specs, flat)
    # By default None, not False: Dropout and the like go on following the mode of each call.
    mode = {"training": training} if _has_modes(model) else {}
    return lib.Model(symbolic, model.call(symbolic, **mode), name=model.name)


def _has_modes(model: Any) -> bool:
    return "training" in inspect.signature(model.call).parameters


def _read_by_embeddings(view: Any) -> set[int]:
    """Positions of the inputs that hold indices; a build config does not tell dtypes."""
    read = {id(x) for c in calls(view) if type(c.layer).__name__ == "Embedding" for x in c.inputs}
    return {i for i, x in enumerate(inputs(view)) if id(x) in read}


def _difference(model: Any, view: Any) -> str:
    """What `model` has or computes that its view does not, or an empty string."""
    reached = {id(variable) for variable in weights(view)}
    for variable in model.weights:
        if id(variable) not in reached:
            name = getattr(variable, "path", variable.name)
            return f"its weight '{name}' is in none of the layers that it calls"
    sample = random_inputs(view)
    expected, got = (
        [np.asarray(to_numpy(x), "float64") for x in tree.flatten(m(sample, training=False))]
        for m in (model, view)
    )
    if len(model.losses) != len(view.losses):
        return "it adds a loss of its own"
    for a, b in zip(expected, got, strict=True):
        scale = np.abs(a).max(initial=1e-30, where=np.isfinite(a))
        if not np.allclose(a, b, rtol=0, atol=TOLERANCE * scale, equal_nan=True):
            return "called on symbolic inputs it computes something else"
    return ""


def _while_training(model: Any, view: Any, specs: Any, integers: Collection[int]) -> str:
    """What `model` does otherwise while it is trained, which a graph cannot; or an empty string."""
    if not _has_modes(model):
        return ""
    trained = _view(model, specs, integers, training=True)
    same = [*map(_what, calls(view))] == [*map(_what, calls(trained))]
    return "" if same else "its call() goes another way where `training` is true"


def _what(call: Call) -> Any:
    """A layer, or what an operator is called: each trace makes operators anew."""
    layer = call.layer
    if is_input_layer(layer):
        return "input"
    return operator_name(layer) if is_operator(layer) else id(layer)
