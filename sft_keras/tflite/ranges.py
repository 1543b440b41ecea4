"""Ranges that the converter gives and kernels do not keep to.

An LSTM writes its state once, as its output too, and reads it in the range of its state input at
the next step; a reversal copies bytes. Where a reader wants another range, as a concatenation wants
one for all that it joins, the converter gives it to the output, and the numbers become others.
In int16 it gives constants that are all zero a scale of zero, on which sums abort the process.
"""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from sft_keras.tflite.packing import packed

LSTM = schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM
WRITES_RANGE_OF = {LSTM: 18, schema.BuiltinOperator.REVERSE_V2: 0}
"""In the range of which of its inputs an operator writes; an LSTM in that of its state."""
SMALLEST_CELL = 2.0**-15  # LiteRT has no tanh for a cell whose numbers stay below that of int16
CELL = 19
HIDDEN = 4  # the last intermediate of an LSTM, from which LiteRT takes the range of its state


def mended(content: bytes) -> bytes:
    """Lets operators write as they do, a QUANTIZE behind them change the range, and zeros have one.

    Args:
        content: a `.tflite` file.

    Returns:
        The bytes of a file with the same ends; `content` itself if nothing is to be changed.
    """
    model = schema.ModelT.InitFromPackedBuf(content)
    changes = [
        change
        for graph in model.subgraphs
        for operator in list(graph.operators)
        for change in _mend(model, graph, operator)
    ]
    return packed(model) if any(changes) else content


def _mend(model: Any, graph: Any, operator: Any) -> Iterator[bool]:
    """Whether something in an operator had to be changed."""
    yield _scale_zeros(model, graph, operator)
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
    output = graph.tensors[operator.outputs[0]].quantization if operator.outputs else None
    scale = getattr(output, "scale", None)
    for quantization in empty if scale is not None else []:
        quantization.scale = np.full_like(quantization.scale, np.max(scale))
    return bool(empty) and scale is not None


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
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.QUANTIZE
    code.version = 1 + (tensor.type == schema.TensorType.INT16)  # as the converter numbers them
    model.operatorCodes.append(code)
    quantize = schema.OperatorT()
    quantize.opcodeIndex = len(model.operatorCodes) - 1
    quantize.inputs, quantize.outputs = operator.outputs, [output]
    graph.operators.insert(graph.operators.index(operator) + 1, quantize)
