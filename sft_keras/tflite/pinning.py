"""Keeps the ranges of tensors that are joined and read by others too.

A concatenation in int8 has one range for all that it reads and writes. The converter takes that of
its result and gives it to what is joined, whoever else reads that. Where a file says by a QUANTIZE
and a DEQUANTIZE which range a tensor has, it puts a QUANTIZE in front of the concatenation instead.
"""

import collections
import copy
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from sft_keras.tflite import operators
from sft_keras.tflite.packing import packed


class Range(NamedTuple):
    """The lowest and the highest number that a tensor holds."""

    low: float
    high: float


OPERATOR = schema.BuiltinOperator
JOINING = {
    *(OPERATOR.CONCATENATION, OPERATOR.PACK, OPERATOR.MAXIMUM, OPERATOR.MINIMUM),
    *(OPERATOR.SELECT, OPERATOR.SELECT_V2, OPERATOR.PADV2),
}
"""What has one range for several inputs and the output."""
PASSING = {
    *(OPERATOR.RESHAPE, OPERATOR.SQUEEZE, OPERATOR.EXPAND_DIMS, OPERATOR.TRANSPOSE),
    *(OPERATOR.SLICE, OPERATOR.STRIDED_SLICE, OPERATOR.SPLIT, OPERATOR.SPLIT_V, OPERATOR.UNPACK),
    *(OPERATOR.GATHER, OPERATOR.GATHER_ND, OPERATOR.PAD, OPERATOR.MIRROR_PAD, OPERATOR.TILE),
    *(OPERATOR.BROADCAST_TO, OPERATOR.MAX_POOL_2D, OPERATOR.AVERAGE_POOL_2D, OPERATOR.TOPK_V2),
    *(OPERATOR.REDUCE_MAX, OPERATOR.REDUCE_MIN, OPERATOR.RESIZE_BILINEAR),
    *(OPERATOR.RESIZE_NEAREST_NEIGHBOR, OPERATOR.SPACE_TO_DEPTH, OPERATOR.DEPTH_TO_SPACE),
    *(OPERATOR.SPACE_TO_BATCH_ND, OPERATOR.BATCH_TO_SPACE_ND),
}
"""What has one range for its only input of floats and its outputs; found by trying."""
FIXED = {
    **dict.fromkeys((OPERATOR.SOFTMAX, OPERATOR.LOGISTIC), Range(0, 255 / 256)),
    **dict.fromkeys((OPERATOR.TANH, OPERATOR.L2_NORMALIZATION), Range(-1, 127 / 128)),
    OPERATOR.LOG_SOFTMAX: Range(-255 / 16, 0),
}
"""What kernels write in one range, whatever is measured."""
TOLERANCE = 0.1  # of its own range: how far off either end of another one may be
SMALLEST = 1e-6  # a range that is narrower tells nothing
LOWEST, HIGHEST = -128, 127


def pinned(content: bytes) -> bytes:
    """A measured file that says which ranges tensors have, if others than those joined need them.

    Args:
        content: a float `.tflite` file in which the converter has noted what it measured.

    Returns:
        The bytes of a file with the same ends and numbers; `content` itself if all may have the
        range of what they are joined to.
    """
    model = schema.ModelT.InitFromPackedBuf(content)
    found = [_Joins(model, graph).ranges() for graph in model.subgraphs]
    for number, ranges in enumerate(found):
        _pass_on(model, model.subgraphs[number], ranges)
        for tensor, own in ranges.items():
            _pin(model, number, tensor, own)
    return packed(model) if any(found) else content


class _Joins:
    """What is joined in a subgraph. Numbers stand for tensors."""

    def __init__(self, model: Any, graph: Any):
        self._model, self._graph = model, graph
        self._maker = {i: x for x in graph.operators for i in operators.numbers(x.outputs)}
        used = {i for x in graph.operators for i in operators.numbers(x.inputs)}
        used |= set(operators.numbers(graph.outputs))
        self._reads = collections.Counter(set(operators.numbers(graph.outputs)))
        for operator in graph.operators:
            # What makes something that nobody reads is there for measuring only.
            if used.intersection(operators.numbers(operator.outputs)):
                self._reads.update(set(operators.numbers(operator.inputs)))

    def ranges(self) -> dict[int, Range]:
        """The ranges of all that is joined, none if no reader would get another one than it needs.

        All, for what is left open would take the range that is given to what it is joined to.
        """
        given: dict[int, Range] = {}
        is_needed = False
        for operator in reversed(self._graph.operators):  # a result may be joined again
            if operators.code(self._model, operator) not in JOINING:
                continue
            (result,) = operators.numbers(operator.outputs)
            joined = given.get(result) or self._range(result)
            if joined is None:
                continue
            given[result] = joined
            for number in _floats(self._model, self._graph, operator):
                origin, is_shared = self._origin(number)
                own = self._range(origin)
                is_off = own is not None and _is_off(own, joined)
                is_needed |= is_shared and is_off
                if own and (self._code(origin) in FIXED or (is_shared and is_off)):
                    given[origin] = own
                given.setdefault(origin, joined)
        return given if is_needed else {}

    def _origin(self, number: int) -> tuple[int, bool]:
        """From where a tensor has its range, and whether others read something in that range."""
        is_shared = self._reads[number] > 1
        while self._code(number) in PASSING:
            maker = self._maker[number]
            sources = _floats(self._model, self._graph, maker)
            if len(sources) != 1:
                break  # a constant
            (number,) = sources
            is_shared = is_shared or self._reads[number] > 1 or len(maker.outputs) > 1
        return number, is_shared

    def _code(self, number: int) -> int | None:
        """Which kind of operator makes a tensor."""
        maker = self._maker.get(number)
        return None if maker is None else operators.code(self._model, maker)

    def _range(self, number: int) -> Range | None:
        """The range of what was measured and zero, None where that is nothing."""
        if self._code(number) in FIXED:
            return FIXED[self._code(number)]
        measured = self._graph.tensors[number].quantization
        if measured is None or measured.min is None or measured.max is None:
            return None
        found = Range(float(np.min([0, *measured.min])), float(np.max([0, *measured.max])))
        return found if SMALLEST < found.high - found.low < np.inf else None


def _floats(model: Any, graph: Any, operator: Any) -> list[int]:
    """What an operator reads of floats that are computed."""
    return [
        i
        for i in operators.numbers(operator.inputs)
        if i >= 0
        and graph.tensors[i].type == schema.TensorType.FLOAT32
        and model.buffers[graph.tensors[i].buffer].data is None
    ]


def _is_off(own: Range, other: Range) -> bool:
    off = max(abs(own.low - other.low), abs(own.high - other.high))
    return off > TOLERANCE * (own.high - own.low)


def _pass_on(model: Any, graph: Any, ranges: dict[int, Range]) -> None:
    """Gives the same range to what is made of a tensor by operators that keep it."""
    for operator in graph.operators:
        if operators.code(model, operator) in PASSING:
            given = [ranges[i] for i in _floats(model, graph, operator) if i in ranges]
            for number in operators.numbers(operator.outputs) if given else ():
                if graph.tensors[number].type == schema.TensorType.FLOAT32:
                    ranges[number] = given[0]


def _pin(model: Any, number: int, tensor: int, own: Range) -> None:
    """Lets all who read a tensor read what a QUANTIZE and a DEQUANTIZE make of it."""
    graph = model.subgraphs[number]
    stored, restored = copy.copy(graph.tensors[tensor]), copy.copy(graph.tensors[tensor])
    stored.name, restored.name = stored.name + b"_stored", restored.name + b"_restored"
    stored.type, stored.quantization = schema.TensorType.INT8, _quantization(own)
    restored.quantization = None
    first, second = len(graph.tensors), len(graph.tensors) + 1
    graph.tensors += [stored, restored]
    place = 0
    for i, operator in enumerate(graph.operators):
        operator.inputs = _moved(operator.inputs, tensor, second)
        if tensor in operators.numbers(operator.outputs):
            place = i + 1
    graph.outputs = _moved(graph.outputs, tensor, second)
    for signature in model.signatureDefs or ():
        for end in signature.outputs if signature.subgraphIndex == number else ():
            (end.tensorIndex,) = _moved([end.tensorIndex], tensor, second)
    pair = operators.quantize(model, tensor, first, stored), _dequantize(model, first, second)
    graph.operators[place:place] = pair


def _moved(numbers: Any, old: int, new: int) -> list[int]:
    return [new if number == old else number for number in operators.numbers(numbers)]


def _quantization(own: Range) -> Any:
    scale = (own.high - own.low) / (HIGHEST - LOWEST)
    quantization = schema.QuantizationParametersT()
    quantization.scale = np.array([scale], np.float32)
    quantization.zeroPoint = np.array([round(LOWEST - own.low / scale)], np.int64)
    return quantization


def _dequantize(model: Any, source: int, target: int) -> Any:
    operator = schema.OperatorT()
    # Version 2 is the one that takes int8.
    operator.opcodeIndex = operators.add_code(model, schema.BuiltinOperator.DEQUANTIZE, 2)
    operator.inputs, operator.outputs = [source], [target]
    return operator
