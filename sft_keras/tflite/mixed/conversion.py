"""Converts the parts of a model, each to its dtype, and joins them."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging
from keras import tree

from sft_keras import flavors
from sft_keras.errors import ArgumentError
from sft_keras.tflite import converter, export
from sft_keras.tflite.lite_model import LiteModel
from sft_keras.tflite.mixed.joining import End, Piece, join
from sft_keras.tflite.mixed.parts import Part, split
from sft_keras.tflite.promise import INTEGERS, Promise

COMPUTED = {"int8": "int8", "int16x8": "int16", "float32": "float32"}
"""The dtype of what a part computes."""


def chosen_names(
    model: Any, layer_dtypes: Mapping[str, str], dtype: str, is_calibrated: bool
) -> dict[str, str]:
    """The layers that compute in another dtype than the rest: those chosen, or left by `quantize`.

    Args:
        model: the model to convert.
        layer_dtypes: names or patterns with dtypes.
        dtype: that of the rest.
        is_calibrated: whether there is representative data.

    Raises:
        ArgumentError: `layer_dtypes` does not fit the model or the way that it is quantized in.
    """
    from sft_keras.quantization.layer_dtypes import by_path

    layers = [c.layer for c in flavors.calls(model) if not flavors.is_input_layer(c.layer)]
    # By name, for importing TFMOT takes seconds.
    plain = [layer.name for layer in layers if type(layer).__name__ != "Int8Wrapper"]
    is_trained = len(plain) < len(layers)
    if not layer_dtypes:
        if is_trained and plain:
            names = ", ".join(f"'{name}'" for name in plain)
            logging.warning("Layers of '%s' that stay float32: %s.", model.name, names)
        return dict.fromkeys(plain, "float32") if is_trained else {}
    if is_trained:
        raise ArgumentError(
            f"Model '{model.name}' was trained for int8; give layer_dtypes to quantize() instead."
        )
    if dtype not in converter.CALIBRATED or not is_calibrated:
        raise ArgumentError(
            "layer_dtypes is for quantization after training; give representative_data= too, and "
            "dtype='int8' or 'int16x8'."
        )
    chosen = by_path(model, layer_dtypes)
    return {path: other for path, other in chosen.items() if other != dtype}


def convert(
    model: Any,
    dtypes: Mapping[str, str],
    promise: Promise,
    samples: Sequence[np.ndarray] | None,
    timeout: float,
) -> tuple[LiteModel, Promise]:
    """Converts a model whose layers compute in different dtypes.

    Args:
        model: functional model.
        dtypes: of the layers, by name; the others compute in `promise.dtype`.
        promise: what the file is to be but for these layers.
        samples: see `converter.run`.
        timeout: seconds that the converter may take for a part.

    Returns:
        The file, and the promise with what was chosen.
    """
    parts = split(model, lambda layer: dtypes.get(layer.name, promise.dtype))
    parts.sort(key=lambda part: part.dtype != promise.dtype)
    values = _values(model, parts, samples)
    files = []
    for part in parts:
        own, part_samples = Promise(part.dtype, promise.target), None
        if values is not None and part.dtype in converter.CALIBRATED:
            part_samples = [values[id(x)] for x in part.inputs]
        files.append(converter.run(part.model, own, part_samples, timeout))
    pieces = [
        Piece(file.content, _ends(part.inputs, suffix=f"_{part.dtype}"), _ends(part.outputs))
        for part, file in zip(parts, files, strict=True)
    ]
    inputs = _ends(flavors.inputs(model), promise.input_dtype)
    outputs = _ends(flavors.outputs(model), promise.output_dtype)
    content, owners = join(pieces, inputs, outputs)
    lite = LiteModel(content, f"'{model.name}'")
    chosen = {}
    for tensor, number in zip(lite.file.tensors, owners, strict=True):
        dtype = promise.dtype if number is None else parts[number].dtype
        is_weight = tensor.data is not None and "float" not in tensor.dtype
        if dtype != promise.dtype and tensor.dtype not in INTEGERS and not is_weight:
            chosen[tensor.name] = COMPUTED[dtype]
    return lite, dataclasses.replace(promise, chosen=chosen)


def _values(
    model: Any, parts: Sequence[Part], samples: Sequence[np.ndarray] | None
) -> dict[int, np.ndarray] | None:
    """What each part takes, on calibration samples."""
    if samples is None:
        return None
    tensors = list({id(x): x for part in parts for x in part.inputs}.values())
    between = flavors.library(model).Model(flavors.inputs(model), tensors)
    found = tree.flatten(between.predict(list(samples), verbose=0))
    return dict(zip(map(id, tensors), found, strict=True))


def _ends(tensors: list, dtype: str | None = None, suffix: str = "") -> list[End]:
    names = export.readable(flavors.producer(x).name + suffix for x in tensors)
    return [End(name, id(x), dtype) for name, x in zip(names, tensors, strict=True)]
