"""The tables of TFLite metadata: dicts as a flatbuffer, and back.

Slots and numbers are those of the published schema, version 1.1.0:
`tensorflow_lite_support/metadata/metadata_schema.fbs` in the repository tensorflow/tflite-support.
Fields that the package has no use for are left out here, and skipped when a file has them.
"""

from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import number_types
from flatbuffers.table import Table

IDENTIFIER = b"M001"
ROOT = "ModelMetadata"
BYTE, TEXT, FLOATS = "byte", "string", "[float]"
FIRST_SLOT, SLOT_BYTES = 4, 2  # of a table's index of fields
OFFSET_BYTES = 4  # the least that a table takes

TABLES: dict[str, dict[str, tuple[int, str]]] = {
    "AssociatedFile": {"name": (0, TEXT), "description": (1, TEXT), "type": (2, BYTE)},
    "FeatureProperties": {},
    "ImageProperties": {"color_space": (0, BYTE)},
    "Content": {"content_properties": (0, "ContentProperties")},
    "NormalizationOptions": {"mean": (0, FLOATS), "std": (1, FLOATS)},
    "ProcessUnit": {"options": (0, "ProcessUnitOptions")},
    "Stats": {"max": (0, FLOATS), "min": (1, FLOATS)},
    "TensorMetadata": {
        "name": (0, TEXT),
        "description": (1, TEXT),
        "content": (3, "Content"),
        "process_units": (4, "[ProcessUnit]"),
        "stats": (5, "Stats"),
        "associated_files": (6, "[AssociatedFile]"),
    },
    "SubGraphMetadata": {
        "input_tensor_metadata": (2, "[TensorMetadata]"),
        "output_tensor_metadata": (3, "[TensorMetadata]"),
    },
    "ModelMetadata": {
        "name": (0, TEXT),
        "description": (1, TEXT),
        "version": (2, TEXT),
        "subgraph_metadata": (3, "[SubGraphMetadata]"),
        "min_parser_version": (7, TEXT),
    },
}
"""The slot and the kind of each field: a scalar, a table, a vector of tables or a union."""

UNIONS = {
    "ContentProperties": ("FeatureProperties", "ImageProperties"),
    "ProcessUnitOptions": ("NormalizationOptions",),
}
"""What a union may hold, counted from 1. Its number has one slot and its table the next."""


def pack(values: dict[str, Any]) -> bytes:
    """A `ModelMetadata` as a flatbuffer.

    Args:
        values: fields by name; a table is a dict, a union a pair of a table's name and a dict.
    """
    builder = flatbuffers.Builder(1 << 10)
    builder.Finish(_table(builder, ROOT, values), IDENTIFIER)
    return bytes(builder.Output())


def unpack(content: bytes) -> dict[str, Any]:
    """What `pack` was given; fields that are not there are left out.

    Args:
        content: a flatbuffer. One that is damaged raises what the decoder does.
    """
    buffer = bytearray(content)
    root = Table(buffer, Table(buffer, 0).Indirect(0))
    return _Reader(len(buffer)).fields(root, ROOT)


def _table(builder: flatbuffers.Builder, name: str, values: dict[str, Any]) -> int:
    fields = TABLES[name]
    # A table cannot be begun inside another, so its parts come first.
    parts = {
        field: _part(builder, fields[field][1], value)
        for field, value in values.items()
        if fields[field][1] != BYTE
    }
    builder.StartObject(2 + max((slot for slot, _ in fields.values()), default=0))
    for field, value in values.items():
        slot, kind = fields[field]
        if kind == BYTE:
            builder.PrependInt8Slot(slot, value, 0)
            continue
        if kind in UNIONS:
            builder.PrependUint8Slot(slot, 1 + UNIONS[kind].index(value[0]), 0)
            slot += 1
        builder.PrependUOffsetTRelativeSlot(slot, parts[field], 0)
    return builder.EndObject()


def _part(builder: flatbuffers.Builder, kind: str, value: Any) -> int:
    if kind == TEXT:
        return builder.CreateString(value)
    if kind == FLOATS:
        return builder.CreateNumpyVector(np.asarray(value, np.float32))
    if kind in UNIONS:
        return _table(builder, *value)
    if not kind.startswith("["):
        return _table(builder, kind, value)
    items = [_table(builder, kind[1:-1], item) for item in value]
    builder.StartVector(4, len(items), 4)
    for item in reversed(items):
        builder.PrependUOffsetTRelative(item)
    return builder.EndVector()


class _Reader:
    """Reads a flatbuffer of so many bytes, whose offsets may all lead to the same place."""

    def __init__(self, size: int):
        self._room = size

    def fields(self, table: Table, name: str) -> dict[str, Any]:
        self._take(OFFSET_BYTES)
        found = {field: self._value(table, *place) for field, place in TABLES[name].items()}
        return {field: value for field, value in found.items() if value is not None}

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise ValueError("their tables share more than they hold")

    def _value(self, table: Table, slot: int, kind: str) -> Any:
        offset = table.Offset(FIRST_SLOT + SLOT_BYTES * slot)
        if not offset:
            return None
        place = table.Pos + offset
        if kind == BYTE:
            return table.Get(number_types.Int8Flags, place)
        if kind == TEXT:
            text = table.String(place)
            self._take(len(text))
            return text.decode()
        if kind == FLOATS:
            numbers = table.GetVectorAsNumpy(number_types.Float32Flags, offset)
            self._take(numbers.nbytes)
            return tuple(numbers.tolist())
        if kind in UNIONS:
            number = table.Get(number_types.Uint8Flags, place)
            if not 1 <= number <= len(UNIONS[kind]):
                return None
            name = UNIONS[kind][number - 1]
            return name, self._value(table, slot + 1, name)
        if not kind.startswith("["):
            return self.fields(Table(table.Bytes, table.Indirect(place)), kind)
        first, count = table.Vector(offset), table.VectorLen(offset)
        places = (table.Indirect(first + OFFSET_BYTES * number) for number in range(count))
        return [self.fields(Table(table.Bytes, item), kind[1:-1]) for item in places]
