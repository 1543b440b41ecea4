"""The operators of functional graphs: `x + y`, `keras.ops.reshape(x, …)`, `tf.reshape(x, …)`.

Keras 3 keeps an operation's static arguments in its config and the others in the call; tf_keras
keeps all of them in the call. Here both are read and changed under the names of Keras 3.
"""

import inspect
from typing import Any

import numpy as np
from keras import tree

from sft_keras.flavors.arrays import to_numpy, to_tensor
from sft_keras.flavors.graphs import Call, call_of
from sft_keras.flavors.kinds import is_symbolic, is_tf_keras

# Where a TensorFlow function calls an argument otherwise than keras.ops.
_NAMES = {
    "perm": "axes",
    "shape": "newshape",
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
    "preserve_aspect_ratio": "pad_to_aspect_ratio",
}


def arguments(call: Call) -> dict[str, Any]:
    """The arguments of an operator's call, static ones as well, by their names in Keras 3.

    Args:
        call: the call of an operator.

    Returns:
        Names and values; slices in a `key` are `slice` objects.
    """
    # Not from the config, which an operation of Keras 3 may refuse to give.
    found = {} if is_tf_keras(call.layer) else dict(vars(call.layer))
    for name, value in _bound(call).items():
        name = _NAMES.get(name, name)
        if value is not None or name not in found:
            found[name] = value
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
    given = {
        name: changed.get(_NAMES.get(name, name), value) if value is not None else None
        for name, value in _bound(call).items()
    }
    if missing := changed.keys() - {_NAMES.get(name, name) for name in given}:
        given |= {
            name: changed[_NAMES.get(name, name)]
            for name in _parameters(call)
            if _NAMES.get(name, name) in missing
        }
    positional = list(_parameters(call))[: len(call.args)]
    kwargs = {name: given[name] for name in given if name not in positional}
    return tuple(given[name] for name in positional), kwargs


def _bound(call: Call) -> dict[str, Any]:
    names = list(_parameters(call))
    return {**dict(zip(names, call.args, strict=False)), **call.kwargs}


def _parameters(call: Call) -> dict:
    """The parameters of the function that an operator calls."""
    function = call.layer.function if is_tf_keras(call.layer) else call.layer.call
    return dict(inspect.signature(function).parameters)


def run(call: Call, values: list[np.ndarray]) -> list[np.ndarray]:
    """What an operator makes of other inputs.

    Args:
        call: the call of an operator.
        values: arrays in place of the call's symbolic inputs, with a batch axis; if they are of
            floats, then constant arrays among the arguments are taken in the same precision.

    Returns:
        The outputs, flat.
    """
    left = iter(values)
    dtype = values[0].dtype

    def argument(x):
        if is_symbolic(x):
            return to_tensor(next(left), call.layer)
        if dtype.kind == "f" and is_array(x) and to_numpy(x).dtype.kind == "f":
            return to_tensor(np.asarray(to_numpy(x), dtype), call.layer)
        return x

    args, kwargs = tree.map_structure(argument, (call.args, call.kwargs))
    return [np.asarray(to_numpy(x)) for x in tree.flatten(call.layer.call(*args, **kwargs))]


def is_array(value: Any) -> bool:
    """Whether an argument is an array, or a tensor with values."""
    return hasattr(value, "shape") and hasattr(value, "dtype") and not is_symbolic(value)


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
