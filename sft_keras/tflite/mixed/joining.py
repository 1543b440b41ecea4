"""Joins the files of a model's parts into one file."""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from sft_keras.errors import ConversionError, UnsupportedError
from sft_keras.tflite import overwriting
from sft_keras.tflite.packing import packed

SIGNATURE = b"serving_default"

INT8, FLOAT32 = schema.TensorType.INT8, schema.TensorType.FLOAT32
INTEGERS = (schema.TensorType.INT32, schema.TensorType.INT64, schema.TensorType.BOOL)
CONVERTIBLE = {
    (INT8, schema.TensorType.UINT8),
    (INT8, FLOAT32),
    (schema.TensorType.INT16, FLOAT32),
}
"""From which dtypes to which the ends of a file can be turned."""


class End(NamedTuple):
    """An input or output of a file: its name, and a key for the numbers that go through it.

    With a dtype it is turned into that where it is another.
    """

    name: str
    key: int
    dtype: str | None = None


class Piece(NamedTuple):
    """The file of a part: its bytes, and its inputs and outputs in the order that it has them."""

    content: bytes
    inputs: Sequence[End]
    outputs: Sequence[End]


def join(
    pieces: Sequence[Piece], inputs: Sequence[End], outputs: Sequence[End]
) -> tuple[bytes, list[int | None]]:
    """One file of several.

    Args:
        pieces: the files; each key is made by one of them at most.
        inputs: what the file takes.
        outputs: what the file puts out.

    Returns:
        The bytes of a `.tflite` file with one signature, and for each of its tensors the number of
        the piece that it was in, None for those that were added.

    Raises:
        ConversionError: a piece has control flow.
        UnsupportedError: an end cannot have the dtype that it is to have.
    """
    joined = _Joined()
    owners: list[int | None] = []
    for number, piece in enumerate(pieces):
        owners += [number] * joined.add(piece)
    added = joined.connect(inputs, outputs)
    content, copies = overwriting.mended(packed(joined.model))
    return content, owners + [None] * (added + copies)


class _Joined:
    """A file in the making. Numbers stand for tensors, as in the file."""

    def __init__(self):
        self._graph = schema.SubGraphT()
        self._graph.tensors, self._graph.operators = [], []
        self._made: dict[int, int] = {}
        self._takers: dict[int, list[int]] = {}
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.subgraphs, self.model.operatorCodes = [self._graph], []
        self.model.buffers = [schema.BufferT()]  # the first one is empty by convention

    def add(self, piece: Piece) -> int:
        """Takes over the tensors and operators of a piece; returns how many tensors it has."""
        model = schema.ModelT.InitFromPackedBuf(piece.content)
        if len(model.subgraphs) > 1:
            raise ConversionError(
                "A part of the model has control flow, which layer_dtypes cannot split; leave "
                "layer_dtypes out."
            )
        (graph,) = model.subgraphs
        first = len(self._graph.tensors)
        first_buffer = len(self.model.buffers)
        self.model.buffers += model.buffers
        for tensor in graph.tensors:
            tensor.buffer += first_buffer
            tensor.name = self._unique(tensor.name)
        self._graph.tensors += graph.tensors

        def moved(numbers):
            return None if numbers is None else [n if n < 0 else n + first for n in numbers]

        for operator in graph.operators:
            operator.opcodeIndex = self._code(model.operatorCodes[operator.opcodeIndex])
            operator.inputs = moved(operator.inputs)
            operator.outputs = moved(operator.outputs)
            operator.intermediates = moved(operator.intermediates)
        self._graph.operators += graph.operators
        for end, number in zip(piece.inputs, moved(graph.inputs), strict=True):
            self._takers.setdefault(end.key, []).append(number)
            self._graph.tensors[number].name = self._unique(end.name.encode())
        for end, number in zip(piece.outputs, moved(graph.outputs), strict=True):
            self._made[end.key] = number
            self._graph.tensors[number].name = self._unique(end.name.encode())
        return len(graph.tensors)

    def connect(self, inputs: Sequence[End], outputs: Sequence[End]) -> int:
        """Joins what is made to what takes it, and gives the file its ends.

        Returns how many tensors were added for that.
        """
        before = len(self._graph.tensors)
        self._graph.inputs = [self._input(end) for end in inputs]
        for key, takers in self._takers.items():
            for number in takers:
                if number != self._made[key]:
                    self._convert(self._made[key], number)
        self._graph.outputs = [self._output(end) for end in outputs]
        self._graph.operators = _sorted(self._graph)
        signature = schema.SignatureDefT()
        signature.signatureKey = SIGNATURE
        signature.inputs = _maps(inputs, self._graph.inputs)
        signature.outputs = _maps(outputs, self._graph.outputs)
        self.model.signatureDefs = [signature]
        return len(self._graph.tensors) - before

    def _input(self, end: End) -> int:
        if end.key not in self._takers:
            raise UnsupportedError(
                f"Input '{end.name}' is read by no layer, which layer_dtypes cannot leave so; take "
                "it out of the model."
            )
        number = self._takers[end.key][0]
        if end.dtype:
            taker, number = number, self._like(number, end.dtype, end.name)
            if number != taker:
                self._convert(number, taker)
                self._takers[end.key].remove(taker)
        self._made[end.key] = number
        return number

    def _output(self, end: End) -> int:
        made = self._made[end.key]
        number = self._like(made, end.dtype, end.name) if end.dtype else made
        if number != made:
            self._convert(made, number)
        return number

    def _like(self, number: int, dtype: str, name: str) -> int:
        """A tensor of another dtype for the same numbers, or the same where it has that dtype."""
        tensor = self._graph.tensors[number]
        code = getattr(schema.TensorType, dtype.upper())
        if code == tensor.type or tensor.type in INTEGERS:
            return number
        if (tensor.type, code) not in CONVERTIBLE:
            raise UnsupportedError(
                f"'{name}' is an end of layers that layer_dtypes gives another dtype, so it cannot "
                f"be {dtype}; leave input_dtype and output_dtype out."
            )
        other = copy.copy(tensor)
        other.type, other.name = code, self._unique(name.encode())
        other.quantization = _range_as(tensor.quantization, dtype)
        self._graph.tensors.append(other)
        return len(self._graph.tensors) - 1

    def _convert(self, source: int, target: int) -> None:
        """An operator that turns the numbers of one tensor into those of another."""
        types = [self._graph.tensors[n].type for n in (source, target)]
        if types[0] in INTEGERS:  # tokens, which several parts may look up
            self._replace(target, source)
            return
        has_int16 = schema.TensorType.INT16 in types
        to_float = types[1] == FLOAT32
        name = "DEQUANTIZE" if to_float else "QUANTIZE"
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = 1 + to_float + has_int16  # as the converter numbers them
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(code)
        operator.inputs, operator.outputs = [source], [target]
        self._graph.operators.append(operator)

    def _replace(self, old: int, new: int) -> None:
        """Lets operators take another tensor."""
        for operator in self._graph.operators:
            operator.inputs = [new if number == old else number for number in operator.inputs]

    def _code(self, code: Any) -> int:
        """The number of an operator's kind."""
        known = self.model.operatorCodes
        for number, other in enumerate(known):
            if vars(other) == vars(code):
                return number
        known.append(code)
        return len(known) - 1

    def _unique(self, name: bytes) -> bytes:
        taken = {tensor.name for tensor in self._graph.tensors}
        unique, number = name, 1
        while unique in taken:
            unique, number = name + f"_{number}".encode(), number + 1
        return unique


def _range_as(quantization: Any, dtype: str) -> Any:
    """An int8 range for uint8, none for float."""
    if dtype == "float32":
        return None
    other = copy.copy(quantization)
    other.zeroPoint = np.asarray(quantization.zeroPoint) + 128
    return other


def _sorted(graph: Any) -> list:
    """The operators so that each comes behind those that make what it takes."""
    made_by = {number: op for op in graph.operators for number in op.outputs}
    order: dict[int, Any] = {}
    stack = list(reversed(graph.operators))
    while stack:
        operator = stack[-1]
        before = [made_by[n] for n in operator.inputs if n in made_by]
        waiting = [op for op in before if id(op) not in order]
        if waiting:
            stack += waiting
        else:
            order[id(operator)] = operator
            stack.pop()
    return list(order.values())


def _maps(ends: Sequence[End], numbers: Sequence[int]) -> list:
    maps = []
    for end, number in zip(ends, numbers, strict=True):
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = end.name.encode(), number
        maps.append(entry)
    return maps
