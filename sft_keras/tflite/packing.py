"""Writes the object API of the `.tflite` schema as bytes."""

from typing import Any

import flatbuffers

from sft_keras.tflite.schema import IDENTIFIER

ALIGNMENT = 16  # bytes: what kernels may expect of weights


def packed(model: Any) -> bytes:
    """The bytes of a `.tflite` file.

    Args:
        model: a `ModelT` of `ai_edge_litert.schema_py_generated`.
    """
    builder = _Builder(1 << 20)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):
    """Writes arrays where kernels may read them as they are, which the generated code does not."""

    def StartVector(self, elemSize, numElems, alignment):
        return super().StartVector(elemSize, numElems, max(alignment, ALIGNMENT))
