"""Reads what a `.tflite` file holds: tensors, operators, subgraphs, signatures.

The flatbuffer is decoded with the published schema (PyPI package `tflite`); everything else in the
package works on the plain records of this module.
"""

import collections
import contextlib
import dataclasses
import functools
import struct
from collections.abc import Iterator, Sequence

import numpy as np
import tflite

from sft_keras.errors import FileError
from sft_keras.tflite import sharing

IDENTIFIER = b"TFL3"  # bytes 4 to 8 of every .tflite file
LEAST_INPUTS = {
    **dict.fromkeys(("CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"), 2),
    "TRANSPOSE_CONV": 3,
    **dict.fromkeys(("SOFTMAX", "SUM"), 1),
}
"""What the rest of the package asks of operators; a file where one has less is corrupt."""
DAMAGED = (struct.error, ValueError, IndexError, TypeError, OverflowError)
"""What the decoder raises when an offset points outside of the file, or a text is none."""
DTYPES = {
    code: name.lower() for name, code in vars(tflite.TensorType).items() if not name.startswith("_")
}
NUMPY_DTYPES = frozenset(
    {f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)}
    | {"bool", "float16", "float32", "float64", "complex64", "complex128"}
)
"""Those of `DTYPES` that arrays may have."""


@dataclasses.dataclass(frozen=True, eq=False)
class Tensor:
    """One tensor of a subgraph.

    Attributes:
        index: its place in the subgraph.
        name: as the converter wrote it, which holds the names of the Keras layers it came from;
            for a model's input or output its name in the signature.
        shape: sizes of the axes, -1 where the size is only known when the model runs.
        dtype: `"int8"`, `"float32"`, …
        scales: float32 array, one a tensor or one a channel; empty when not quantized.
        zero_points: int64 array of the same length.
        data: the constant's bytes as a uint8 array, or None for what is computed.
        is_variable: whether it keeps its numbers from one run to the next.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: np.ndarray
    zero_points: np.ndarray
    data: np.ndarray | None
    is_variable: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Operator:
    """One operator: its name in the schema, or `CUSTOM:<name>`, and the tensors it joins.

    Inputs that the operator goes without are left out. `intermediates` only hold the ranges of
    what the operator computes inside; no numbers go through them.
    """

    name: str
    version: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    intermediates: tuple[Tensor, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} '{self.outputs[0].name}'" if self.outputs else self.name


@dataclasses.dataclass(frozen=True, eq=False)
class Subgraph:
    """A list of operators in the order they run in, with the tensors between them."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclasses.dataclass(frozen=True)
class Signature:
    """The names under which a caller finds a subgraph's inputs and outputs, by tensor index."""

    key: str
    subgraph: int
    inputs: dict[str, int]
    outputs: dict[str, int]


@dataclasses.dataclass(frozen=True, eq=False)
class File:
    """Everything in a `.tflite` file. The first subgraph is the one that runs."""

    subgraphs: tuple[Subgraph, ...]
    signatures: tuple[Signature, ...]

    @property
    def operators(self) -> Iterator[Operator]:
        """The operators of all subgraphs."""
        return (operator for graph in self.subgraphs for operator in graph.operators)

    @property
    def is_stateful(self) -> bool:
        """Whether the file remembers the last run, as an LSTM does."""
        return any(tensor.is_variable for tensor in self.tensors)

    @property
    def tensors(self) -> Iterator[Tensor]:
        """The tensors of all subgraphs."""
        return (tensor for graph in self.subgraphs for tensor in graph.tensors)


def read(content: bytes, name: str = "the model") -> File:
    """Decodes a `.tflite` file wholly, so that a damaged one is noticed here.

    Args:
        content: the file's bytes.
        name: what errors call it.

    Returns:
        A `File`.

    Raises:
        FileError: `content` is empty, truncated, corrupt or no `.tflite` file.

    Example:
        >>> [op.name for op in schema.read(lite.content).operators]
        ['CONV_2D', 'MEAN', 'FULLY_CONNECTED', 'SOFTMAX']
    """
    if content[4:8] != IDENTIFIER:
        what = "is empty" if not content else "is not a .tflite file"
        raise FileError(f"{name} {what}; give a file that convert() or the TFLite converter wrote.")
    with damage_refused(name):
        model = tflite.Model.GetRootAs(content, 0)
        sharing.require_little(model, len(content))
        return _file(model)


@contextlib.contextmanager
def damage_refused(name: str) -> Iterator[None]:
    """Around whatever decodes a file's bytes: what it raises on a damaged one, in a sentence.

    Raises:
        FileError: names the file.
    """
    try:
        yield
    except DAMAGED as error:
        raise FileError(
            f"{name} is truncated or corrupt ({error}); convert or copy it again."
        ) from error


def reorder_io(content: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Puts the inputs and outputs of the first subgraph into the given order.

    The converter sorts them by name, so that a caller who passes a Keras model's inputs in their
    own order would mix them up.

    Args:
        content: a `.tflite` file with one signature.
        inputs: the signature's input names, in the order wanted.
        outputs: the signature's output names, in the order wanted.

    Returns:
        The file's bytes, of the same length.
    """
    (signature,) = read(content).signatures
    buffer = bytearray(content)
    graph = tflite.Model.GetRootAs(buffer, 0).Subgraphs(0)
    graph.InputsAsNumpy()[:] = [signature.inputs[name] for name in inputs]
    graph.OutputsAsNumpy()[:] = [signature.outputs[name] for name in outputs]
    return bytes(buffer)


def _file(model: tflite.Model) -> File:
    codes = [_operator_code(model.OperatorCodes(i)) for i in range(model.OperatorCodesLength())]
    buffers = [_array(model.Buffers(i).DataAsNumpy()) for i in range(model.BuffersLength())]
    signatures = [_signature(model.SignatureDefs(i)) for i in range(model.SignatureDefsLength())]
    names: dict[int, dict[int, str]] = collections.defaultdict(dict)
    for signature in signatures:
        for name, index in (signature.inputs | signature.outputs).items():
            names[signature.subgraph][index] = name
    subgraphs = tuple(
        _subgraph(model.Subgraphs(i), codes, buffers, names[i])
        for i in range(model.SubgraphsLength())
    )
    if not subgraphs or not subgraphs[0].outputs:
        raise ValueError("nothing to put out in it")
    return File(subgraphs, tuple(signatures))


def _operator_code(code: tflite.OperatorCode) -> tuple[str, int]:
    # Files from before 2020 have only the one-byte field.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    if number == tflite.BuiltinOperator.CUSTOM:
        return f"CUSTOM:{_text(code.CustomCode())}", code.Version()
    return _builtin_names().get(number, f"BUILTIN_{number}"), code.Version()


@functools.cache
def _builtin_names() -> dict[int, str]:
    names = vars(tflite.BuiltinOperator)
    return {code: name for name, code in names.items() if not name.startswith("_")}


def _subgraph(graph: tflite.SubGraph, codes: list, buffers: list, names: dict) -> Subgraph:
    tensors = tuple(
        _tensor(i, graph.Tensors(i), buffers, names.get(i)) for i in range(graph.TensorsLength())
    )

    def at(indices) -> tuple[Tensor, ...]:
        if (_array(indices) < -1).any():
            raise IndexError("a tensor's number is negative")
        return tuple(tensors[i] for i in _array(indices) if i != -1)

    def operator(op: tflite.Operator) -> Operator:
        name, version = codes[op.OpcodeIndex()]
        sides = (op.InputsAsNumpy(), op.OutputsAsNumpy(), op.IntermediatesAsNumpy())
        inputs, outputs, intermediates = map(at, sides)
        if name in LEAST_INPUTS and (len(inputs) < LEAST_INPUTS[name] or not outputs):
            raise ValueError(f"{name} lacks inputs or outputs")
        return Operator(name, version, inputs, outputs, intermediates)

    return Subgraph(
        tensors,
        tuple(operator(graph.Operators(i)) for i in range(graph.OperatorsLength())),
        at(graph.InputsAsNumpy()),
        at(graph.OutputsAsNumpy()),
    )


def _tensor(index: int, tensor: tflite.Tensor, buffers: list, name: str | None) -> Tensor:
    shape = tensor.ShapeAsNumpy()
    # Only a tensor with an unknown size has a second shape, with -1 at that axis.
    if tensor.ShapeSignatureLength():
        shape = tensor.ShapeSignatureAsNumpy()
    quantization = tensor.Quantization()
    scales = _array(quantization.ScaleAsNumpy()) if quantization else _array(0)
    zero_points = _array(quantization.ZeroPointAsNumpy()) if quantization else _array(0)
    if (_array(shape) < -1).any():
        raise ValueError("a tensor's size is negative")
    data = buffers[tensor.Buffer()]
    return Tensor(
        index,
        name or _text(tensor.Name()),
        tuple(int(size) for size in _array(shape)),
        DTYPES.get(tensor.Type(), f"type {tensor.Type()}"),
        scales,
        zero_points,
        data if data.size else None,
        tensor.IsVariable(),
    )


def _signature(signature: tflite.SignatureDef) -> Signature:
    def names(entry, length) -> dict[str, int]:
        maps = (entry(i) for i in range(length))
        return {_text(m.Name()): m.TensorIndex() for m in maps}

    return Signature(
        _text(signature.SignatureKey()),
        signature.SubgraphIndex(),
        names(signature.Inputs, signature.InputsLength()),
        names(signature.Outputs, signature.OutputsLength()),
    )


def _array(vector) -> np.ndarray:
    # The schema's classes give the number 0 for a vector that is not there.
    return vector if isinstance(vector, np.ndarray) else np.zeros(0, np.int64)


def _text(value: bytes | None) -> str:
    return (value or b"").decode()
