"""Activations that tf_keras lacks, or computes otherwise than Keras 3.

All can be given to tf_keras layers, and saved with them.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras

from sft_keras import flavors

_registered = tf_keras.saving.register_keras_serializable("sft_keras")


@_registered
def celu(x: Any, alpha: float = 1.0) -> Any:
    """`max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`."""
    positive = tf.nn.relu(x)
    return positive + alpha * (tf.exp((x - positive) / alpha) - 1.0)


@_registered
def glu(x: Any, axis: int = -1) -> Any:
    """One half of `x`, gated by the sigmoid of the other."""
    values, gates = tf.split(x, 2, axis)
    return values * tf.sigmoid(gates)


@_registered
def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """`x` where it is beyond the threshold, else 0."""
    return tf.where(tf.abs(x) > threshold, x, 0.0)


@_registered
def hard_sigmoid_of_keras_3(x: Any) -> Any:
    """`relu6(x + 3) / 6`; that of tf_keras, which by its name is read from files, is another."""
    return tf.nn.relu6(x + 3.0) * (1 / 6)


@_registered
def hard_silu(x: Any) -> Any:
    """`x * hard_sigmoid(x)`."""
    return x * hard_sigmoid_of_keras_3(x)


@_registered
def hard_tanh(x: Any) -> Any:
    """`x` cut off at -1 and 1."""
    return tf.clip_by_value(x, -1.0, 1.0)


@_registered
def log_sigmoid(x: Any) -> Any:
    """The logarithm of the sigmoid."""
    return tf.math.log_sigmoid(x)


@_registered
def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """`x` drawn towards 0 by the threshold."""
    return tf.nn.relu(x - threshold) - tf.nn.relu(-threshold - x)


@_registered
def sparse_plus(x: Any) -> Any:
    """0 up to -1, `x` from 1 on, a parabola between."""
    return tf.where(x < 1, tf.square(tf.maximum(x + 1.0, 0.0)) / 4, x)


@_registered
def sparse_sigmoid(x: Any) -> Any:
    """`(x + 1) / 2` cut off at 0 and 1."""
    return tf.clip_by_value((x + 1.0) / 2, 0.0, 1.0)


@_registered
def squareplus(x: Any, b: float = 4) -> Any:
    """`(x + sqrt(x² + b)) / 2`."""
    return (x + tf.sqrt(tf.square(x) + b)) / 2


@_registered
def tanh_shrink(x: Any) -> Any:
    """`x - tanh(x)`."""
    return x - tf.tanh(x)


FUNCTIONS: dict[str, Callable] = {
    function.__name__: function
    for function in (
        celu,
        glu,
        hard_shrink,
        hard_silu,
        hard_tanh,
        log_sigmoid,
        soft_shrink,
        sparse_plus,
        sparse_sigmoid,
        squareplus,
        tanh_shrink,
    )
}
FUNCTIONS |= {"hard_sigmoid": hard_sigmoid_of_keras_3, "hard_swish": hard_silu}


def hard_layers(function: str, name: str, of_tf_keras: bool) -> Callable:
    """`hard_sigmoid` or `hard_silu` as layers that have int8 forms.

    Args:
        function: which of the two.
        name: of the last layer; the others are named after it.
        of_tf_keras: whether it is the hard_sigmoid of tf_keras, `clip(x / 5 + 1 / 2, 0, 1)`.

    Returns:
        A function of a symbolic tensor, which calls the same layers each time.
    """
    is_gate = function != "hard_sigmoid"
    stack = (
        tf_keras.layers.Rescaling(1.2 if of_tf_keras else 1.0, 3.0, name=f"{name}_shift"),
        tf_keras.layers.ReLU(6.0, name=f"{name}_clip"),
        tf_keras.layers.Rescaling(1 / 6, name=f"{name}_gate" if is_gate else name),
    )
    product = tf_keras.layers.Multiply(name=name)
    whole = tf_keras.layers.Activation(function if of_tf_keras else FUNCTIONS[function], name=name)

    def call(x: Any) -> Any:
        if flavors.has_mask(x):
            return whole(x)  # Rescaling drops masks.
        y = x
        for layer in stack:
            y = layer(y)
        return product([x, y]) if is_gate else y

    return call
