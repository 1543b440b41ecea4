"""Fresh layers made from old ones, and their weights."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
from keras import tree

from sft_keras import flavors
from sft_keras.training import require_compiled


def clone(
    layer: Any,
    config_of: Callable[[Any], dict] = flavors.config,
    arguments: Callable[[flavors.Call], tuple[tuple, dict]] | None = None,
) -> Any:
    """A new layer of the class of `layer`, with fresh variables.

    Args:
        layer: a layer, operator or functional model of either Keras.
        config_of: takes the layer, or each layer of a nested model or wrapper, and returns the
            config of the new one.
        arguments: takes a call inside a nested model, returns its new `(args, kwargs)`.

    Returns:
        The new layer, not built; a nested model is built.
    """
    new: dict[int, Any] = {}

    def once(part):  # a layer inside of several others stays one layer
        if id(part) not in new:
            new[id(part)] = _clone(part, config_of, arguments, once)
        return new[id(part)]

    return once(layer)


def _clone(layer: Any, config_of: Callable, arguments: Callable | None, inner: Callable) -> Any:
    """A new layer, whose parts `inner` makes."""
    if flavors.is_graph(layer):
        return flavors.rebuild(layer, inner, arguments=arguments)
    new_config = config_of(layer)
    if type(layer).__name__ == "Lambda" and not flavors.is_tf_keras(layer):
        # Keras 3 refuses a Python function read from a config; here it is at hand.
        return type(layer)(**{**new_config, "function": layer.function})
    with flavors.library(layer).utils.custom_object_scope(_custom_objects(layer)):
        if parts := flavors.parts(layer):
            return flavors.assemble(layer, new_config, tree.map_structure(inner, parts))
        return type(layer).from_config(new_config)


def assign(model: Any, values: Iterable[np.ndarray], like: Any) -> None:
    """Gives a copy of a model its variables, each cast to its dtype, and freezes what was frozen.

    Args:
        model: the copy.
        values: what its variables become, in the order of `flavors.variables` of `like`.
        like: the model that it was made from.
    """
    flavors.freeze_like(model, like)
    for variable, value in zip(flavors.variables(model), values, strict=True):
        variable.assign(value.astype(keras.backend.standardize_dtype(variable.dtype)))
    _finalize(model)


def _finalize(model: Any) -> None:
    for layer in model.layers:
        if flavors.is_model(layer):
            _finalize(layer)
        elif isinstance(layer, flavors.library(layer).layers.Normalization):
            layer.finalize_state()  # it computes with a copy of its weights


def _custom_objects(layer: Any) -> dict[str, Any]:
    """What the configs of a layer and its parts only name, such as a user's own activation."""
    found: dict[str, Any] = {f.__name__: f for f in vars(layer).values() if inspect.isfunction(f)}
    cell = getattr(layer, "cell", None)  # which the config of an LSTM does not have as a part
    for part in [*tree.flatten(flavors.parts(layer)), *filter(None, [cell])]:
        found |= {type(part).__name__: type(part), **_custom_objects(part)}
    return found


def compiled_copy(model: Any) -> Any:
    """A copy of a compiled model with weights of its own, compiled alike.

    Raises:
        UnsupportedError: the model is not compiled, or cannot be read.
    """
    require_compiled(model)
    view = flavors.as_graph(model)
    copy = clone(view)
    assign(copy, map(flavors.to_numpy, flavors.variables(view)), view)
    copy.compile(**flavors.compile_arguments(model))
    return copy


def in_precision(dtype: str, model: Any, values: list[np.ndarray] | None = None) -> Any:
    """A copy of `model` that computes in another floating dtype throughout.

    Args:
        dtype: the dtype's name.
        model: a built Sequential or Functional model of either Keras.
        values: its variables in the order of `flavors.variables`; defaults to those it has.

    Returns:
        A new model, not compiled.
    """
    copy = clone(
        model,
        lambda layer: _with_dtype(flavors.config(layer), dtype),
        lambda call: flavors.arguments_in(dtype, call),
    )
    if values is None:
        values = [flavors.to_numpy(w) for w in flavors.variables(model)]
    assign(copy, values, model)
    return copy


def _with_dtype(config: Any, dtype: str) -> Any:
    """A config, and the configs in it, with every floating dtype replaced."""
    if isinstance(config, dict):
        return {
            key: dtype if key == "dtype" and "float" in str(value) else _with_dtype(value, dtype)
            for key, value in config.items()
        }
    if isinstance(config, list):
        return [_with_dtype(value, dtype) for value in config]
    return config
