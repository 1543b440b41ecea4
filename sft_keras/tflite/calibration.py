"""Lets the converter measure ranges on numbers that are still there.

It runs the float file and looks at what an operator read behind its run. LiteRT lets ADD, MUL and
others write their result over an input that nobody else reads, so the range of a branch would be
that of the sum. A reader of its own keeps each such input.
"""

import math
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from sft_keras.tflite import masks, operators, unused
from sft_keras.tflite.overwriting import IN_PLACE
from sft_keras.tflite.packing import packed

READ_IN_PLACE = {getattr(schema.BuiltinOperator, name): count for name, count in IN_PLACE.items()}
RESHAPE = schema.BuiltinOperator.RESHAPE


def prepared(content: bytes) -> bytes:
    """A float file in which masks are added, and a RESHAPE reads whatever might be written over.

    Args:
        content: a `.tflite` file that is to be calibrated.

    Returns:
        The bytes of a file with the same ends and numbers.

    Raises:
        ValueError: a mask has other numbers in it.
    """
    model = schema.ModelT.InitFromPackedBuf(content)
    changes = [masks.add_selected(model), *(_add_readers(model, x) for x in model.subgraphs)]
    return _packed(model) if any(changes) else content


def cleaned(content: bytes) -> bytes:
    """The quantized file, without readers that the converter left in.

    Args:
        content: a `.tflite` file.

    Returns:
        The bytes of a file in which every RESHAPE is read; `content` itself if it is so.
    """
    model = schema.ModelT.InitFromPackedBuf(content)
    left = [_remove_readers(model, graph) for graph in model.subgraphs]
    return _packed(model) if any(left) else content


def _packed(model: Any) -> bytes:
    unused.remove(model)
    return packed(model)


def _add_readers(model: Any, graph: Any) -> bool:
    """Whether something in a subgraph is computed that might be written over."""
    read = set()
    for operator in graph.operators:
        count = READ_IN_PLACE.get(operators.code(model, operator), 0)
        read |= set(operators.numbers(operator.inputs)[:count])
    ordered = []
    for operator in graph.operators:
        written = [
            i
            for i in operators.numbers(operator.outputs)
            if i in read and _is_float(graph.tensors[i])
        ]
        ordered += [operator, *(_reader(model, graph, i) for i in written)]
    added = len(ordered) > len(graph.operators)
    graph.operators = ordered
    return added


def _is_float(tensor: Any) -> bool:
    return tensor.type == schema.TensorType.FLOAT32


def _reader(model: Any, graph: Any, number: int) -> Any:
    """A RESHAPE of a tensor to one axis, which nobody reads."""
    source = graph.tensors[number]
    result = schema.TensorT()
    result.name, result.type, result.buffer = source.name + b"_read", source.type, 0
    result.shape = [math.prod(source.shape)]
    graph.tensors.append(result)
    operator = schema.OperatorT()
    operator.opcodeIndex = _reshape_code(model)
    operator.inputs, operator.outputs = [number], [len(graph.tensors) - 1]
    operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
    operator.builtinOptions = schema.ReshapeOptionsT()
    operator.builtinOptions.newShape = [-1]
    return operator


def _reshape_code(model: Any) -> int:
    codes = [code.builtinCode for code in model.operatorCodes]
    return codes.index(RESHAPE) if RESHAPE in codes else operators.add_code(model, RESHAPE)


def _remove_readers(model: Any, graph: Any) -> bool:
    """Whether a subgraph had a RESHAPE that nobody reads."""
    read = {i for operator in graph.operators for i in operators.numbers(operator.inputs)} | set(
        graph.outputs
    )
    kept = [
        operator
        for operator in graph.operators
        if operators.code(model, operator) != RESHAPE
        or read.intersection(operators.numbers(operator.outputs))
    ]
    removed = len(kept) < len(graph.operators)
    graph.operators = kept
    return removed
