"""`export`: all that a TFLite Micro project needs of a model, as C++ and C headers."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from sft_keras import __version__, exporting, writing
from sft_keras.errors import GateError, UnsupportedError
from sft_keras.micro import golden
from sft_keras.micro.memory import OperatorMemory, memory_by_operator
from sft_keras.tflite import gate, targets
from sft_keras.tflite.arena import arena_size
from sft_keras.tflite.lite_model import LiteModel, TensorDetails, require_lite
from sft_keras.tflite.runtimes.adapters import MICRO_ARENA

MARGIN = 1.25  # of the arena measured here: other kernels keep other scratch memory
ALIGNMENT = 16  # bytes, of the model's data and of the arena
C_TYPES = {
    **{f"int{bits}": f"int{bits}_t" for bits in (8, 16, 32, 64)},
    "uint8": "uint8_t",
    "bool": "bool",
    "float32": "float",
}
FILES = (
    *("{name}_data.h", "{name}_data.cc", "{name}_ops.h", "{name}_io.h"),
    *("{name}_golden_vectors.h", "{name}_arena.h", "README.md"),
)


def export(
    lite: LiteModel,
    folder: str | os.PathLike,
    *,
    name: str = "model",
    labels: Sequence[str] | None = None,
    samples: Any = None,
    overwrite: bool = False,
) -> None:
    """Writes C++ for TFLite Micro into a folder.

    - `model_data.h`, `model_data.cc`: the file as a constant array;
    - `model_ops.h`: registers the operators that it has, and no others;
    - `model_io.h`: shapes, scales and labels of inputs and outputs, for C and C++;
    - `model_golden_vectors.h`: inputs, the outputs that belong to them, and a test on the device;
    - `model_arena.h`: how much memory it needs;
    - `README.md`: how to put them into a project.

    Args:
        lite: a file in int8 or int16x8 that `convert` made for the target `"tflm"`.
        folder: where to; made if it does not exist, and filled wholly or not at all. Among files
            of other names, which stay, each is replaced wholly, one after the other.
        name: what the files and the names in them begin with, an identifier in small letters.
        labels: what each number of the one output stands for.
        samples: typical inputs for the golden vectors, real values; some of them are used. By
            default random ones over the range of each input.
        overwrite: whether files in the folder may be replaced.

    Raises:
        UnsupportedError: the file computes in float, or TFLite Micro lacks something.
        ArgumentError: `lite` is no `LiteModel`, `name` is no identifier, or `labels` do not fit
            the output.
        DataError: `samples` do not fit the inputs.
        FileError: the folder has files already, or cannot be written.
        MissingExtraError: `tflite-micro`, which runs the golden vectors, is not installed.

    Example:
        >>> sft_keras.micro.export(lite, "firmware/", labels=["yes", "no"])
    """
    require_lite(lite, "micro.export()")
    exporting.require_identifier(name)
    _require_exportable(lite)
    exporting.require_labels(lite, labels)
    writing.require_free_folder(folder, overwrite)
    peak = _peak(lite)
    vectors = golden.vectors(lite, samples)
    smallest = arena_size(lite)
    operators = sorted({operator.name for operator in lite.file.operators})
    methods = targets.named("tflm").operators
    values = {
        "name": name,
        "title": exporting.title(name),
        "version": __version__,
        "content": lite.content,
        "stateful": lite.file.is_stateful,
        "methods": [methods[operator] for operator in operators],
        "inputs": [_tensor(details) for details in lite.inputs],
        "outputs": [_tensor(details) for details in lite.outputs],
        "labels": list(labels or ()),
        "vectors": vectors,
        "smallest_arena": smallest,
        "arena": -int(-smallest * MARGIN // ALIGNMENT) * ALIGNMENT,
        "peak": peak,
    }
    environment = exporting.environment("sft_keras.micro")
    environment.filters.update(numbers=_numbers, c_string=_c_string)
    with writing.output_folder(folder, overwrite) as staging:
        for pattern in FILES:
            template = environment.get_template(f"{pattern.replace('{name}_', '')}.jinja")
            text = template.render(values)
            (staging / pattern.format(name=name)).write_text(text, encoding="utf-8")


def _tensor(details: TensorDetails) -> dict[str, Any]:
    """What the templates say of an input or output."""
    return {
        "label": details.name,
        "title": exporting.title(details.name),
        "c_type": C_TYPES[details.dtype],
        "dtype": details.dtype,
        "shape": details.shape,
        "size": int(np.prod(details.shape)),
        "scale": details.scale,
        "zero_point": details.zero_point,
        "limits": None if details.scale is None else np.iinfo(details.dtype),
    }


def _require_exportable(lite: LiteModel) -> None:
    exporting.require_sizes(lite)
    if not lite.inputs or not lite.file.subgraphs[0].operators:
        raise UnsupportedError(
            f"{lite.name} has no input or no operator, so that there is nothing to run; convert a "
            "model that computes something."
        )
    for details in (*lite.inputs, *lite.outputs):
        if details.dtype not in C_TYPES:
            raise UnsupportedError(
                f"'{details.name}' of {lite.name} is {details.dtype}, for which C has no type; "
                f"convert to one of {', '.join(C_TYPES)}."
            )
    promise = gate.promise_of(lite)
    if promise.dtype == "float32":
        raise UnsupportedError(
            f"{lite.name} computes in float32; convert the model to int8 first, by "
            "sft_keras.quantize(model) or representative_data=."
        )
    # That some layers stay float is the user's choice, and TFLite Micro runs them.
    checks = (gate.builtin_operators, gate.target_operators, gate.static_shapes)
    found = [finding for check in checks for finding in check(lite.file, promise)]
    if found:
        raise GateError("\n".join([f"TFLite Micro cannot run {lite.name}:", *found]))


def _peak(lite: LiteModel) -> OperatorMemory:
    """The operator that takes most memory, if that is what there may be."""
    peak = max(memory_by_operator(lite), key=lambda x: x.bytes)
    if peak.bytes > MICRO_ARENA:
        raise UnsupportedError(
            f"{lite.name} takes {peak.bytes:,} bytes of memory while {peak.operator} runs, more "
            "than any microcontroller has; give the Keras model a smaller Input."
        )
    return peak


def _numbers(values: Any, width: int = 96) -> str:
    """Numbers of an array for a C initializer, in lines."""
    lines, line = [], ""
    for value in np.asarray(values).ravel().tolist():
        text = (
            f"{exporting.float_literal(value)}," if isinstance(value, float) else f"{int(value)},"
        )
        if len(line) + len(text) > width:
            lines.append(line)
            line = ""
        line += text
    return "\n    ".join([*lines, line])


def _c_string(text: str) -> str:
    """A C string literal; what is not ASCII as octal escapes of UTF-8."""
    safe = range(32, 127)
    escaped = "".join(
        chr(byte) if byte in safe and chr(byte) not in '"\\?' else f"\\{byte:03o}"
        for byte in text.encode("utf-8")
    )
    return f'"{escaped}"'
