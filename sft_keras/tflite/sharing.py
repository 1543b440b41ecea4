"""Bounds what a `.tflite` file can unfold to.

A flatbuffer's offsets may all lead to the same table, so that some kilobytes decode to millions of
records. Whoever writes models gives each record a place of its own.
"""

from collections.abc import Iterator

import tflite

ENTRY = 4  # bytes: an offset to a table, or a number of a shape or a list of tensors


def require_little(model: tflite.Model, size: int) -> None:
    """Refuses a file that holds more records than its bytes have room for.

    Args:
        model: the root of the file.
        size: bytes of the file.

    Raises:
        ValueError: there are more.
    """
    room = size
    for taken in _lengths(model):
        room -= taken
        if room < 0:
            raise ValueError("its tables share more than they hold")


def _lengths(model: tflite.Model) -> Iterator[int]:
    """The bytes that each list takes, before anything goes through that list."""
    yield ENTRY * (model.OperatorCodesLength() + model.BuffersLength())
    yield ENTRY * (model.SignatureDefsLength() + model.SubgraphsLength())
    for i in range(model.OperatorCodesLength()):
        yield len(model.OperatorCodes(i).CustomCode() or b"")
    for i in range(model.SignatureDefsLength()):
        yield from _lengths_of_signature(model.SignatureDefs(i))
    for i in range(model.SubgraphsLength()):
        yield from _lengths_of_graph(model.Subgraphs(i))


def _lengths_of_signature(signature: tflite.SignatureDef) -> Iterator[int]:
    yield len(signature.SignatureKey() or b"")
    sides = (
        (signature.Inputs, signature.InputsLength()),
        (signature.Outputs, signature.OutputsLength()),
    )
    for entry, count in sides:
        yield ENTRY * count
        for i in range(count):
            yield len(entry(i).Name() or b"")


def _lengths_of_graph(graph: tflite.SubGraph) -> Iterator[int]:
    yield ENTRY * (graph.TensorsLength() + graph.OperatorsLength())
    yield ENTRY * (graph.InputsLength() + graph.OutputsLength())
    for i in range(graph.TensorsLength()):
        tensor = graph.Tensors(i)
        yield len(tensor.Name() or b"")
        yield ENTRY * max(tensor.ShapeLength(), tensor.ShapeSignatureLength())
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        yield ENTRY * (operator.InputsLength() + operator.OutputsLength())
        yield ENTRY * operator.IntermediatesLength()
