"""The operators of functional graphs: `x + y`, `keras.ops.reshape(x, …)`, `tf.reshape(x, …)`.

Keras 3 keeps an operation's static arguments in its config and the others in the call; tf_keras
keeps all of them in the call. Here both are read and changed under the names of Keras 3.
"""

import inspect
from typing import Any

import numpy as np
from keras import tree

from sft_keras.errors import UnsupportedError
from sft_keras.flavors.arrays import to_numpy, to_tensor
from sft_keras.flavors.graphs import Call, call_of
from sft_keras.flavors.kinds import is_operator, is_symbolic, is_tf_keras

# Where a TensorFlow function calls an argument otherwise than keras.ops.
_NAMES = {
    "perm": "axes",
    "num_or_size_splits": "indices_or_sections",
    "paddings": "pad_width",
    "multiples": "repeats",
    "slice_spec": "key",
    "squeeze_dims": "axis",
    "reduction_indices": "axis",
    "dim": "axis",
    "dims": "axis",
    "keep_dims": "keepdims",
    "concat_dim": "axis",
    "clip_value_min": "x_min",
    "clip_value_max": "x_max",
}


def arguments(call: Call) -> dict[str, Any]:
    """The arguments of an operator's call, static ones as well, by their names in Keras 3.

    What TensorFlow calls otherwise only in some functions keeps its name: `shape`, `params`.

    Args:
        call: the call of an operator.

    Returns:
        Names and values, defaults too; slices in a `key` are `slice` objects.
    """
    found: dict[str, Any] = {}
    for name, value in _bound(call).items():
        name = _NAMES.get(name, name)
        if value is not None or name not in found:
            found[name] = value
    if not is_tf_keras(call.layer):
        # Not from the config, which an operation of Keras 3 may refuse to give.
        found |= {k: x for k, x in vars(call.layer).items() if k[0] != "_" and k != "name"}
    if "key" in found:
        key = found["key"] if isinstance(found["key"], tuple | list) else (found["key"],)
        found["key"] = tuple(_as_slice(x) for x in key)
    return found


def with_arguments(call: Call, changed: dict[str, Any]) -> tuple[tuple, dict]:
    """The call's `(args, kwargs)` with some arguments changed, of those that it takes.

    Args:
        call: the call of an operator.
        changed: new values by their names in Keras 3.
    """
    if "key" in changed and is_tf_keras(call.layer):
        changed = {**changed, "key": tuple(map(_as_dict, changed["key"]))}
    parameters = list(_parameters(call))
    given = {**dict(zip(parameters, call.args, strict=False)), **call.kwargs}
    for name, value in changed.items():
        aliases = [x for x in parameters if _NAMES.get(x, x) == name]
        used = [x for x in aliases if given.get(x) is not None]
        if aliases:
            given[(used or aliases)[0]] = value
    positional = parameters[: len(call.args)]
    kwargs = {name: given[name] for name in given if name not in positional}
    return tuple(given[name] for name in positional), kwargs


def _bound(call: Call) -> dict[str, Any]:
    """The call's arguments, and the defaults of those that it was not given."""
    parameters = _parameters(call)
    defaults = {n: p.default for n, p in parameters.items() if p.default is not p.empty}
    given: dict[str, Any] = {}
    for position, (name, parameter) in enumerate(parameters.items()):
        if parameter.kind is parameter.VAR_POSITIONAL:
            given[name] = call.args[position:]
        elif parameter.kind is not parameter.VAR_KEYWORD and position < len(call.args):
            given[name] = call.args[position]
    return defaults | given | call.kwargs


def _parameters(call: Call) -> dict:
    """The parameters of the function that an operator calls."""
    function = call.layer.function if is_tf_keras(call.layer) else call.layer.call
    return dict(inspect.signature(function).parameters)


def config(layer: Any) -> dict:
    """The config of a layer or operator, of one too that Keras 3 cannot save."""
    try:
        return layer.get_config()
    except NotImplementedError:  # an operation made with NumPy integers or arrays
        names = inspect.signature(type(layer)).parameters
        if not is_operator(layer) or any(not hasattr(layer, name) for name in names):
            raise
        return {name: getattr(layer, name) for name in names}


def arguments_in(dtype: str, call: Call) -> tuple[tuple, dict]:
    """A call's `(args, kwargs)`; an operator's with its floating arrays in `dtype`."""

    def changed(x):
        # TensorFlow's dtypes; a name of one is never another argument's value.
        is_dtype = getattr(x, "is_floating", False) or (isinstance(x, str) and x[:5] == "float")
        if is_array(x) and not is_variable(x) and "float" in dtype_name(x):
            return np.asarray(to_numpy(x), dtype)
        return dtype if is_dtype else x

    if not is_operator(call.layer):
        return call.args, call.kwargs
    args, kwargs = tree.map_structure(changed, (call.args, call.kwargs))
    return args, kwargs


def run(call: Call, values: list[np.ndarray]) -> list[np.ndarray]:
    """What an operator makes of other inputs.

    Args:
        call: the call of an operator.
        values: arrays in place of the call's symbolic inputs, with a batch axis; floats are taken
            as the inputs' dtype where that is of integers or booleans, and constant arrays of
            floats among the arguments in the precision of `values`.

    Returns:
        The outputs, flat.

    Raises:
        UnsupportedError: the operator cannot be run on such values.
    """
    left = iter(values)
    dtype = values[0].dtype

    def argument(x):
        if is_symbolic(x):
            value, kept = next(left), dtype_name(x)
            exact = dtype.kind == "f" and "float" not in kept
            return to_tensor(value.astype(kept) if exact else value, call.layer)
        if dtype.kind == "f" and is_array(x) and to_numpy(x).dtype.kind == "f":
            return to_tensor(np.asarray(to_numpy(x), dtype), call.layer)
        return x

    args, kwargs = tree.map_structure(argument, (call.args, call.kwargs))
    try:
        made = call.layer.call(*args, **kwargs)
    except Exception as error:  # whatever a library raises where a size or dtype does not fit
        raise UnsupportedError(f"Operator '{call.layer.name}' cannot be run: {error}") from error
    return [np.asarray(to_numpy(x)) for x in tree.flatten(made)]


def dtype_name(tensor: Any) -> str:
    """The name of the dtype of a tensor of either Keras."""
    return str(getattr(tensor.dtype, "name", tensor.dtype))


def is_array(value: Any) -> bool:
    """Whether an argument is an array, or a tensor with values."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and not is_symbolic(value)


def is_variable(value: Any) -> bool:
    """Whether an argument is a variable, whose values may change."""
    # TensorFlow's and Keras 3's own; no other array or tensor can be assigned to.
    return is_array(value) and hasattr(value, "assign")


def consumers(call: Call) -> list[Call]:
    """The calls that take an output of this call of an operator, in any model."""
    # Neither Keras lists them publicly.
    return [call_of(node) for node in call.layer._outbound_nodes]


# tf_keras keeps the slices of a key as dictionaries, which can be saved.
def _as_slice(item: Any) -> Any:
    if isinstance(item, dict):
        return slice(item["start"], item["stop"], item["step"])
    return item


def _as_dict(item: Any) -> Any:
    if isinstance(item, slice):
        return {"start": item.start, "stop": item.stop, "step": item.step}
    return item
