"""`to_onnx`: the int8 network of a `.tflite` file for ONNX Runtime and TensorRT."""

import importlib
import importlib.util
import os
import tempfile
from pathlib import Path
from typing import Any

from sft_keras import writing
from sft_keras.errors import MissingExtraError, UnsupportedError
from sft_keras.tflite import child
from sft_keras.tflite.lite_model import LiteModel, require_lite

OPSET = 13  # the first in which QuantizeLinear takes a scale for each channel


def to_onnx(
    lite: LiteModel,
    path: str | os.PathLike,
    *,
    opset: int = OPSET,
    overwrite: bool = False,
    timeout: float = 600,
) -> None:
    """Writes a file's network as ONNX, its rounding as QuantizeLinear and DequantizeLinear.

    Inputs and outputs have the dtypes and the names of the file's signature.

    Args:
        lite: the file.
        path: the `.onnx` file to write; its folder must exist.
        opset: version of the ONNX operators.
        overwrite: whether an existing file may be replaced.
        timeout: seconds after which the conversion is stopped.

    Raises:
        ArgumentError: `lite` is no `LiteModel`.
        MissingExtraError: `tf2onnx` is not installed.
        UnsupportedError: tf2onnx cannot convert the file.
        FileError: `path` exists, or cannot be written.

    Example:
        >>> sft_keras.tflite.to_onnx(lite, "model.onnx")
    """
    require_lite(lite, "to_onnx()")
    if importlib.util.find_spec("tf2onnx") is None:
        raise MissingExtraError('tf2onnx is not installed; pip install "sft-keras[onnx]".')
    with tempfile.TemporaryDirectory(prefix="sft_keras_") as temporary:
        source, target = Path(temporary, "model.tflite"), Path(temporary, "model.onnx")
        lite.save(source)
        arguments: list[str | Path] = ["--tflite", source, "--output", target]
        try:
            child.run("tf2onnx.convert", [*arguments, "--opset", str(opset)], timeout)
        except child.ChildError as error:
            raise UnsupportedError(f"tf2onnx cannot convert {lite.name}: {error}.") from error
        onnx = importlib.import_module("onnx")
        model = onnx.load(target)
    _rename_ends(model.graph, lite)
    onnx.checker.check_model(model)
    writing.save(path, model.SerializeToString(), overwrite)


def _rename_ends(graph: Any, lite: LiteModel) -> None:
    """Gives inputs and outputs, which have the names of tensors, those of the signature."""
    sides = ((graph.input, lite.inputs), (graph.output, lite.outputs))
    names = {
        value.name: details.name
        for values, all_details in sides
        for value, details in zip(values, all_details, strict=True)
    }
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for value in (*graph.input, *graph.output):
        value.name = names[value.name]
