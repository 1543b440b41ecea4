"""Operators that runtimes let write over numbers which are read again.

LiteRT's planner of memory gives a reshaped tensor the place of the tensor that it is made from, and
an operator that may work in place the place of its input, if that input and the tensor whose place
it has are read once. It does not look at what else has the same place. So of a tensor that is read
once, by a reshape whose result is read by another reshape and later, the numbers are lost where the
second result is added to something. Kernels of XNNPACK and TFLite Micro do not work in place.
Source: `arena_planner.cc` and the `inplace_operator` of LiteRT's kernels.
"""

import collections
import copy
import math
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from sft_keras.tflite.operators import duplicate

OPERATORS = schema.BuiltinOperator
VIEWS = {OPERATORS.RESHAPE, OPERATORS.EXPAND_DIMS, OPERATORS.SQUEEZE, OPERATORS.BITCAST}
"""Whose result has the place of the first input, with the same bytes in it."""
IN_PLACE = {
    **dict.fromkeys((OPERATORS.ADD, OPERATORS.SUB, OPERATORS.MUL, OPERATORS.DIV), 2),
    **dict.fromkeys((OPERATORS.SOFTMAX, OPERATORS.DYNAMIC_UPDATE_SLICE), 1),
}
"""Whose result may have the place of one of so many of the first inputs."""
SCALAR = 4  # bytes: the planner gives results that are no larger a place of their own
SIZES = {
    **dict.fromkeys((schema.TensorType.INT8, schema.TensorType.UINT8, schema.TensorType.BOOL), 1),
    **dict.fromkeys((schema.TensorType.INT16, schema.TensorType.FLOAT16), 2),
    **dict.fromkeys((schema.TensorType.INT64, schema.TensorType.FLOAT64), 8),
}
"""Bytes of a number where it is not four."""


def mend(model: Any) -> int:
    """Lets operators work on a copy where they would write over what is read again.

    Args:
        model: a `ModelT` of `ai_edge_litert.schema_py_generated`, which is changed.

    Returns:
        How many copies were put in; each is one tensor more, behind those that were there.
    """
    return sum(_Plan(model, graph).mend() for graph in model.subgraphs)


class _Plan:
    """Which tensors of a graph have the same place in memory. Numbers stand for tensors."""

    def __init__(self, model: Any, graph: Any):
        self._model, self._graph = model, graph
        self._inputs, self._outputs = set(_ends(graph.inputs)), set(_ends(graph.outputs))
        self._reads = collections.Counter([*self._inputs, *self._outputs])
        self._last_read = dict.fromkeys(self._outputs, len(graph.operators))
        for place, operator in enumerate(graph.operators):
            for number in _ends(operator.inputs):
                self._reads[number] += 1
                self._last_read[number] = max(place, self._last_read.get(number, 0))
        self._owner: dict[int, int] = {}
        self._sharers: dict[int, list[int]] = collections.defaultdict(list)

    def mend(self) -> int:
        """Puts the copies in; returns how many."""
        operators, copies = [], 0
        for place, operator in enumerate(self._graph.operators):
            position = self._shared_input(operator)
            if position is not None:
                if self._overwrites(operator, position, place):
                    operators.append(self._copy(operator, position))
                    copies += 1
                self._share(operator.inputs[position], operator.outputs[0])
            operators.append(operator)
        self._graph.operators = operators
        return copies

    def _shared_input(self, operator: Any) -> int | None:
        """Which of its inputs gives the place for an operator's result."""
        code = self._code(operator)
        inputs = _ends(operator.inputs)[: IN_PLACE.get(code, code in VIEWS)]
        if not _ends(operator.outputs):
            return None
        for position, number in enumerate(inputs):
            if self._may_share(number, operator.outputs[0], code in IN_PLACE):
                is_read_once = self._reads[self._owner_of(number)] == 1
                return position if is_read_once or code in VIEWS else None
        return None

    def _may_share(self, number: int, result: int, is_changed: bool) -> bool:
        tensor = self._graph.tensors[number]
        is_constant = self._model.buffers[tensor.buffer].data is not None
        if is_constant or tensor.isVariable or number in self._inputs or result in self._outputs:
            return False
        size = _bytes(tensor)
        is_fit = SCALAR < size == _bytes(self._graph.tensors[result]) and self._reads[number] == 1
        return is_fit or not is_changed

    def _overwrites(self, operator: Any, position: int, place: int) -> bool:
        """Whether an operator changes, in the place of an input, what is read behind it."""
        owner = self._owner_of(operator.inputs[position])
        same = (owner, *self._sharers[owner])
        is_read = any(self._last_read.get(number, 0) > place for number in same)
        return self._code(operator) in IN_PLACE and is_read

    def _owner_of(self, number: int) -> int:
        """Whose place a tensor has: its own, or that of another."""
        return self._owner.get(number, number)

    def _share(self, number: int, result: int) -> None:
        owner = self._owner_of(number)
        self._owner[result] = owner
        self._sharers[owner].append(result)

    def _copy(self, operator: Any, position: int) -> Any:
        """An operator that copies an input of another, which takes the copy instead."""
        number, copied = operator.inputs[position], len(self._graph.tensors)
        tensor = copy.copy(self._graph.tensors[number])
        tensor.name += b"_copy"
        self._graph.tensors.append(tensor)
        self._reads[copied] = 1
        operator.inputs = [*operator.inputs]
        operator.inputs[position] = copied
        return duplicate(self._model, number, copied, tensor)

    def _code(self, operator: Any) -> int:
        return self._model.operatorCodes[operator.opcodeIndex].builtinCode


def _ends(numbers: Any) -> list[int]:
    """The tensors that an operator takes or gives, -1 for one that it goes without."""
    return [] if numbers is None else list(numbers)


def _bytes(tensor: Any) -> int:
    return math.prod(_ends(tensor.shape)) * SIZES.get(tensor.type, 4)
