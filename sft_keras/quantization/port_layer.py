"""Ports one layer, or one operator such as `x + y`, to tf_keras."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tf_keras

from sft_keras import flavors
from sft_keras.quantization.arguments import arguments
from sft_keras.quantization.int8 import ACTIVATIONS
from sft_keras.quantization.problem import Unportable

# Keras 3 and tf_keras name the same thing differently.
RENAMED = {("LeakyReLU", "negative_slope"): "alpha"}

# Same name, another function: Keras 3 computes relu6(x + 3) / 6, tf_keras clip(x / 5 + 1/2, 0, 1).
OTHER_FUNCTION = {"hard_sigmoid"}

MERGES = {
    "add": tf_keras.layers.Add,
    "subtract": tf_keras.layers.Subtract,
    "multiply": tf_keras.layers.Multiply,
    "maximum": tf_keras.layers.Maximum,
    "minimum": tf_keras.layers.Minimum,
}

# What `x <operator> constant` is as `x * scale + offset`.
AFFINE: dict[str, Callable] = {
    "add": lambda c: {"scale": 1.0, "offset": c},
    "subtract": lambda c: {"scale": 1.0, "offset": -c},
    "multiply": lambda c: {"scale": c},
    "divide": lambda c: {"scale": 1 / c},
}


def port_layer(layer: Any, name: str) -> Callable:
    """Makes the tf_keras counterpart of a layer.

    Args:
        layer: built layer of Keras 3 or tf_keras.
        name: of the new layer.

    Returns:
        A function of a call's `(args, kwargs)` that calls the new layer, with the same weights.

    Raises:
        Unportable: it has none.
    """
    kind = type(layer).__name__
    if type(layer).__module__.partition(".")[0] not in ("keras", "tf_keras"):
        raise Unportable(f"is a custom layer ({kind})", "replace it by layers of Keras")
    if kind == "Lambda" or not hasattr(tf_keras.layers, kind):
        raise Unportable(f"is a {kind}, which tf_keras cannot hold", "replace it by other layers")
    if getattr(layer, "data_format", None) == "channels_first":
        raise Unportable("is channels_first, which TFLite has not", "use channels_last")
    weights = layer.get_weights()
    if not all(np.isfinite(w).all() for w in weights):
        raise Unportable("has NaN or infinite weights", "train again with a lower learning rate")
    try:
        new = getattr(tf_keras.layers, kind).from_config({**_config(layer), "name": name})
    except (TypeError, ValueError) as e:
        raise _failed(kind, e) from e

    def call(args: tuple, kwargs: dict) -> Any:
        try:
            outputs = new(*args, **kwargs)
            new.set_weights(weights)
            if hasattr(new, "finalize_state"):
                new.finalize_state()  # Normalization computes with copies of its weights.
        except (TypeError, ValueError) as e:
            raise _failed(kind, e) from e
        return outputs

    return call


def _failed(kind: str, error: Exception) -> Unportable:
    first_line = str(error).strip().partition("\n")[0]
    return Unportable(
        f"is a {kind} that tf_keras cannot build ({first_line})", "replace it by other layers"
    )


def _config(layer: Any) -> dict:
    """The constructor arguments that tf_keras knows; initializers go, for weights are copied."""
    kind = type(layer).__name__
    known = arguments(getattr(tf_keras.layers, kind)) | {"trainable"}
    config = {RENAMED.get((kind, key), key): value for key, value in layer.get_config().items()}
    kept = {
        key: _value(key, value)
        for key, value in config.items()
        if key in known and not key.endswith("_initializer")
    }
    return {**kept, "dtype": "float32"}


def _value(key: str, value: Any) -> Any:
    if key == "activation" and not _is_shared_activation(value):
        raise Unportable(
            f"has activation {_label(value)}, which has no int8 form",
            f"use one of {', '.join(ACTIVATIONS)}",
        )
    if key.endswith(("_regularizer", "_constraint")) and isinstance(value, dict):
        return _penalty(key, value)
    return value


def _is_shared_activation(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, str) or value in OTHER_FUNCTION:
        return False
    try:
        return bool(tf_keras.activations.get(value))
    except ValueError:
        return False


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
    if isinstance(value, dict):
        value = value.get("registered_name") or value.get("class_name")
    return f"'{value}'"


def port_operator(operator: Any, args: tuple, kwargs: dict) -> Any:
    """Calls the layer that computes what an operator on tensors does.

    Args:
        operator: Keras 3 operation or tf_keras operator layer.
        args: arguments of its call, tensors replaced by tf_keras ones.
        kwargs: likewise.

    Returns:
        The outputs.

    Raises:
        Unportable: no layer computes it.
    """
    name = flavors.operator_name(operator)
    operands = [x for key, x in [*enumerate(args), *kwargs.items()] if key != "name"]
    symbolic = [x for x in operands if flavors.is_symbolic(x)]
    layer_name = operator.name.replace(".", "_").lstrip("_")
    if len(symbolic) == len(operands) == 2 and name in MERGES:
        return MERGES[name](name=layer_name)(symbolic)
    if len(symbolic) == len(operands) == 1 and name in ACTIVATIONS:
        return tf_keras.layers.Activation(name, name=layer_name)(*symbolic)
    if len(symbolic) == 1 and len(operands) == 2 and name in AFFINE:
        return _affine(name, layer_name, *operands)
    raise Unportable(
        f"is the operator '{name}', which has no int8 form here",
        "write it with layers such as Add, Multiply or Rescaling",
    )


def _affine(name: str, layer_name: str, left: Any, right: Any) -> Any:
    x, constant = (left, right) if flavors.is_symbolic(left) else (right, left)
    constant = np.asarray(constant, "float32")
    reversed_order = x is right and name in ("subtract", "divide")
    if reversed_order and name == "subtract":
        return tf_keras.layers.Rescaling(scale=-1.0, offset=constant, name=layer_name)(x)
    if reversed_order or constant.ndim > 1:
        raise Unportable(
            f"is the operator '{name}' with a constant that no layer takes",
            "write it with a Rescaling layer",
        )
    return tf_keras.layers.Rescaling(**AFFINE[name](constant), name=layer_name)(x)
