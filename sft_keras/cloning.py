"""Fresh layers made from old ones, and their weights."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from sft_keras import flavors


def config(layer: Any) -> dict:
    """The config of a layer or operator."""
    return layer.get_config()


def clone(layer: Any, config_of: Callable[[Any], dict] = config) -> Any:
    """A new layer of the class of `layer`, with fresh variables.

    Args:
        layer: a layer, operator or functional model of either Keras.
        config_of: takes the layer, or each layer of a nested model, and returns the config of the
            new one.

    Returns:
        The new layer, not built; a nested model is built.

    Raises:
        UnsupportedError: a nested model is subclassed or was never built.
    """
    if flavors.is_model(layer):
        return flavors.rebuild(layer, lambda inner: clone(inner, config_of))
    new_config = config_of(layer)
    if type(layer).__name__ == "Lambda" and not flavors.is_tf_keras(layer):
        # Keras 3 refuses a Python function read from a config; here it is at hand.
        return type(layer)(**{**new_config, "function": layer.function})
    with flavors.library(layer).utils.custom_object_scope(_functions(layer)):
        return type(layer).from_config(new_config)


def assign(model: Any, values: Iterable[np.ndarray]) -> None:
    """Gives a model its weights, in the order of `flavors.weights`, each cast to its dtype."""
    for variable, value in zip(flavors.weights(model), values, strict=True):
        variable.assign(value.astype(flavors.to_numpy(variable).dtype))
    _finalize(model)


def _finalize(model: Any) -> None:
    for layer in model.layers:
        if flavors.is_model(layer):
            _finalize(layer)
        elif type(layer).__name__ == "Normalization":
            layer.finalize_state()  # it computes with a copy of its weights


def _functions(layer: Any) -> dict[str, Callable]:
    """Functions that the layer's config only names, such as a user's own activation."""
    return {f.__name__: f for f in vars(layer).values() if inspect.isfunction(f)}
