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
import dataclasses
import math
from typing import Any

from ai_edge_litert import schema_py_generated

from sft_keras.tflite import schema
from sft_keras.tflite.operators import duplicate
from sft_keras.tflite.packing import packed

VIEWS = {"RESHAPE", "EXPAND_DIMS", "SQUEEZE", "BITCAST"}
"""Whose result has the place of the first input, with the same bytes in it."""
IN_PLACE = {
    **dict.fromkeys(("ADD", "SUB", "MUL", "DIV"), 2),
    **dict.fromkeys(("SOFTMAX", "DYNAMIC_UPDATE_SLICE"), 1),
}
"""Whose result may have the place of one of so many of the first inputs."""
SCALAR = 4  # bytes: the planner gives results that are no larger a place of their own
SIZES = {
    **dict.fromkeys(("int8", "uint8", "bool"), 1),
    **dict.fromkeys(("int16", "float16"), 2),
    **dict.fromkeys(("int64", "float64"), 8),
}
"""Bytes of a number where it is not four."""
OPEN = 1 << 10  # numbers along an axis whose size is not known


@dataclasses.dataclass(frozen=True)
class Overwrite:
    """An operator that writes its result over one of its inputs, which is read again.

    Attributes:
        place: of the operator in its subgraph.
        position: of the input among those of the operator.
        operator: the operator itself.
    """

    place: int
    position: int
    operator: schema.Operator


def overwrites(graph: schema.Subgraph) -> list[Overwrite]:
    """The operators of a subgraph that would write over what is read again."""
    return _Plan(graph).overwrites


def mended(content: bytes) -> tuple[bytes, int]:
    """Lets operators work on a copy where they would write over what is read again.

    Args:
        content: a `.tflite` file.

    Returns:
        The bytes of a file with the same ends, and how many copies were put in. Each copy is one
        tensor more, behind those that were there. `content` itself if there is no need for any.
    """
    found = [overwrites(graph) for graph in schema.read(content).subgraphs]
    if not any(found):
        return content, 0
    model = schema_py_generated.ModelT.InitFromPackedBuf(content)
    for graph, places in zip(model.subgraphs, found, strict=True):
        for overwrite in reversed(places):  # so that the places of those before stay
            _copy(model, graph, overwrite)
    return packed(model), sum(map(len, found))


class _Plan:
    """Which tensors have the same place in memory, as the operators of a graph go by.

    Each operator in `overwrites` is taken to work on a copy.
    """

    def __init__(self, graph: schema.Subgraph):
        operators = graph.operators
        self._inputs = {tensor.index for tensor in graph.inputs}
        self._outputs = {tensor.index for tensor in graph.outputs}
        self._reads = collections.Counter([*self._inputs, *self._outputs])
        # Until when a tensor is read, and, as sharing goes on, what else has its place.
        self._until = collections.defaultdict(int, dict.fromkeys(self._outputs, len(operators)))
        for place, operator in enumerate(operators):
            for tensor in operator.inputs:
                self._reads[tensor.index] += 1
                self._until[tensor.index] = max(place, self._until[tensor.index])
        self._owner: dict[int, int] = {}
        self.overwrites: list[Overwrite] = []
        for place, operator in enumerate(operators):
            self._run(place, operator)

    def _run(self, place: int, operator: schema.Operator) -> None:
        position = self._shared_input(operator)
        if position is None:
            return
        owner, result = self._owner_of(operator.inputs[position]), operator.outputs[0].index
        if operator.name in IN_PLACE and self._until[owner] > place:
            self.overwrites.append(Overwrite(place, position, operator))
            owner = -len(self.overwrites)  # the copy
            self._reads[owner] = 1
        self._owner[result] = owner
        self._until[owner] = max(self._until[owner], self._until[result])

    def _shared_input(self, operator: schema.Operator) -> int | None:
        """Which of its inputs gives the place for an operator's result."""
        is_view = operator.name in VIEWS
        count = IN_PLACE.get(operator.name, int(is_view))
        for position, tensor in enumerate(operator.inputs[:count]):
            if operator.outputs and self._may_share(tensor, operator.outputs[0], is_view):
                is_read_once = self._reads[self._owner_of(tensor)] == 1
                return position if is_read_once or is_view else None
        return None

    def _may_share(self, tensor: schema.Tensor, result: schema.Tensor, is_view: bool) -> bool:
        is_outside = tensor.index in self._inputs or result.index in self._outputs
        if tensor.data is not None or is_outside:
            return False
        size = _bytes(tensor)
        return is_view or (SCALAR < size == _bytes(result) and self._reads[tensor.index] == 1)

    def _owner_of(self, tensor: schema.Tensor) -> int:
        """Whose place a tensor has: its own, or that of another."""
        return self._owner.get(tensor.index, tensor.index)


def _bytes(tensor: schema.Tensor) -> int:
    return math.prod(OPEN if n < 0 else n for n in tensor.shape) * SIZES.get(tensor.dtype, 4)


def _copy(model: Any, graph: Any, overwrite: Overwrite) -> None:
    """Lets an operator take a copy of one of its inputs."""
    operator = graph.operators[overwrite.place]
    number, copied = operator.inputs[overwrite.position], len(graph.tensors)
    tensor = copy.copy(graph.tensors[number])
    tensor.name += b"_copy"
    graph.tensors.append(tensor)
    operator.inputs = [*operator.inputs]
    operator.inputs[overwrite.position] = copied
    graph.operators.insert(overwrite.place, duplicate(model, number, copied, tensor))
