"""Element-wise operators of one tensor, of several, and of tensors and constants."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import tree

from sft_keras import flavors
from sft_keras.channels.operators import operator_rule, refused
from sft_keras.channels.rearranging import staying
from sft_keras.channels.rules.activation import ELEMENTWISE
from sft_keras.channels.rules.merge import merged
from sft_keras.channels.tensor import FIXED, Channels
from sft_keras.channels.trace import Trace

ACTIVATIONS = tuple(sorted({name.replace("_", "") for name in ELEMENTWISE}))
UNARY = (
    *("absolute", "fabs", "negative", "sign", "square", "sqrt", "rsqrt", "cbrt", "reciprocal"),
    *("exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "erf", "erfc", "sinc"),
    *("sin", "cos", "tan", "arcsin", "arccos", "arctan", "asin", "acos", "atan"),
    *("sinh", "cosh", "arcsinh", "arccosh", "arctanh", "asinh", "acosh", "atanh"),
    *("floor", "ceil", "round", "rint", "trunc", "clip", "cast", "saturatecast", "nantonum"),
    *("isfinite", "isnan", "isinf", "logicalnot", "stopgradient", "identity", "copy"),
)
BINARY = (
    *("add", "addv2", "addn", "biasadd", "subtract", "multiply", "divide", "dividenonan"),
    *("multiplynonan", "power", "mod", "fmod", "floormod", "floordivide", "maximum", "minimum"),
    *("fmax", "fmin", "squareddifference", "arctan2", "atan2", "hypot", "heaviside"),
    *("logaddexp", "logaddexp2", "greater", "greaterequal", "less", "lessequal", "equal"),
    *("notequal", "logicaland", "logicalor", "logicalxor", "where"),
)


@operator_rule(*ACTIVATIONS, *UNARY, *BINARY, inputs=None)
def elementwise(walk: Trace, call: flavors.Call, *inputs: Channels):
    """An element-wise operator; arrays among its arguments lose the channels that go."""
    arrays = _arrays(flavors.arguments(call))
    if why := _obstacle(call, arrays):
        return refused(walk, call, inputs, why)
    y = merged(walk, call, inputs, lambda dead: _image(call, dead), lambda g: _annuls(call, g))
    y = _steady(walk, call, _defined(walk, call, inputs, y))
    _cut_arrays(walk, call, y, arrays)
    is_activation = len(inputs) == 1 and flavors.operator_name(call.layer) in ACTIVATIONS
    return y.with_(origin=inputs[0].origin if is_activation else None)


def _arrays(given: dict[str, Any]) -> dict[str, np.ndarray]:
    """The constant arguments that are no plain numbers."""
    found = {}
    for name, value in given.items():
        if not any(map(flavors.is_symbolic, tree.flatten(value))):
            value = np.asarray(flavors.to_numpy(value) if flavors.is_array(value) else value)
            if value.ndim:
                found[name] = value
    return found


def _obstacle(call: flavors.Call, arrays: dict[str, np.ndarray]) -> str:
    name, rank = flavors.operator_name(call.layer), len(call.outputs[0].shape)
    given = flavors.arguments(call)
    if name == "where" and len(_branches(given)) < 2:
        return "which tells positions"
    terms = tree.flatten(given["inputs"]) if name == "addn" else []
    if not all(map(flavors.is_symbolic, terms)) or any(
        array.dtype.kind not in "iufb" for array in arrays.values()
    ):
        return "which also takes what is no tensor of the graph"
    if any(a.ndim > rank or (a.ndim == rank and len(a) != 1) for a in arrays.values()):
        return "which mixes samples"
    if name == "add" and any(a.shape[-1] == 1 < a.size == max(a.shape) for a in arrays.values()):
        # Keras 3 adds such an array along the channels where it is as long as these.
        return "which may take an array of positions for a bias"
    if str(given.get("data_format") or "").startswith("NC"):
        return "which counts channels first"
    return ""


def _branches(given: dict[str, Any]) -> list:
    return [given[n] for n in ("x", "y", "x1", "x2") if given.get(n) is not None]


def _image(call: flavors.Call, dead: Sequence[np.ndarray]) -> np.ndarray:
    """What the operator makes of constants, infinite where it makes no number of them."""
    if "cast" in flavors.operator_name(call.layer) and "float" in str(call.outputs[0].dtype):
        return dead[0]  # which a smaller dtype rounds, but not the proof's
    known = [np.where(np.isfinite(values), values, 1.0)[None] for values in dead]
    image = np.asarray(flavors.run(call, known)[0][0], "float64")
    unknown = sum((~np.isfinite(values) for values in dead), start=np.zeros(image.shape, bool))
    return np.where(unknown, np.nan, np.where(np.isfinite(image), image, np.inf))


def _annuls(call: flavors.Call, gates: Sequence[Channels]) -> bool:
    """Whether 0 stays 0 beside any values of the tensors that are broadcast over channels."""
    name = flavors.operator_name(call.layer)
    # What divides by 0 is broken at all its channels alike.
    return name in ("multiply", "multiplynonan") or (name.startswith("divide") and len(gates) == 1)


def _defined(walk: Trace, call: flavors.Call, inputs: Sequence[Channels], y: Channels) -> Channels:
    """Freezes the filters whose constants the operator makes infinite or undefined."""
    broken = (y.ids != FIXED) & np.isinf(y.dead)
    walk.freeze(y.ids[broken], f"emits no finite constant behind '{call.layer.name}' when pruned")
    return y.with_(dead=np.where(np.isinf(y.dead), 0.0, y.dead))


def _steady(walk: Trace, call: flavors.Call, y: Channels) -> Channels:
    """Freezes the filters whose constants a constant array makes change with the position."""
    ids, dead = y.with_(dead=np.zeros(y.ids.shape)).compact().ids, y.dead
    for axis in range(dead.ndim):
        if ids.shape[axis] == 1 < dead.shape[axis]:
            first = np.take(dead, [0], axis)
            same = ((dead == first) | np.isnan(dead)).all(axis, keepdims=True)
            reason = f"emits a constant that changes with the position behind '{call.layer.name}'"
            walk.freeze(np.where(same, FIXED, np.broadcast_to(ids, same.shape)), reason)
            dead = first
    return y.with_(ids=ids, dead=dead)


def _cut_arrays(walk: Trace, call: flavors.Call, y: Channels, arrays: dict[str, np.ndarray]):
    """Rewrites the arrays that have a place for each of the filters."""
    axes = {
        name: [axis for axis in range(-array.ndim, 0) if _varies(y, array, axis)]
        for name, array in arrays.items()
    }
    if any(axes.values()):

        def change(stays):
            changed = {}
            for name, cut in axes.items():
                value = arrays[name]
                for axis in cut:
                    value = np.compress(staying(stays, y.ids, axis % y.ids.ndim), value, axis)
                changed[name] = value
            return changed

        walk.rewrite(call, y.ids, change)


def _varies(y: Channels, array: np.ndarray, axis: int) -> bool:
    return -axis <= y.ids.ndim and y.ids.shape[axis] > 1 and array.shape[axis] > 1
