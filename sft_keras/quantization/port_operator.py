"""Ports one operator, such as `x + y` or `keras.ops.reshape(x, …)`, to tf_keras."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree
from tf_keras import layers

from sft_keras import flavors
from sft_keras.quantization.activations import hard_layers
from sft_keras.quantization.functions import FUNCTIONS, PROMOTING, permutation
from sft_keras.quantization.problem import Unportable

WAY_OUT = "write it with layers, or with plainer operators"


def port_operator(call: flavors.Call, original: flavors.Call, name: str) -> Any:
    """Calls what computes the same in tf_keras: a layer where there is one, else a function.

    Args:
        call: the call of a Keras 3 operation or of a tf_keras operator layer, with tensors of the
            new graph among its arguments.
        original: the call in the old graph.
        name: of the last layer that this makes.

    Returns:
        The outputs.

    Raises:
        Unportable: tf_keras has no such operator.
    """
    if any(flavors.is_variable(x) for x in tree.flatten((call.args, call.kwargs))):
        raise Unportable("takes a variable, which no layer would train", "make a layer of it")
    args, kwargs = flavors.arguments_in("float32", call)
    call = call._replace(args=args, kwargs=kwargs)
    made = _as_layer(call, original, name)
    return made if made is not None else _as_function(call, original, name)


def _as_layer(call: flavors.Call, original: flavors.Call, name: str) -> Any:
    """The outputs of a layer; None where there is none that is exactly equal."""
    # Layers compute in floats, and hand masks on, which operators drop.
    floats = all("float" in flavors.dtype_name(x) for x in (*call.inputs, *original.outputs))
    if not floats or any(map(flavors.has_mask, call.inputs)):
        return None
    make = LAYERS.get(flavors.operator_name(call.layer))
    return make(call, original.outputs[0].shape, name) if make else None


def _as_function(call: flavors.Call, original: flavors.Call, name: str) -> Any:
    operator = flavors.operator_name(call.layer)
    if not flavors.is_tf_keras(call.layer) and operator not in FUNCTIONS:
        raise Unportable(f"is the operator '{operator}', which is not ported", WAY_OUT)
    promotes = operator in PROMOTING and "float" in flavors.dtype_name(original.outputs[0])
    kept = {
        id(x): _with_dtype(x, "float32" if promotes else flavors.dtype_name(old))
        for x, old in zip(call.inputs, original.inputs, strict=True)
    }
    args, kwargs = tree.map_structure(lambda x: kept.get(id(x), x), (call.args, call.kwargs))
    try:
        if flavors.is_tf_keras(call.layer):
            config = {**call.layer.get_config(), "name": name}
            return type(call.layer).from_config(config)(*args, **kwargs)
        made = FUNCTIONS[operator](**flavors.arguments(call._replace(args=args, kwargs=kwargs)))
    except (TypeError, ValueError, NotImplementedError, tf.errors.InvalidArgumentError) as e:
        first_line = str(e).strip().partition("\n")[0]
        reason = f"is the operator '{operator}', with arguments that are not ported ({first_line})"
        raise Unportable(reason, WAY_OUT) from e
    flavors.rename(flavors.producer(tree.flatten(made)[0]), name)
    return made


def _with_dtype(x: Any, dtype: str) -> Any:
    """`x` in a dtype; floats are all alike, for the port computes in float32."""
    same = flavors.dtype_name(x) == dtype or ("float" in flavors.dtype_name(x) and "float" in dtype)
    return x if same else tf.cast(x, dtype)


def _operands(call: flavors.Call) -> list:
    """The arguments of an operator of two operands, and nothing else."""
    return [x for key, x in [*enumerate(call.args), *call.kwargs.items()] if key != "name"]


def _merge(merge: type | None, affine: Callable | None = None) -> Callable:
    """`x <operator> y` as a merge, `x <operator> constant` as `x * scale + offset`."""

    def make(call: flavors.Call, shape: tuple, name: str) -> Any:
        operands = _operands(call)
        if len(operands) != 2:
            return None
        if len(call.inputs) == 2:
            same_rank = len(operands[0].shape) == len(operands[1].shape)
            return merge(name=name)(operands) if merge and same_rank else None
        first = flavors.is_symbolic(operands[0])
        x, constant = operands if first else operands[::-1]
        values = affine(np.asarray(constant, "float32"), first) if affine else None
        if values is None or np.ndim(constant) > 1 or x.shape != shape:
            return None
        return layers.Rescaling(**values, name=name)(x)

    return make


def _sum(c: np.ndarray, first: bool) -> dict:
    return {"scale": 1.0, "offset": c}


def _difference(c: np.ndarray, first: bool) -> dict:
    return {"scale": 1.0, "offset": -c} if first else {"scale": -1.0, "offset": c}


def _product(c: np.ndarray, first: bool) -> dict:
    return {"scale": c}


def _quotient(c: np.ndarray, first: bool) -> dict | None:
    return {"scale": 1 / c} if first else None


def _negative(call: flavors.Call, shape: tuple, name: str) -> Any:
    return layers.Rescaling(-1.0, name=name)(*call.inputs)


def _activation(function: str) -> Callable:
    """A function that takes nothing but `x`, or nothing else that matters."""

    def make(call: flavors.Call, shape: tuple, name: str) -> Any:
        (x, *options) = _operands(call)
        return None if options else layers.Activation(function, name=name)(x)

    return make


def _relu(call: flavors.Call, shape: tuple, name: str) -> Any:
    given = flavors.arguments(call)
    keys = ("max_value", "negative_slope", "threshold")
    options = {key: given[key] for key in keys if given.get(key)}
    if list(options) == ["negative_slope"]:
        return layers.LeakyReLU(options["negative_slope"], name=name)(call.inputs[0])
    if options:
        return layers.ReLU(**options, name=name)(call.inputs[0])
    return layers.Activation("relu", name=name)(call.inputs[0])


def _clip(call: flavors.Call, shape: tuple, name: str) -> Any:
    given = flavors.arguments(call)
    ends = [given["x_min"], given["x_max"]]
    is_relu6 = len(call.inputs) == 1 and not any(map(np.ndim, ends)) and ends == [0, 6]
    return layers.Activation("relu6", name=name)(call.inputs[0]) if is_relu6 else None


def _maximum(call: flavors.Call, shape: tuple, name: str) -> Any:
    constants = [x for x in _operands(call) if not flavors.is_symbolic(x)]
    if len(constants) == 1 and not np.ndim(constants[0]) and constants[0] == 0:
        return layers.Activation("relu", name=name)(call.inputs[0])
    return _merge(layers.Maximum)(call, shape, name)


def _leaky_relu(call: flavors.Call, shape: tuple, name: str) -> Any:
    given = flavors.arguments(call)
    slope = given.get("negative_slope", given.get("alpha"))
    return layers.LeakyReLU(slope, name=name)(call.inputs[0])


def _softmax(call: flavors.Call, shape: tuple, name: str) -> Any:
    axis = flavors.arguments(call).get("axis")
    if axis in (None, -1, len(shape) - 1):
        return layers.Activation("softmax", name=name)(call.inputs[0])
    return layers.Softmax(axis, name=name)(call.inputs[0])


def _hard(function: str) -> Callable:
    def make(call: flavors.Call, shape: tuple, name: str) -> Any:
        return hard_layers(function, name, of_tf_keras=False)(call.inputs[0])

    return make


def _reshape(call: flavors.Call, shape: tuple, name: str) -> Any:
    """What keeps the numbers of each sample together."""
    x = call.inputs[0]
    old, new = list(x.shape), list(shape)
    known = [np.prod([n for n in sizes[1:] if n], dtype=int) for sizes in (old, new)]
    unknown = [sizes[1:].count(None) for sizes in (old, new)]
    if len(call.inputs) > 1 or not new or old[0] != new[0]:
        return None
    if known[0] != known[1] or unknown[0] != unknown[1] or unknown[0] > 1:
        return None
    return layers.Reshape([-1 if n is None else n for n in new[1:]], name=name)(x)


def _new_axes(call: flavors.Call, shape: tuple, name: str) -> Any:
    """A slice that only adds axes."""
    key = flavors.arguments(call)["key"]
    adds = all(item is None or (isinstance(item, slice) and item == slice(None)) for item in key)
    return _reshape(call, shape, name) if adds else None


def _transpose(call: flavors.Call, shape: tuple, name: str) -> Any:
    axes = flavors.arguments(call)["axes"]
    return _permute(call, [i % len(shape) for i in axes or range(len(shape))[::-1]], name)


def _swapaxes(call: flavors.Call, shape: tuple, name: str) -> Any:
    pair = [flavors.arguments(call)[key] for key in ("axis1", "axis2")]
    return _permute(call, permutation(len(shape), pair, pair[::-1]), name)


def _moveaxis(call: flavors.Call, shape: tuple, name: str) -> Any:
    pair = (flavors.arguments(call)[key] for key in ("source", "destination"))
    return _permute(call, permutation(len(shape), *pair), name)


def _permute(call: flavors.Call, axes: list[int], name: str) -> Any:
    return layers.Permute(axes[1:], name=name)(call.inputs[0]) if axes[0] == 0 else None


def _concatenate(call: flavors.Call, shape: tuple, name: str) -> Any:
    given = flavors.arguments(call)
    tensors = list(given["xs"] if "xs" in given else given["values"])
    if given["axis"] % len(shape) == 0 or len(call.inputs) != len(tensors) or len(tensors) < 2:
        return None
    return layers.Concatenate(given["axis"], name=name)(tensors)


def _pooling(kind: str) -> Callable:
    """A mean or maximum over all positions."""

    def make(call: flavors.Call, shape: tuple, name: str) -> Any:
        (x,), given = call.inputs, flavors.arguments(call)
        rank = len(x.shape)
        axes = () if given["axis"] is None else np.mod(np.atleast_1d(given["axis"]), rank)
        if sorted(axes) != list(range(1, rank - 1)) or given.get("initial") is not None:
            return None
        pooling = getattr(layers, f"Global{kind}Pooling{rank - 2}D", None)
        return pooling(keepdims=bool(given["keepdims"]), name=name)(x) if pooling else None

    return make


def _pad(call: flavors.Call, shape: tuple, name: str) -> Any:
    """Zeros around positions."""
    given = flavors.arguments(call)
    x, width = call.inputs[0], np.asarray(given["pad_width"])
    rank = len(x.shape)
    plain = given["mode"].lower() == "constant" and not given.get("constant_values")
    if not plain or width.shape != (rank, 2) or width[[0, -1]].any() or rank not in (3, 4, 5):
        return None
    around = width[1:-1].tolist()
    padding = getattr(layers, f"ZeroPadding{rank - 2}D")
    return padding(tuple(map(tuple, around)) if rank > 3 else tuple(around[0]), name=name)(x)


LAYERS: dict[str, Callable] = {
    "add": _merge(layers.Add, _sum),
    "subtract": _merge(layers.Subtract, _difference),
    "multiply": _merge(layers.Multiply, _product),
    "divide": _merge(None, _quotient),
    "maximum": _maximum,
    "minimum": _merge(layers.Minimum),
    "negative": _negative,
    **{name: _activation(name) for name in ("relu6", "sigmoid", "tanh", "silu")},
    "relu": _relu,
    "clip": _clip,
    "leakyrelu": _leaky_relu,
    "softmax": _softmax,
    "hardsigmoid": _hard("hard_sigmoid"),
    "hardsilu": _hard("hard_silu"),
    **dict.fromkeys(("reshape", "squeeze", "expanddims", "ravel"), _reshape),
    "getitem": _new_axes,
    "transpose": _transpose,
    "swapaxes": _swapaxes,
    "moveaxis": _moveaxis,
    "concatenate": _concatenate,
    "mean": _pooling("Average"),
    "max": _pooling("Max"),
    "pad": _pad,
}
"""By operator: takes its call, the shape of its output and a name; see `_as_layer`."""
