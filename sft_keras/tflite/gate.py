"""The gate: reads a `.tflite` file and names everything that breaks what was promised of it.

A file can convert without a warning and yet hold float islands, operators that a microcontroller
lacks, or layers that abort the interpreter. Each check below is a function from the decoded file
to sentences, and `CHECKS` says which of them a file has to pass.
"""

from collections.abc import Callable, Iterator

import numpy as np

from sft_keras.errors import GateError, UnsupportedError
from sft_keras.tflite import schema, targets
from sft_keras.tflite.lite_model import LiteModel

# XNNPACK refuses a file with input scale * weight scale / output scale at or above this. Located
# on ai-edge-litert 2.3 by patching output scales: these four operators load at 255 and are refused
# at 256.1; ADD, SUB, MUL and MEAN load at any ratio.
XNNPACK_RATIO_LIMIT = 256.0
# Reference kernels and TFLite Micro need scale * 2**26 > 1: 1.5e-8 runs, 1.48e-8 aborts.
SOFTMAX_SCALE = 2.0**-26
EMPTY_SCALE = 1e-8  # the converter widens an empty range to some 1e-6, which is 4e-9 a step
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def check(lite: LiteModel, dtype: str = "int8") -> None:
    """Raises if the file is not what a device needs.

    Args:
        lite: the file.
        dtype: `"int8"` for a file that computes in int8 only, `"float32"` for a plain one.

    Raises:
        GateError: the file breaks a promise; the message lists all findings, one a line.
        UnsupportedError: nobody knows `dtype`.

    Example:
        >>> gate.check(sft_keras.LiteModel.load("model.tflite"))
    """
    found = findings(lite, dtype)
    if found:
        raise GateError("\n".join([f"The gate refuses {lite.name}:", *(f"- {f}" for f in found)]))


def findings(lite: LiteModel, dtype: str = "int8") -> list[str]:
    """What `check` would raise about: one sentence a finding, with the tensor and the way out.

    Args:
        lite: the file.
        dtype: `"int8"` or `"float32"`.

    Returns:
        Sentences; empty for a file that passes.

    Example:
        >>> gate.findings(lite)
        ["Input 'image' is float32: convert with dtype='int8'."]
    """
    if dtype not in CHECKS:
        raise UnsupportedError(f"dtype '{dtype}' is unknown; choose one of {', '.join(CHECKS)}.")
    return [finding for check_one in CHECKS[dtype] for finding in check_one(lite.file)]


def no_float(file: schema.File) -> Iterator[str]:
    """Float tensors, each with the operator that reads or writes it."""
    floats = {tensor for tensor in file.tensors if "float" in tensor.dtype}
    for operator in file.operators:
        touched = floats.intersection(operator.inputs + operator.outputs)
        if touched:
            yield (
                f"{operator} works on {' and '.join(sorted({t.dtype for t in touched}))}: quantize "
                "that layer with sft_keras.quantize(model), or convert the plain model with "
                "representative_data=."
            )
    used = {t for operator in file.operators for t in operator.inputs + operator.outputs}
    for tensor in (t for t in file.tensors if t in floats - used):
        yield f"Tensor '{tensor.name}' is {tensor.dtype} and unused: convert the model again."


def int8_io(file: schema.File) -> Iterator[str]:
    """Inputs and outputs of the file that are not int8."""
    graph = file.subgraphs[0]
    for side, tensors in (("Input", graph.inputs), ("Output", graph.outputs)):
        for tensor in tensors:
            if tensor.dtype != "int8":
                yield f"{side} '{tensor.name}' is {tensor.dtype}: convert with dtype='int8'."


def builtin_operators(file: schema.File) -> Iterator[str]:
    """Custom and TensorFlow operators, which need code that no runtime brings along."""
    for operator in file.operators:
        if operator.name.startswith("CUSTOM:"):
            yield f"{operator} is no TFLite operator: replace that layer by builtin Keras layers."


def micro_operators(file: schema.File) -> Iterator[str]:
    """Builtin operators that TFLite Micro lacks."""
    known = targets.operators("tflm")
    for operator in file.operators:
        if operator.name not in known and not operator.name.startswith("CUSTOM:"):
            yield f"{operator} is missing from TFLite Micro: replace that layer or activation."


def static_shapes(file: schema.File) -> Iterator[str]:
    """Tensors whose size is only known when the model runs."""
    for tensor in file.tensors:
        if -1 in tensor.shape:
            yield (
                f"Tensor '{tensor.name}' has the dynamic shape {list(tensor.shape)}: give the "
                "Keras model's Input fixed sizes; only the batch axis may be None."
            )


def has_signature(file: schema.File) -> Iterator[str]:
    """A file whose inputs and outputs have no names."""
    if not file.signatures:
        yield "The file has no signature: convert with sft_keras.convert, which writes one."


def seen_inputs(file: schema.File) -> Iterator[str]:
    """Inputs whose range is empty, because the model that was converted never saw data."""
    for tensor in file.subgraphs[0].inputs:
        if tensor.scales.size and tensor.scales.max() <= EMPTY_SCALE:
            yield (
                f"Input '{tensor.name}' has an empty range: call fit() on the quantized model, or "
                "give representative_data= that is not all zero."
            )


def living_layers(file: schema.File) -> Iterator[str]:
    """Layers whose weights are all zero, so that nothing of the input gets through them."""
    for operator in file.operators:
        weights = _weights(operator)
        if weights is not None and weights.data is not None and not weights.data.any():
            yield (
                f"{operator} has only zero weights, so its outputs are constant: keep at least one "
                "filter of that layer, or remove the layer."
            )


def visible_softmax(file: schema.File) -> Iterator[str]:
    """Softmax on inputs of almost no range, on which reference kernels abort the process."""
    for operator in file.operators:
        if operator.name == "SOFTMAX" and operator.inputs[0].scales.size:
            scale = operator.inputs[0].scales.max()
            if scale <= SOFTMAX_SCALE:
                yield (
                    f"{operator} has an input scale of {scale:.1e}, which aborts TFLite Micro: the "
                    "layers before it give zero only, so train on, or prune less."
                )


def moderate_scales(file: schema.File) -> Iterator[str]:
    """Layers whose output is so small beside their input and weights that XNNPACK refuses them."""
    for operator in file.operators:
        weights = _weights(operator)
        if weights is None or weights.dtype != "int8":
            continue
        data = next((t for t in operator.inputs if t.data is None), weights)
        scales = (data.scales, weights.scales, operator.outputs[0].scales)
        if not all(s.size for s in scales):
            continue
        ratio = float(np.max(scales[0]) * np.max(scales[1]) / np.max(scales[2]))
        if ratio >= XNNPACK_RATIO_LIMIT:
            yield (
                f"{operator} has input scale * weight scale / output scale = {ratio:.0f}, and "
                f"XNNPACK refuses {XNNPACK_RATIO_LIMIT:.0f} and more: its outputs are nearly all "
                "zero, so train on, or prune that layer."
            )


CHECKS: dict[str, tuple[Callable[[schema.File], Iterator[str]], ...]] = {
    "int8": (
        no_float,
        int8_io,
        builtin_operators,
        micro_operators,
        static_shapes,
        has_signature,
        seen_inputs,
        living_layers,
        visible_softmax,
        moderate_scales,
    ),
    "float32": (builtin_operators, static_shapes, has_signature),
}


def _weights(operator: schema.Operator) -> schema.Tensor | None:
    if operator.name not in WEIGHTED:
        return None
    # TRANSPOSE_CONV is (output shape, weights, data, bias), the others (data, weights, bias).
    return operator.inputs[1]
