"""Tells Keras 3 from tf_keras, and layers, models and operators from each other."""

import sys
from typing import Any

import keras

from sft_keras.errors import UnsupportedError


def is_tf_keras(thing: Any) -> bool:
    """Whether a model, layer or optimizer belongs to tf_keras, told without importing tf_keras."""
    bases = type(thing).__mro__
    if is_of_keras(bases[0]):  # a class of Keras' own tells it at once
        bases = bases[:1]
    return any(_package(base) == "tf_keras" for base in bases)


def is_of_keras(definition: Any) -> bool:
    """Whether a class or function is one of either Keras, and not a user's of the same name."""
    return _package(definition) in ("keras", "tf_keras")


def _package(definition: Any) -> str:
    return definition.__module__.partition(".")[0]


def library(thing: Any):
    """The module, `keras` or `tf_keras`, that `thing` was made with."""
    return sys.modules["tf_keras"] if is_tf_keras(thing) else keras


def require_tensorflow(what: str) -> None:
    """Refuses what TFMOT or the TFLite converter does where Keras runs on another backend.

    Raises:
        UnsupportedError: Keras runs on JAX or PyTorch.
    """
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise UnsupportedError(
            f"{what} needs TensorFlow, and Keras runs on {backend} in this process; save the model "
            "with model.save('model.keras') and go on in one with KERAS_BACKEND=tensorflow, or "
            "with `sft-keras quantize` and `sft-keras convert`."
        )


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


# Where TensorFlow calls a function otherwise than keras.ops; both in lower case, run together.
_OPERATORS = {
    "truediv": "divide",
    "truedivide": "divide",
    "pow": "power",
    "abs": "absolute",
    "amax": "max",
    "amin": "min",
    "concat": "concatenate",
    "clipbyvalue": "clip",
    "gather": "take",
    "reverse": "flip",
    "swish": "silu",
    "floordiv": "floordivide",
    "maxpool2d": "maxpool",
    "avgpool": "averagepool",
    "avgpool2d": "averagepool",
    "maxpool1d": "maxpool",
    "maxpool3d": "maxpool",
    "avgpool1d": "averagepool",
    "avgpool3d": "averagepool",
}
_MODULES = ("", "math", "nn", "linalg", "__operators__", "compat.v1", "compat.v1.math")


def operator_name(operator: Any) -> str:
    """The lower-case name of an operator, the same for both Kerases: `add`, `leakyrelu`, `mean`.

    TensorFlow functions outside its modules of mathematics keep their full names: `image.resize`.
    """
    if not is_tf_keras(operator):
        name = type(operator).__name__.lower()
        return _OPERATORS.get(name, name)
    symbol = getattr(operator, "symbol", None) or type(operator).__name__
    module, _, name = symbol.rpartition(".")
    if module not in _MODULES:
        return symbol
    name = name.removeprefix("reduce_").replace("_", "").lower()
    return _OPERATORS.get(name, name)


def argument(layer: Any, name: str) -> Any:
    """What `layer` was made with as argument `name`; None where that is not known."""
    # Most layers keep their arguments in public attributes, attention layers in private ones.
    return getattr(layer, name, getattr(layer, f"_{name}", None))


def producer(tensor: Any) -> Any:
    """The layer or operator that a tensor of a functional graph comes from."""
    # Both Kerases keep (operation or layer, node index, tensor index) here.
    return tensor._keras_history[0]


def is_symbolic(value: Any) -> bool:
    """Whether `value` is a tensor of a functional graph rather than a constant argument."""
    # Both Kerases mark graph tensors with this attribute and have no public test for it.
    return hasattr(value, "_keras_history")
