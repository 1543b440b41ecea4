"""TFLite metadata: what a file takes and puts out, written into the file itself.

It is an entry of the `.tflite` file, a flatbuffer of its own (see `tables`), and a zip archive
behind the end of the file with the labels. Runtimes do not look at either.
"""

import dataclasses
import io
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tflite
from ai_edge_litert import schema_py_generated as schema

from sft_keras import exporting
from sft_keras.android import tables
from sft_keras.errors import ArgumentError, FileError
from sft_keras.tflite.lite_model import LiteModel, TensorDetails, require_lite
from sft_keras.tflite.packing import packed
from sft_keras.tflite.schema import damage_refused

ENTRY = b"TFLITE_METADATA"
LABELS_FILE = "labels.txt"
LABELS_LIMIT = 1 << 24  # bytes; the words of a language take less
PARSER_VERSION = "1.0.0"  # the first one that knows all the fields that are written here
TENSOR_AXIS_LABELS = 2  # AssociatedFileType
COLOR_SPACES = {1: "grayscale", 3: "rgb"}  # by the number of channels
COLOR_CODES = {"rgb": 1, "grayscale": 2}  # ColorSpaceType
ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError)
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same model gives the same bytes on any day


@dataclasses.dataclass(frozen=True)
class TensorMetadata:
    """What the metadata say of an input or output.

    Attributes:
        name: its name in the file's signature.
        description: its dtype, shape and scale in words.
        color_space: `"rgb"` or `"grayscale"` for an image, None for anything else.
        mean: what is subtracted from a raw value, one number or one a channel; empty where a
            value is no quantity.
        std: what the difference is divided by.
        minimum: the least real number it can hold, where the file says so.
        maximum: the greatest.
        labels: what its numbers stand for.
    """

    name: str = ""
    description: str = ""
    color_space: str | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    minimum: tuple[float, ...] = ()
    maximum: tuple[float, ...] = ()
    labels: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a `.tflite` file says of itself."""

    name: str
    description: str
    version: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


def with_metadata(
    lite: LiteModel,
    *,
    name: str = "model",
    description: str = "",
    version: str = "",
    labels: Sequence[str] | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
) -> LiteModel:
    """The same file with TFLite metadata, for MediaPipe and any other reader.

    Numbers in it are real ones, whatever the dtype: scale and zero point stand in the file.

    Args:
        lite: the file; metadata that it has already are replaced.
        name: what readers call the model.
        description: what it does, in a sentence.
        version: its version, in any form.
        labels: what each number of the one output stands for.
        mean: `(x - mean) / std` makes of a raw value x, such as a pixel, what the Keras model
            takes; one number, or one for each channel of the last axis.
        std: see `mean`.

    Returns:
        A `LiteModel` that computes the same.

    Raises:
        ArgumentError: `lite` is no `LiteModel`, `labels` do not fit the output, or `mean` and
            `std` an input, or a text is no Unicode.
        FileError: the file is damaged.

    Example:
        >>> lite = sft_keras.android.with_metadata(lite, labels=["no", "yes"], std=255)
        >>> lite.save("model.tflite")
    """
    require_lite(lite, "with_metadata()")
    exporting.require_labels(lite, labels)
    texts = {"name": name, "description": description, "version": version}
    for field, text in texts.items():
        exporting.require_unicode(field, text)
    subgraph = {
        "input_tensor_metadata": [_input(details, mean, std) for details in lite.inputs],
        "output_tensor_metadata": [_output(details, labels) for details in lite.outputs],
    }
    content = tables.pack(
        {
            **{field: text for field, text in texts.items() if text},
            "subgraph_metadata": [subgraph],
            "min_parser_version": PARSER_VERSION,
        }
    )
    with damage_refused(lite.name):
        model = schema.ModelT.InitFromPackedBuf(lite.content)
        _attach(model, content)
        described = packed(model)
    files = {LABELS_FILE: labels_text(labels)} if labels else {}
    return LiteModel(_zipped(described, files), lite.name)


def read_metadata(lite: LiteModel) -> Metadata | None:
    """The TFLite metadata of a file, whoever wrote them.

    Args:
        lite: the file.

    Returns:
        A `Metadata`, or None where the file has none.

    Raises:
        ArgumentError: `lite` is no `LiteModel`.
        FileError: they are damaged, or the labels they name are not there.

    Example:
        >>> sft_keras.android.read_metadata(lite).outputs[0].labels
        ('no', 'yes')
    """
    require_lite(lite, "read_metadata()")
    try:
        content = _entry(lite.content)
        if content is None:
            return None
        values = tables.unpack(content)
        (subgraph, *_) = values.get("subgraph_metadata") or [{}]
        sides = [
            tuple(_tensor(tensor, lite.content) for tensor in subgraph.get(f"{side}_metadata", ()))
            for side in ("input_tensor", "output_tensor")
        ]
    except (struct.error, ValueError, LookupError, TypeError, RuntimeError, *ZIP_ERRORS) as error:
        raise FileError(
            f"The metadata of {lite.name} are damaged ({error}); write them again, by "
            "sft_keras.android.with_metadata."
        ) from error
    return Metadata(
        *(values.get(field, "") for field in ("name", "description", "version")), *sides
    )


def normalization(details: TensorDetails, mean: Any, std: Any) -> tuple[list, list] | None:
    """`mean` and `std` as an input takes them, or None for one that takes no real numbers.

    Args:
        details: the input.
        mean: one number, or one a channel.
        std: one number, or one a channel.

    Returns:
        Two lists of the same length, since some readers go through both at once.

    Raises:
        ArgumentError: other numbers than channels, or one that nothing can be divided by.
    """
    if details.scale is None and not details.dtype.startswith("float"):
        return None
    channels = details.shape[-1] if details.shape else 1
    found = []
    for name, value in (("mean", mean), ("std", std)):
        with np.errstate(over="ignore"):  # the file and the Kotlin hold them in 32 bits
            numbers = np.ravel(value).astype(np.float32).tolist()
        if len(numbers) not in (1, channels):
            raise ArgumentError(
                f"{name} has {len(numbers)} numbers, but input '{details.name}' has {channels} "
                "channels; give one number, or one a channel."
            )
        if not all(math.isfinite(x) and (name == "mean" or x > 0) for x in numbers):
            wanted = "finite" if name == "mean" else "finite and above 0"
            raise ArgumentError(f"{name} is {value}; give numbers that are {wanted} in float32.")
        found.append(numbers)
    length = max(map(len, found))
    means, stds = (numbers * (length // len(numbers)) for numbers in found)
    return means, stds


def labels_text(labels: Sequence[str]) -> str:
    """What a file of labels holds."""
    return "".join(f"{label}\n" for label in labels)


def _input(details: TensorDetails, mean: Any, std: Any) -> dict[str, Any]:
    values = _described(details)
    color_space = COLOR_SPACES.get(details.shape[-1]) if len(details.shape) == 4 else None
    if color_space:
        image = ("ImageProperties", {"color_space": COLOR_CODES[color_space]})
        values["content"] = {"content_properties": image}
    numbers = normalization(details, mean, std)
    if numbers:
        options = ("NormalizationOptions", {"mean": numbers[0], "std": numbers[1]})
        values["process_units"] = [{"options": options}]
    return values


def _output(details: TensorDetails, labels: Sequence[str] | None) -> dict[str, Any]:
    values = _described(details)
    if labels:
        file = {
            "name": LABELS_FILE,
            "description": "What each number stands for, one a line.",
            "type": TENSOR_AXIS_LABELS,
        }
        values["associated_files"] = [file]
    return values


def _described(details: TensorDetails) -> dict[str, Any]:
    """What inputs and outputs have in common."""
    text = f"{details.dtype} of shape {list(details.shape)}"
    values: dict[str, Any] = {"content": {"content_properties": ("FeatureProperties", {})}}
    if details.scale is not None:
        limits = np.iinfo(details.dtype)
        text += f", scale {details.scale:.9g}, zero point {details.zero_point}"
        ends = [[(end - details.zero_point) * details.scale] for end in (limits.min, limits.max)]
        values["stats"] = {"min": ends[0], "max": ends[1]}
    return {"name": details.name, "description": text, **values}


def _attach(model: Any, content: bytes) -> None:
    """Keeps the metadata in the model's entry for them, a new one if it has none."""
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(content, np.uint8)
    model.metadata = model.metadata or []
    for entry in model.metadata:
        if entry.name == ENTRY:
            model.buffers[entry.buffer] = buffer
            return
    entry = schema.MetadataT()
    entry.name, entry.buffer = ENTRY, len(model.buffers)
    model.metadata.append(entry)
    model.buffers.append(buffer)


def _zipped(content: bytes, files: dict[str, str]) -> bytes:
    """A file with others in a zip archive behind it, whose offsets count from the file's start."""
    if not files:
        return content
    stream = io.BytesIO()
    stream.write(content)
    with zipfile.ZipFile(stream, "a") as archive:
        for name, text in files.items():
            member = zipfile.ZipInfo(name, EPOCH)
            member.create_system, member.external_attr = 3, 0o644 << 16  # Unix, on any system
            archive.writestr(member, text.encode())
    return stream.getvalue()


def _entry(content: bytes) -> bytes | None:
    model = tflite.Model.GetRootAs(content, 0)
    for number in range(model.MetadataLength()):
        entry = model.Metadata(number)
        if entry.Name() == ENTRY:
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy())
    return None


def _tensor(values: dict[str, Any], content: bytes) -> TensorMetadata:
    properties = values.get("content", {}).get("content_properties", ("", {}))[1]
    names = {code: name for name, code in COLOR_CODES.items()}
    options = [unit["options"][1] for unit in values.get("process_units", ()) if "options" in unit]
    numbers: dict[str, Any] = next(iter(options), {})
    stats = values.get("stats", {})
    return TensorMetadata(
        values.get("name", ""),
        values.get("description", ""),
        names.get(properties.get("color_space")),
        numbers.get("mean", ()),
        numbers.get("std", ()),
        stats.get("min", ()),
        stats.get("max", ()),
        _labels(values.get("associated_files", ()), content),
    )


def _labels(files: Sequence[dict[str, Any]], content: bytes) -> tuple[str, ...]:
    for file in files:
        if file.get("type") == TENSOR_AXIS_LABELS:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                member = archive.getinfo(file["name"])
                if member.file_size > LABELS_LIMIT:  # no more than which is read
                    raise ValueError(f"the labels unpack to {member.file_size:,} bytes")
                return tuple(archive.read(member).decode().splitlines())
    return ()
