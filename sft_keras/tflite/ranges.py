"""Ranges that the converter gives and kernels do not keep to.

An LSTM writes its state once, as its output too, and reads it in the range of its state input at
the next step; a reversal copies bytes. Where a reader wants another range, as a concatenation wants
one for all that it joins, the converter gives it to the output, and the numbers become others.
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
    """Lets operators write as they do, and a QUANTIZE behind them change the range.

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
