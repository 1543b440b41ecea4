"""The operators of Keras 3 as functions of TensorFlow, which tf_keras takes into a graph.

Each takes the arguments of its operator by their names in Keras 3, all of them: one that is not
here is one that the port refuses.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from sft_keras.quantization import activations


def _reduction(function: Callable) -> Callable:
    return lambda x, axis=None, keepdims=False: function(x, axis, keepdims)


def _extreme(function: Callable, pair: Callable) -> Callable:
    def call(x: Any, axis: Any = None, keepdims: bool = False, initial: Any = None) -> Any:
        y = function(x, axis, keepdims)
        return y if initial is None else pair(y, initial)

    return call


def _product(x: Any, axis: Any = None, keepdims: bool = False, dtype: Any = None) -> Any:
    _require(dtype is None, "dtype")
    return tf.reduce_prod(x, axis, keepdims)


def _require(plain: bool, argument: str) -> None:
    if not plain:
        raise NotImplementedError(f"'{argument}'")


def _cast(x: Any, dtype: Any) -> Any:
    # The port computes in float32, whatever the precision of the original was.
    return tf.cast(x, "float32" if "float" in str(dtype) else dtype)


def _split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    if isinstance(indices_or_sections, int):
        return tf.split(x, indices_or_sections, axis)
    return tf.split(x, np.diff([0, *indices_or_sections, x.shape[axis]]).tolist(), axis)


def _unstack(x: Any, num: int | None = None, axis: int = 0) -> Any:
    return tf.unstack(x, num, axis)


def _pad(x: Any, pad_width: Any, mode: str = "constant", constant_values: Any = None) -> Any:
    width = pad_width * len(x.shape) if len(pad_width) == 1 else pad_width
    return tf.pad(x, width, mode.upper(), constant_values or 0)


def permutation(rank: int, source: Any, destination: Any) -> list[int]:
    """For each axis, the one that comes there when some are moved and the others keep order."""
    # An array whose axes are as long as their numbers, counted from 1.
    moved = np.moveaxis(np.empty(range(1, rank + 1)), source, destination)
    return [n - 1 for n in moved.shape]


def _moveaxis(x: Any, source: Any, destination: Any) -> Any:
    return tf.transpose(x, permutation(len(x.shape), source, destination))


def _flip(x: Any, axis: Any = None) -> Any:
    return tf.reverse(
        x, list(range(len(x.shape))) if axis is None else np.atleast_1d(axis).tolist()
    )


def _roll(x: Any, shift: Any, axis: Any = None) -> Any:
    _require(axis is not None, "axis=None")
    return tf.roll(x, shift, axis)


def _tile(x: Any, repeats: Any) -> Any:
    repeats = [repeats] if isinstance(repeats, int) else list(repeats)
    _require(len(repeats) <= len(x.shape), "repeats")
    return tf.tile(x, [1] * (len(x.shape) - len(repeats)) + repeats)


def _getitem(x: Any, key: tuple) -> Any:
    plain = all(item is None or item is ... or isinstance(item, int | slice) for item in key)
    _require(plain, "key")
    return x[key]


def _matmul(x1: Any, x2: Any) -> Any:
    _require(min(len(x1.shape), len(x2.shape)) > 1, "a vector")
    return tf.matmul(x1, x2)


def _take(x: Any, indices: Any, axis: int | None = None) -> Any:
    _require(axis is not None, "axis=None")
    return tf.gather(x, indices, axis=axis)


def _one_hot(x, num_classes, axis=-1, dtype=None, sparse=False) -> Any:
    _require(not sparse, "sparse")
    return tf.one_hot(tf.cast(x, "int32"), num_classes, axis=axis)


def _index_of(function: Callable) -> Callable:
    def call(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
        _require(axis is not None, "axis=None")
        y = function(x, axis, output_type=tf.int32)
        return tf.expand_dims(y, axis) if keepdims else y

    return call


def _top_k(x: Any, k: int, sorted: bool = True) -> Any:
    return tf.math.top_k(x, k, sorted)


def _cumulative(function: Callable) -> Callable:
    def call(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
        _require(axis is not None and dtype is None, "axis or dtype")
        return function(x, axis)

    return call


def _round(x: Any, decimals: int = 0) -> Any:
    _require(decimals == 0, "decimals")
    return tf.round(x)


def _window(function: Callable) -> Callable:
    def call(inputs, pool_size, strides=None, padding="valid", data_format=None) -> Any:
        _require(data_format != "channels_first", "channels_first")
        return function(inputs, pool_size, strides or pool_size, padding.upper())

    return call


def _conv(inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1) -> Any:
    _require(data_format != "channels_first", "channels_first")
    rank = len(inputs.shape) - 2
    return tf.nn.convolution(
        inputs,
        kernel,
        np.broadcast_to(strides, rank).tolist(),
        padding.upper(),
        dilations=np.broadcast_to(dilation_rate, rank).tolist(),
    )


def _depthwise_conv(
    inputs, kernel, strides=1, padding="valid", data_format=None, dilation_rate=1
) -> Any:
    _require(data_format != "channels_first" and len(inputs.shape) == 4, "this shape")
    return tf.nn.depthwise_conv2d(
        inputs,
        kernel,
        [1, *np.broadcast_to(strides, 2).tolist(), 1],
        padding.upper(),
        dilations=np.broadcast_to(dilation_rate, 2).tolist(),
    )


def _resize(images, size, interpolation="bilinear", antialias=False, **others) -> Any:
    crops = others.get("crop_to_aspect_ratio") or others.get("pad_to_aspect_ratio")
    _require(not crops and others.get("data_format") != "channels_first", "these options")
    return tf.image.resize(images, size, interpolation, antialias=antialias)


def _rms_norm(x: Any, scale: Any = None, axis: Any = -1, epsilon: float | None = None) -> Any:
    power = tf.reduce_mean(x * x, axis, keepdims=True)
    y = x * tf.math.rsqrt(power + (1e-7 if epsilon is None else epsilon))
    return y if scale is None else y * scale


def _unary(function: Callable) -> Callable:
    return lambda x: function(x)


def _binary(function: Callable) -> Callable:
    return lambda x1, x2: function(x1, x2)


_UNARY = {
    "absolute": tf.abs,
    "arccos": tf.acos,
    "arcsin": tf.asin,
    "arctan": tf.atan,
    "arctanh": tf.atanh,
    "ceil": tf.math.ceil,
    "cos": tf.cos,
    "cosh": tf.cosh,
    "erf": tf.math.erf,
    "exp": tf.exp,
    "expm1": tf.math.expm1,
    "floor": tf.floor,
    "log": tf.math.log,
    "log1p": tf.math.log1p,
    "negative": tf.negative,
    "reciprocal": tf.math.reciprocal,
    "relu": tf.nn.relu,
    "relu6": tf.nn.relu6,
    "rsqrt": tf.math.rsqrt,
    "selu": tf.nn.selu,
    "sigmoid": tf.sigmoid,
    "sign": tf.sign,
    "silu": tf.nn.silu,
    "sin": tf.sin,
    "sinh": tf.sinh,
    "softplus": tf.math.softplus,
    "softsign": tf.nn.softsign,
    "sqrt": tf.sqrt,
    "square": lambda x: x * x,  # tf.square stays float where all else becomes int8
    "tan": tf.tan,
    "tanh": tf.tanh,
}

_BINARY = {
    "add": tf.add,
    "arctan2": tf.atan2,
    "divide": tf.divide,
    "floordivide": tf.math.floordiv,
    "maximum": tf.maximum,
    "minimum": tf.minimum,
    "mod": tf.math.floormod,
    "multiply": tf.multiply,
    "power": tf.pow,
    "subtract": tf.subtract,
}

_LOGIC = {
    "equal": tf.equal,
    "greater": tf.greater,
    "greaterequal": tf.greater_equal,
    "less": tf.less,
    "lessequal": tf.less_equal,
    "logicaland": tf.logical_and,
    "logicalor": tf.logical_or,
    "logicalxor": tf.math.logical_xor,
    "notequal": tf.not_equal,
}

PROMOTING = {*_UNARY, *_BINARY, "mean", "std", "var"}
"""Operators that compute in the dtype of their result."""

FUNCTIONS: dict[str, Callable] = {
    **{name: _unary(function) for name, function in _UNARY.items()},
    **{name: _binary(function) for name, function in {**_BINARY, **_LOGIC}.items()},
    **{name.replace("_", ""): function for name, function in activations.FUNCTIONS.items()},
    "all": _reduction(tf.reduce_all),
    "any": _reduction(tf.reduce_any),
    "argmax": _index_of(tf.argmax),
    "argmin": _index_of(tf.argmin),
    "averagepool": _window(tf.nn.avg_pool),
    "broadcastto": lambda x, shape: tf.broadcast_to(x, shape),
    "cast": _cast,
    "clip": lambda x, x_min, x_max: tf.clip_by_value(x, x_min, x_max),
    "concatenate": lambda xs, axis=0: tf.concat(list(xs), axis),
    "conv": _conv,
    "copy": _unary(tf.identity),
    "cumprod": _cumulative(tf.math.cumprod),
    "cumsum": _cumulative(tf.math.cumsum),
    "depthwiseconv": _depthwise_conv,
    "einsum": lambda subscripts, operands: tf.einsum(subscripts, *operands),
    "elu": lambda x, alpha=1.0: tf.where(x > 0, x, alpha * tf.math.expm1(x)),
    "expanddims": lambda x, axis: tf.expand_dims(x, axis),
    "flip": _flip,
    "gelu": lambda x, approximate=True: tf.nn.gelu(x, approximate),
    "getitem": _getitem,
    "leakyrelu": lambda x, negative_slope=0.2: tf.nn.leaky_relu(x, negative_slope),
    "logicalnot": _unary(tf.logical_not),
    "logsoftmax": lambda x, axis=-1: tf.nn.log_softmax(x, axis),
    "logsumexp": _reduction(tf.reduce_logsumexp),
    "matmul": _matmul,
    "max": _extreme(tf.reduce_max, tf.maximum),
    "maxpool": _window(tf.nn.max_pool),
    "mean": _reduction(tf.reduce_mean),
    "min": _extreme(tf.reduce_min, tf.minimum),
    "moveaxis": _moveaxis,
    "onehot": _one_hot,
    "oneslike": lambda x, dtype=None: tf.ones_like(x, dtype),
    "pad": _pad,
    "prod": _product,
    "ravel": lambda x: tf.reshape(x, [-1]),
    "repeat": lambda x, repeats, axis=None: tf.repeat(x, repeats, axis),
    "reshape": lambda x, newshape: tf.reshape(x, newshape),
    "resize": _resize,
    "rmsnorm": _rms_norm,
    "roll": _roll,
    "round": _round,
    "softmax": lambda x, axis=-1: tf.nn.softmax(x, axis),
    "sort": lambda x, axis=-1: tf.sort(x, axis),
    "split": _split,
    "squeeze": lambda x, axis=None: tf.squeeze(x, axis),
    "stack": lambda x, axis=0: tf.stack(list(x), axis),
    "std": _reduction(tf.math.reduce_std),
    "stopgradient": lambda variable: tf.stop_gradient(variable),
    "sum": _reduction(tf.reduce_sum),
    "swapaxes": lambda x, axis1, axis2: _moveaxis(x, [axis1, axis2], [axis2, axis1]),
    "take": _take,
    "tile": _tile,
    "topk": _top_k,
    "transpose": lambda x, axes=None: tf.transpose(x, axes),
    "unstack": _unstack,
    "var": _reduction(tf.math.reduce_variance),
    "where": lambda condition, x1, x2: tf.where(condition, x1, x2),
    "zeroslike": lambda x, dtype=None: tf.zeros_like(x, dtype),
}
"""By operator, as `flavors.operator_name` has it."""
