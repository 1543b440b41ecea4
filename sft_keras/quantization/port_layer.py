"""Ports one layer to tf_keras."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import tf_keras
from keras import tree

from sft_keras import flavors
from sft_keras.quantization import activations, limits
from sft_keras.quantization.arguments import arguments
from sft_keras.quantization.port_special import REFUSED, SPECIAL, way_out
from sft_keras.quantization.problem import Unportable

# Keras 3 and tf_keras name the same thing differently.
RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}

# Arguments of Keras 3 alone that change how fast or how random a layer is, not what it computes.
OF_NO_ACCOUNT = {"seed", "use_cudnn", "flash_attention", "synchronized", "autocast", "data_format"}

# Their activation is not the last thing that they do.
RECURRENT = ("RNN", "GRU", "LSTM")


def port_layer(layer: Any, name: str, port_model: Callable) -> Callable:
    """Makes the tf_keras counterpart of a layer.

    Args:
        layer: built layer of Keras 3 or tf_keras.
        name: of the new layer.
        port_model: ports a model that is inside a wrapper.

    Returns:
        A function of a call's `(args, kwargs)` that calls the new layer, with the same weights.

    Raises:
        Unportable: it has none.
    """
    kind = type(layer).__name__
    if kind in SPECIAL:
        _require_sound(layer)
        stand_in = SPECIAL[kind](layer, name)
        return lambda args, kwargs: stand_in(_first(args, kwargs))
    if last := _last(layer, name, port_model):
        # What makes the output keeps the name: losses and targets may be given by output name.
        layer_name, changes = f"{name}_linear", {"activation": "linear"}
    else:
        layer_name, changes = name, {}
    new = None if last and kind == "Activation" else _fresh(layer, layer_name, port_model, changes)

    def call(args: tuple, kwargs: dict) -> Any:
        try:
            outputs = new(*args, **kwargs) if new else _first(args, kwargs)
            if new:
                _copy_weights(layer, new)
        except (TypeError, ValueError) as e:
            raise _failed(kind, e) from e
        return last(outputs) if last else outputs

    return call


def _first(args: tuple, kwargs: dict) -> Any:
    """What a layer is called on, by place or by keyword."""
    return next(iter((*args, *kwargs.values())))


def _require_sound(layer: Any) -> None:
    kind = type(layer).__name__
    if not flavors.is_of_keras(type(layer)):
        raise Unportable(f"is a custom layer ({kind})", "replace it by layers of Keras")
    if getattr(layer, "data_format", None) == "channels_first":
        raise Unportable("is channels_first, which TFLite has not", "use channels_last")
    if problem := limits.beyond_cpus(layer):
        raise Unportable(problem.reason, problem.way_out)
    numbers = [w for w in layer.get_weights() if w.dtype.kind == "f"]
    if not all(np.isfinite(w).all() for w in numbers):
        raise Unportable("has NaN or infinite weights", "train again with a lower learning rate")


def _failed(kind: str, error: Exception) -> Unportable:
    first_line = str(error).strip().partition("\n")[0]
    return Unportable(
        f"is a {kind} that tf_keras cannot build ({first_line})", "replace it by other layers"
    )


def _fresh(layer: Any, name: str, port_model: Callable, changes: dict) -> Any:
    """The new layer, not built, with new layers inside where it is made of others."""
    kind = type(layer).__name__
    if flavors.is_graph(layer):
        return port_model(layer)
    _require_sound(layer)
    if kind in REFUSED or not hasattr(tf_keras.layers, kind):
        raise Unportable(f"is a {kind}, which tf_keras cannot hold", way_out(kind))
    config = {**_config(layer, changes), **changes, "name": name}
    inside = {
        key: tree.map_structure(lambda part: _fresh(part, _plain(part), port_model, {}), part)
        for key, part in flavors.parts(layer).items()
    }
    new_class = getattr(tf_keras.layers, kind)
    try:
        # Not from_config, which for some layers takes what only tf_keras writes there.
        return new_class(**{**config, **inside})
    except (TypeError, ValueError) as e:
        raise _failed(kind, e) from e


def _plain(part: Any) -> str:
    """The name without the prefix that Bidirectional adds to it, in either Keras."""
    return part.name.removeprefix("forward_").removeprefix("backward_")


def _copy_weights(layer: Any, new: Any) -> None:
    inside, new_inside = (tree.flatten(flavors.parts(x)) for x in (layer, new))
    for part, new_part in zip(inside, new_inside, strict=True):
        if not flavors.is_graph(part):  # which was ported with its weights
            _copy_weights(part, new_part)
    if not inside:
        new.set_weights(layer.get_weights())
        for state, value in zip(flavors.states(new), flavors.states(layer), strict=True):
            state.assign(flavors.to_numpy(value))
    if hasattr(new, "finalize_state"):
        new.finalize_state()  # Normalization computes with copies of its weights.


def _config(layer: Any, changes: dict) -> dict:
    """The constructor arguments that tf_keras knows; initializers go, for weights are copied.

    What is in `changes`, or a layer inside, is left out.
    """
    kind = type(layer).__name__
    known = arguments(getattr(tf_keras.layers, kind)) | {"trainable"}
    others, kept = {*flavors.parts(layer), *changes}, {}
    for key, value in flavors.config(layer).items():
        key = RENAMED.get((kind, key), key)
        if key.endswith("_initializer") or key in others:
            continue
        if key in known:
            kept[key] = _value(layer, key, value)
        elif not _is_default(layer, key, value):
            raise Unportable(f"has {key}={value!r}, which tf_keras has not", "build it without")
    return {**kept, "dtype": "float32"}


def _is_default(layer: Any, key: str, value: Any) -> bool:
    parameters = inspect.signature(type(layer).__init__).parameters
    if value is None or key in OF_NO_ACCOUNT or key not in parameters:
        return True
    return value == parameters[key].default


def _value(layer: Any, key: str, value: Any) -> Any:
    if key in ("activation", "recurrent_activation"):
        return _activation(layer, key, value)
    if key.endswith(("_regularizer", "_constraint")) and isinstance(value, dict):
        return _penalty(key, value)
    return value


def _activation(layer: Any, key: str, value: Any) -> Any:
    """What tf_keras computes the activation with, which Keras 3 may know by the same name."""
    function: Any = getattr(layer, key, None)
    if function in activations.FUNCTIONS.values():  # of a layer that was ported before
        return function
    if isinstance(value, str) and value in activations.FUNCTIONS:
        return value if flavors.is_tf_keras(layer) else activations.FUNCTIONS[value]
    if value is None or (isinstance(value, str) and _is_known(value)):
        return value
    raise Unportable(
        f"has activation {_label(value) or repr(function.__name__)}, which tf_keras has not",
        "use one that both Kerases have",
    )


def _is_known(activation: str) -> bool:
    try:
        return bool(tf_keras.activations.get(activation))
    except ValueError:
        return False


def _last(layer: Any, name: str, port_model: Callable) -> Callable | None:
    """The layers of an activation that is a layer itself, or that layers have int8 forms of."""
    if any(word in type(layer).__name__ for word in RECURRENT):
        return None
    function = getattr(layer, "activation", None)
    if isinstance(function, flavors.library(layer).layers.Layer):
        ported = port_layer(function, name, port_model)
        return lambda x: ported((x,), {})
    value = flavors.config(layer).get("activation") if function else None
    if value not in ("hard_sigmoid", "hard_silu", "hard_swish"):
        return None
    return activations.hard_layers(value, name, flavors.is_tf_keras(layer))


def _penalty(key: str, value: dict) -> dict | None:
    module = value.get("module") or ""
    if (value.get("registered_name") or "").startswith("sft_keras"):
        return None  # Pruning is over once a model is quantized.
    if module.partition(".")[0] not in ("keras", "tf_keras", ""):
        raise Unportable(
            f"has a custom {key} ({value['class_name']})", "remove it, or use one of Keras"
        )
    return {"class_name": value["class_name"], "config": value["config"]}


def _label(value: Any) -> str:
    """What a config calls an activation; empty for a lambda, whose code it holds."""
    if isinstance(value, dict):
        value = value.get("registered_name") or value.get("class_name")
    return f"'{value}'" if value else ""
