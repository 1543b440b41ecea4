"""Masks of attention: constants of minus a billion that are added to scores, before a softmax.

In their range all scores are one number. What a mask takes away has only to be far below what it
leaves, and how far that is the range of the scores tells: the sum gets a range that begins a little
below theirs, where masked scores are cut off.
"""

import collections
import copy
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from sft_keras.tflite import operators

ADD, SUB = schema.BuiltinOperator.ADD, schema.BuiltinOperator.SUB
SELECT = schema.BuiltinOperator.SELECT_V2  # the first one takes rows for a mask of one axis
SOFTMAX = schema.BuiltinOperator.SOFTMAX
MOVING = (schema.BuiltinOperator.RESHAPE, schema.BuiltinOperator.TRANSPOSE)
MASKED = -1e3  # what masks add at most; Keras takes -1e9, others -1e4 or minus infinity
LARGEST = -1e9
BELOW = {schema.TensorType.INT8: 8.0, schema.TensorType.INT16: 10.0}
"""How far below the lowest score masked ones are: e**-8 is less than a step of a softmax in int8,
and the kernel for int16 knows no number below e**-10."""
DTYPES: dict[int, Any] = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.BOOL: np.bool_,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.INT16: np.int16,
}


class Mask(NamedTuple):
    """A constant that is added to scores.

    Attributes:
        operator: the ADD or SUB.
        constant: which of its inputs is the mask.
        values: what is added, as floats.
        results: the tensors from the sum to the softmax.
    """

    operator: Any
    constant: int
    values: np.ndarray
    results: list[Any]


def add_selected(model: Any) -> bool:
    """Lets masks be added that a SELECT puts in the place of scores, in a float file.

    Args:
        model: a `ModelT` of `ai_edge_litert.schema_py_generated`, which is changed.

    Returns:
        Whether there was one.

    Raises:
        ValueError: a mask has other numbers in it, which would be lost in its range.
    """
    found = [
        _add_selected(model, graph, operator)
        for graph in model.subgraphs
        for operator, _ in _before_softmax(model, graph)
        if operators.code(model, operator) == SELECT
    ]
    for graph in model.subgraphs:
        for mask in list(_masks(model, graph)):
            if not np.isfinite(mask.values).all():
                _bound(model, graph, mask)
            if np.any(mask.values[mask.values > MASKED]):
                raise ValueError(
                    f"'{mask.results[0].name.decode(errors='replace')}' adds a mask and other "
                    "numbers in one constant, in whose range they are lost; add one after the other"
                )
    return any(found)


def narrow(model: Any) -> bool:
    """Gives masks, and what they are added to, ranges in which the scores keep their numbers.

    Args:
        model: a `ModelT` of a quantized file, which is changed.

    Returns:
        Whether there was a mask.
    """
    found = [
        _narrow(model, graph, mask) for graph in model.subgraphs for mask in _masks(model, graph)
    ]
    return any(found)


def _masks(model: Any, graph: Any) -> Iterator[Mask]:
    for operator, results in _before_softmax(model, graph):
        kind = operators.code(model, operator)
        for place in {ADD: (0, 1), SUB: (1,)}.get(kind, ()):
            values = _constant(model, graph.tensors[operator.inputs[place]])
            values = -values if kind == SUB and values is not None else values
            if values is not None and values.min(initial=0) <= MASKED:
                yield Mask(operator, place, values, results)


def _before_softmax(model: Any, graph: Any) -> list[tuple[Any, list[Any]]]:
    """What makes the input of each softmax, and the tensors from there to it, each read once."""
    made = {
        i: operator for operator in graph.operators for i in operators.numbers(operator.outputs)
    }
    read = collections.Counter(
        i for operator in graph.operators for i in operators.numbers(operator.inputs)
    )
    read.update(graph.outputs)
    found = []
    for softmax in graph.operators:
        if operators.code(model, softmax) != SOFTMAX:
            continue
        chain = [softmax.inputs[0]]
        while chain[-1] in made and operators.code(model, made[chain[-1]]) in MOVING:
            chain.append(made[chain[-1]].inputs[0])
        if chain[-1] in made and all(read[i] == 1 for i in chain):
            found.append((made[chain[-1]], [graph.tensors[i] for i in reversed(chain)]))
    return found


def _constant(model: Any, tensor: Any) -> np.ndarray | None:
    """The real numbers of a constant, None for what is computed or of another dtype."""
    data = model.buffers[tensor.buffer].data
    if data is None or tensor.type not in DTYPES:
        return None
    stored = np.frombuffer(bytes(data), DTYPES[tensor.type]).reshape(tensor.shape)
    scale = getattr(tensor.quantization, "scale", None)
    if scale is None:
        return stored
    return (stored.astype(np.float64) - tensor.quantization.zeroPoint[0]) * scale[0]


def _add_selected(model: Any, graph: Any, select: Any) -> bool:
    """Turns a SELECT of scores or a mask's numbers into their sum, if it is one."""
    condition, *sides = (graph.tensors[i] for i in select.inputs)
    chosen = _constant(model, condition)
    constants = [_constant(model, side) for side in sides]
    for place, values in enumerate(constants):
        if chosen is None or values is None or values.max(initial=-np.inf) > MASKED:
            continue
        kept = chosen if place == 1 else ~chosen
        added = np.where(kept, 0, np.maximum(values, LARGEST)).astype(np.float32)
        number = _new_constant(model, graph, sides[place], added)
        select.inputs = [select.inputs[2 - place], number]
        select.opcodeIndex = operators.add_code(model, ADD)
        select.builtinOptionsType = schema.BuiltinOptions.AddOptions
        select.builtinOptions = schema.AddOptionsT()
        return True
    return False


def _bound(model: Any, graph: Any, mask: Mask) -> None:
    """Puts a number in the place of minus infinity, which nothing can be calibrated with."""
    constant = graph.tensors[mask.operator.inputs[mask.constant]]
    sign = -1 if operators.code(model, mask.operator) == SUB else 1
    values = (sign * np.clip(mask.values, LARGEST, -LARGEST)).astype(np.float32)
    mask.operator.inputs = list(mask.operator.inputs)
    mask.operator.inputs[mask.constant] = _new_constant(model, graph, constant, values)


def _new_constant(model: Any, graph: Any, like: Any, stored: np.ndarray) -> int:
    """The number of a constant that is `like` another but for its numbers."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(stored.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor = copy.copy(like)
    tensor.name = like.name + b"_mask"
    tensor.shape, tensor.shapeSignature = list(stored.shape), None
    tensor.buffer = len(model.buffers) - 1
    tensor.quantization = copy.copy(like.quantization)
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _narrow(model: Any, graph: Any, mask: Mask) -> bool:
    """Sets the ranges of a mask and of what it makes; says whether their dtype has any."""
    scores = graph.tensors[mask.operator.inputs[1 - mask.constant]]
    constant = graph.tensors[mask.operator.inputs[mask.constant]]
    if scores.type not in BELOW or scores.quantization.scale is None:
        return False
    dtype = DTYPES[scores.type]
    step, zero = scores.quantization.scale[0], scores.quantization.zeroPoint[0]
    low, high = (float(step * (end - zero)) for end in (np.iinfo(dtype).min, np.iinfo(dtype).max))
    lowest = low - BELOW[scores.type]
    values = np.where(mask.values <= MASKED, lowest - high, 0)
    if operators.code(model, mask.operator) == SUB:
        values = -values
    quantization = _range(constant.quantization, dtype, min(values.min(), 0), max(values.max(), 0))
    stored = np.rint(values / quantization.scale[0]) + quantization.zeroPoint[0]
    number = _new_constant(model, graph, constant, stored.astype(dtype))
    graph.tensors[number].quantization = quantization
    mask.operator.inputs = list(mask.operator.inputs)
    mask.operator.inputs[mask.constant] = number
    for tensor in mask.results:
        tensor.quantization = _range(tensor.quantization, dtype, lowest, high)
    return True


def _range(quantization: Any, dtype: Any, low: float, high: float) -> Any:
    """A `QuantizationParametersT` like another for numbers from `low` to `high`."""
    limits = np.iinfo(dtype)
    if dtype == np.int16:  # symmetric
        scale, zero = max(-low, high) / limits.max, 0
    else:
        scale = (high - low) / (limits.max - limits.min)
        zero = round(limits.min - low / scale)
    changed = copy.copy(quantization)
    changed.scale, changed.zeroPoint = np.array([scale], np.float32), np.array([zero], np.int64)
    return changed
