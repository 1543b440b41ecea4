"""`export`: all that an Android project needs of a model, the file and Kotlin that runs it."""

import os
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sft_keras import __version__, exporting, writing
from sft_keras.android import metadata
from sft_keras.errors import ArgumentError, UnsupportedError
from sft_keras.tflite.lite_model import LiteModel, TensorDetails, require_lite

LITERT_VERSION = "2.3.0"  # of the Maven packages that the Kotlin is written for
KEYWORDS = {
    *("as", "break", "class", "continue", "do", "else", "false", "for", "fun", "if", "in"),
    *("interface", "is", "null", "object", "package", "return", "super", "this", "throw", "true"),
    *("try", "typealias", "typeof", "val", "var", "when", "while"),
}


class Storage(NamedTuple):
    """How Kotlin holds a tensor's dtype: array, `Buffer` view, name in `TensorBuffer`, bytes."""

    array: str
    view: str
    accessor: str
    bytes: int


STORAGE = {
    "int8": Storage("ByteArray", "duplicate()", "Int8", 1),
    "uint8": Storage("ByteArray", "duplicate()", "Int8", 1),  # Kotlin's bytes have a sign
    "int32": Storage("IntArray", "asIntBuffer()", "Int", 4),
    "int64": Storage("LongArray", "asLongBuffer()", "Long", 8),
    "float32": Storage("FloatArray", "asFloatBuffer()", "Float", 4),
}
QUANTIZED = ("int8", "uint8")  # of which the Kotlin makes real numbers


def export(
    lite: LiteModel,
    folder: str | os.PathLike,
    *,
    name: str = "model",
    package: str = "com.example.app",
    description: str = "",
    labels: Sequence[str] | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    overwrite: bool = False,
) -> None:
    """Writes a file with metadata, and Kotlin that runs it on a phone, into a folder.

    - `model.tflite`: the file with TFLite metadata, see `with_metadata`;
    - `labels.txt`: the labels, one a line, where there are any;
    - `ModelTensors.kt`: shapes and scales, and how values become what the file stores;
    - `ModelCompiled.kt`: runs it by LiteRT's `CompiledModel`, on CPU, GPU or NPU; not there for a
      file with an LSTM of its own, whose state `CompiledModel` cannot reset before a sequence;
    - `ModelInterpreter.kt`: runs it by LiteRT's `Interpreter`, on the CPU;
    - `README.md`: how to put them into a project.

    Args:
        lite: a file of any dtype.
        folder: where to; made if it does not exist, and filled wholly or not at all. Among files
            of other names, which stay, each is replaced wholly, one after the other.
        name: what the files and classes are called: `flower_net` makes `FlowerNetCompiled`.
        package: the Kotlin package.
        description: what the model does, in a sentence for the metadata.
        labels: what each number of the one output stands for.
        mean: `(x - mean) / std` makes of a raw value x, such as a pixel, what the Keras model
            takes; one number, or one for each channel.
        std: see `mean`.
        overwrite: whether files in the folder may be replaced.

    Raises:
        UnsupportedError: an input or output has a size or dtype that the Kotlin cannot have.
        ArgumentError: `lite` is no `LiteModel`, `name` or `package` is no identifier, or `labels`,
            `mean` or `std` do not fit.
        FileError: the folder has files already, or cannot be written.

    Example:
        >>> sft_keras.android.export(lite, "phone/", labels=["no", "yes"], mean=127.5, std=127.5)
    """
    require_lite(lite, "android.export()")
    exporting.require_identifier(name)
    _require_package(package)
    _require_exportable(lite, labels)
    described = metadata.with_metadata(
        lite, name=name, description=description, labels=labels, mean=mean, std=std
    )
    values = _values(lite, name, labels, mean, std) | {"package": package, "size": described.size}
    title = values["title"]
    environment = exporting.environment("sft_keras.android")
    environment.filters["quoted"] = _quoted
    with writing.output_folder(folder, overwrite) as staging:
        (staging / f"{name}.tflite").write_bytes(described.content)
        if labels:
            text = metadata.labels_text(labels)
            (staging / metadata.LABELS_FILE).write_text(text, encoding="utf-8", newline="\n")
        for file in (*_kotlin_files(lite), "README.md"):
            text = environment.get_template(f"{file}.jinja").render(values)
            target = staging / (file if file == "README.md" else f"{title}{file}")
            target.write_text(text, encoding="utf-8")


def _kotlin_files(lite: LiteModel) -> tuple[str, ...]:
    runners = ("Interpreter.kt",) if lite.file.is_stateful else ("Compiled.kt", "Interpreter.kt")
    return ("Tensors.kt", *runners)


def _values(lite: LiteModel, name: str, labels: Any, mean: Any, std: Any) -> dict[str, Any]:
    """What the templates say of a file."""
    tensors = f"{exporting.title(name)}Tensors"
    inputs, outputs = ([_tensor(x) for x in side] for side in (lite.inputs, lite.outputs))
    for number, (tensor, details) in enumerate(zip(inputs, lite.inputs, strict=True)):
        tensor["number"] = number
        tensor["normalization"] = _normalization(details, mean, std)
        tensor["stored"] = _converted(tensor, f"{tensors}.quantizeInput{number}", f"input{number}")
    real = [
        _converted(tensor, f"{tensors}.dequantizeOutput{number}", f"output{number}")
        for number, tensor in enumerate(outputs)
    ]
    return {
        "name": name,
        "title": exporting.title(name),
        "tensors": tensors,
        "version": __version__,
        "litert": LITERT_VERSION,
        "stateful": lite.file.is_stateful,
        "runner": "Interpreter" if lite.file.is_stateful else "Compiled",
        "inputs": inputs,
        "outputs": outputs,
        "parameters": ", ".join(f"input{i}: {x['type']}" for i, x in enumerate(inputs)),
        "arguments": ", ".join(f"input{i}" for i in range(len(inputs))),
        "result": outputs[0]["type"] if len(outputs) == 1 else f"{tensors}.Outputs",
        "returned": real,
        "quantized": any(x["scale"] is not None for x in (*inputs, *outputs)),
        "labels_file": metadata.LABELS_FILE,
        "labels": list(labels or ()),
        "positions": outputs[0]["size"] // len(labels) if labels else 0,
    }


def _converted(tensor: dict[str, Any], function: str, variable: str) -> str:
    return variable if tensor["scale"] is None else f"{function}({variable})"


def _tensor(details: TensorDetails) -> dict[str, Any]:
    """What the templates say of an input or output."""
    storage = STORAGE[details.dtype]
    return {
        "label": details.name,
        "dtype": details.dtype,
        "shape": details.shape,
        "size": int(np.prod(details.shape)),
        "storage": storage,
        "type": storage.array if details.scale is None else "FloatArray",
        "scale": details.scale,
        "zero_point": details.zero_point,
        "limits": None if details.scale is None else np.iinfo(details.dtype),
    }


def _normalization(details: TensorDetails, mean: Any, std: Any) -> dict[str, list] | None:
    """The numbers that raw values are normalized by, None where that changes nothing."""
    numbers = metadata.normalization(details, mean, std)
    if numbers is None or (set(numbers[0]), set(numbers[1])) == ({0.0}, {1.0}):
        return None
    return {"mean": numbers[0], "std": numbers[1]}


def _require_package(package: str) -> None:
    parts = package.split(".")
    if not all(re.fullmatch(r"[a-z][a-z0-9_]*", part) and part not in KEYWORDS for part in parts):
        raise ArgumentError(
            f"package is {package!r}; give a Kotlin package of small letters, like com.example.app."
        )


def _require_exportable(lite: LiteModel, labels: Sequence[str] | None) -> None:
    exporting.require_labels(lite, labels)
    exporting.require_sizes(lite)
    for details in (*lite.inputs, *lite.outputs):
        if details.dtype not in (STORAGE if details.scale is None else QUANTIZED):
            scale = " with a scale" if details.dtype in STORAGE else ""
            raise UnsupportedError(
                f"'{details.name}' of {lite.name} is {details.dtype}{scale}, which LiteRT's "
                "buffers in Kotlin cannot hold; convert with input_dtype='float32' and "
                "output_dtype='float32'."
            )
    (output, *_) = lite.outputs
    if labels and output.scale is None and output.dtype != "float32":
        raise ArgumentError(
            f"Output '{output.name}' holds {output.dtype}, no scores that labels could stand for; "
            "leave the labels out."
        )


def _quoted(text: str) -> str:
    """A Kotlin string literal; what is not ASCII, or means something there, as escapes."""
    units = np.frombuffer(text.encode("utf-16-le"), "<u2").tolist()
    escaped = (
        chr(unit) if 32 <= unit < 127 and chr(unit) not in '"\\$' else f"\\u{unit:04x}"
        for unit in units
    )
    return f'"{"".join(escaped)}"'
