"""Ranges that the converter gives and kernels do not keep to.

An LSTM writes its state once, as its output too, and reads it in the range of its state input at
the next step; a reversal copies bytes. Where a reader wants another range, as a concatenation wants
one for all that it joins, the converter gives it to the output, and the numbers become others.
In int16 it gives constants that are all zero a scale of zero, on which sums abort the process, and
layers with the same bias one constant in the scale of the first of them.
"""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from sft_keras.tflite import operators

LSTM = schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
WRITES_RANGE_OF = {LSTM: 18, schema.BuiltinOperator.REVERSE_V2: 0}
"""In the range of which of its inputs an operator writes; an LSTM in that of its state."""
SMALLEST_CELL = 2.0**-15  # LiteRT has no tanh for a cell whose numbers stay below that of int16
CELL = 19
BIASES = {
    schema.BuiltinOperator.CONV_2D: (0, 1, 2),
    schema.BuiltinOperator.DEPTHWISE_CONV_2D: (0, 1, 2),
    schema.BuiltinOperator.FULLY_CONNECTED: (0, 1, 2),
    schema.BuiltinOperator.TRANSPOSE_CONV: (2, 1, 3),
}
"""Where an operator has its data, its weights and its bias."""
BIAS_TOLERANCE = 1e-3  # scales are products of two float32
BIAS_DTYPES: dict[int, Any] = {schema.TensorType.INT32: np.int32, schema.TensorType.INT64: np.int64}
HIDDEN = 4  # the last intermediate of an LSTM, from which LiteRT takes the range of its state


def mend(model: Any) -> bool:
    """Lets operators write as they do, a QUANTIZE behind them change the range, and zeros have one.

    Args:
        model: a `ModelT` of `ai_edge_litert.schema_py_generated`, which is changed.

    Returns:
        Whether there was something to change.
    """
    changes = [
        change
        for graph in model.subgraphs
        for operator in list(graph.operators)
        for change in _mend(model, graph, operator)
    ]
    return any(changes)


def _mend(model: Any, graph: Any, operator: Any) -> Iterator[bool]:
    """Whether something in an operator had to be changed."""
    if not _has(operator.inputs) or not _has(operator.outputs):
        return  # what handles variables
    yield _scale_zeros(model, graph, operator)
    yield _scale_bias(model, graph, operator)
    code = model.operatorCodes[operator.opcodeIndex].builtinCode
    if code not in WRITES_RANGE_OF:
        return
    tensors = graph.tensors
    written = tensors[operator.inputs[WRITES_RANGE_OF[code]]].quantization
    if code == LSTM and getattr(written, "scale", None) is not None:
        yield _widen(tensors[operator.inputs[CELL]].quantization)
        hidden = tensors[operator.intermediates[HIDDEN]]
        yield not _same(written, hidden.quantization)
        hidden.quantization = written
    yield not _same(written, tensors[operator.outputs[0]].quantization)
    if not _same(written, tensors[operator.outputs[0]].quantization):
        _requantize(model, graph, operator, written)


def _has(indices: Any) -> bool:
    return indices is not None and len(indices) > 0


def _scale_zeros(model: Any, graph: Any, operator: Any) -> bool:
    """Gives constants of scale zero, which are zero, the scale of what the operator writes."""
    tensors = [graph.tensors[i] for i in operator.inputs if i >= 0]
    empty = [
        tensor.quantization
        for tensor in tensors
        if model.buffers[tensor.buffer].data is not None
        and getattr(tensor.quantization, "scale", None) is not None
        and not np.any(tensor.quantization.scale)
    ]
    scale = getattr(graph.tensors[operator.outputs[0]].quantization, "scale", None)
    if scale is None:
        return False
    for quantization in empty:
        quantization.scale = np.full_like(quantization.scale, np.max(scale))
    return bool(empty)


def _scale_bias(model: Any, graph: Any, operator: Any) -> bool:
    """Gives a layer whose bias is in the scale of another a bias of its own."""
    code = model.operatorCodes[operator.opcodeIndex].builtinCode
    places = BIASES.get(code, (0, 0, len(operator.inputs)))
    if places[-1] >= len(operator.inputs) or operator.inputs[places[-1]] < 0:
        return False
    data, weights, bias = (graph.tensors[operator.inputs[place]] for place in places)
    given = getattr(bias.quantization, "scale", None)
    if bias.type not in BIAS_DTYPES or given is None or model.buffers[bias.buffer].data is None:
        return False
    wanted = np.asarray(data.quantization.scale[0] * weights.quantization.scale, np.float32)
    if np.allclose(given, wanted, rtol=BIAS_TOLERANCE, atol=0):
        return False
    dtype = BIAS_DTYPES[bias.type]
    numbers = np.frombuffer(bytes(model.buffers[bias.buffer].data), dtype) * (given / wanted)
    info = np.iinfo(dtype)
    buffer = schema.BufferT()
    buffer.data = np.clip(np.rint(numbers), info.min, info.max).astype(dtype).view(np.uint8)
    model.buffers.append(buffer)
    own = copy.copy(bias)
    own.name = graph.tensors[operator.outputs[0]].name + b"_bias"
    own.buffer = len(model.buffers) - 1
    own.quantization = copy.copy(bias.quantization)
    own.quantization.scale = wanted
    own.quantization.zeroPoint = np.zeros(wanted.size, np.int64)
    graph.tensors.append(own)
    operator.inputs = [*operator.inputs]
    operator.inputs[places[-1]] = len(graph.tensors) - 1
    return True


def _widen(cell: Any) -> bool:
    is_small = float(cell.scale[0]) < SMALLEST_CELL
    cell.scale = np.maximum(cell.scale, np.float32(SMALLEST_CELL))
    return is_small


def _same(first: Any, second: Any) -> bool:
    return _numbers(first) == _numbers(second)


def _numbers(quantization: Any) -> list:
    # Float tensors have no quantization, or one without numbers.
    given = [getattr(quantization, key, None) for key in ("scale", "zeroPoint")]
    return [[] if values is None else np.asarray(values).tolist() for values in given]


def _requantize(model: Any, graph: Any, operator: Any, written: Any) -> None:
    """Puts a QUANTIZE between an operator and its output."""
    (output,) = operator.outputs
    tensor = copy.copy(graph.tensors[output])
    tensor.name, tensor.quantization = tensor.name + b"_written", written
    graph.tensors.append(tensor)
    operator.outputs = [len(graph.tensors) - 1]
    quantize = operators.quantize(model, operator.outputs[0], output, tensor)
    graph.operators.insert(graph.operators.index(operator) + 1, quantize)
