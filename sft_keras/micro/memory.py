"""How much memory the tensors between operators take, operator by operator."""

import math
from typing import NamedTuple

import numpy as np

from sft_keras.errors import UnsupportedError
from sft_keras.tflite import schema
from sft_keras.tflite.lite_model import LiteModel, require_lite


class OperatorMemory(NamedTuple):
    """What must lie in memory while an operator runs.

    Attributes:
        operator: its name and its output's.
        bytes: of all tensors that it, or one after it, reads or writes; constants are in flash.
    """

    operator: str
    bytes: int


def memory_by_operator(lite: LiteModel) -> list[OperatorMemory]:
    """The memory that a file's activations take while each operator runs.

    A tensor lies in memory from the operator that makes it to the last that reads it. The arena
    is larger than the largest of these: it also holds the interpreter's own records and what
    kernels use inside.

    Args:
        lite: a file with one subgraph and fixed shapes.

    Returns:
        One `OperatorMemory` an operator, in the order that they run in.

    Raises:
        ArgumentError: `lite` is no `LiteModel`.
        UnsupportedError: the file has control flow, or sizes known only when it runs.

    Example:
        >>> max(memory_by_operator(lite), key=lambda x: x.bytes)
        OperatorMemory(operator="CONV_2D 'conv2d'", bytes=9216)
    """
    require_lite(lite, "memory_by_operator()")
    if len(lite.file.subgraphs) > 1:
        raise UnsupportedError(
            f"{lite.name} has control flow, whose memory depends on the data; convert a model "
            "without loops or conditions."
        )
    graph = lite.file.subgraphs[0]
    last = len(graph.operators)
    begin = dict.fromkeys(graph.inputs, 0)
    end = dict.fromkeys(graph.inputs, 0) | dict.fromkeys(graph.outputs, last)
    for place, operator in enumerate(graph.operators):
        for tensor in (*operator.inputs, *operator.outputs):
            begin.setdefault(tensor, place)
            end[tensor] = max(end.get(tensor, 0), place)
    sizes = {tensor: _bytes(lite, tensor) for tensor in begin if tensor.data is None}
    return [
        OperatorMemory(
            str(operator), sum(n for t, n in sizes.items() if begin[t] <= place <= end[t])
        )
        for place, operator in enumerate(graph.operators)
    ]


def _bytes(lite: LiteModel, tensor: schema.Tensor) -> int:
    if -1 in tensor.shape:
        raise UnsupportedError(
            f"Tensor '{tensor.name}' of {lite.name} has the dynamic shape {list(tensor.shape)}; "
            "give the Keras model's Input fixed sizes and convert again."
        )
    if tensor.dtype not in schema.NUMPY_DTYPES:
        raise UnsupportedError(
            f"Tensor '{tensor.name}' of {lite.name} is {tensor.dtype}, whose size in memory is not "
            "known; convert the model to int8."
        )
    return math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
