"""The gate: reads a `.tflite` file and names everything that breaks what was promised of it.

A file can convert without a warning and yet hold float islands, operators that a microcontroller
lacks, or layers that abort the interpreter. Each check below is a function from the decoded file
to sentences, and `CHECKS` says which of them a file has to pass.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

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
SUM_SHIFTS = {"int8": 20, "int16": 15}  # bits by which ADD and SUB make inputs larger
SQUARE_SHIFTS = {"int8": 14}  # likewise SQUARED_DIFFERENCE, of the square
INTEGERS = ("int32", "int64", "bool")  # tokens, positions, masks
MOVING = {
    *("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "REVERSE_V2", "CONCATENATION", "PACK"),
    *("SLICE", "STRIDED_SLICE", "SPLIT", "UNPACK", "GATHER"),
}
WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


@dataclasses.dataclass(frozen=True)
class Promise:
    """What a file was promised to be.

    Args:
        dtype: what it computes in, one of `DTYPES`.
        target: what runs it, one of `targets.names()`.
        input_dtype: of its inputs, but for those of integers such as tokens; by default that of
            the computation.
        output_dtype: of its outputs, likewise.
        chosen: names of tensors that are to have another dtype, each with that.
        calibrated: whether the file was quantized after training.
    """

    dtype: str = "int8"
    target: str = "tflm"
    input_dtype: str | None = None
    output_dtype: str | None = None
    chosen: Mapping[str, str] = dataclasses.field(default_factory=dict)
    calibrated: bool = False

    def __post_init__(self):
        _require_one_of("dtype", self.dtype, DTYPES)
        _require_one_of("target", self.target, targets.names())
        for key in ("input_dtype", "output_dtype"):
            given = getattr(self, key)
            if given is not None:
                _require_one_of(f"{key} of a file in {self.dtype}", given, DTYPES[self.dtype])

    @property
    def io(self) -> tuple[str, str]:
        """The dtypes of inputs and outputs."""
        default = DTYPES[self.dtype][0]
        return self.input_dtype or default, self.output_dtype or default


def promise_of(lite: LiteModel) -> Promise:
    """What a file of unknown origin seems to be, by the tensors that go through most of it."""
    between = [t for op in lite.file.operators for t in op.outputs if op.name != "QUANTIZE"]
    dtypes = {tensor.dtype for tensor in between}
    dtype = next((d for d, key in (("int8", "int8"), ("int16x8", "int16")) if key in dtypes), None)
    sides = [details[0].dtype if details else None for details in (lite.inputs, lite.outputs)]
    if dtype is None:
        return Promise("float32")
    input_dtype, output_dtype = (d if d in DTYPES[dtype] else None for d in sides)
    return Promise(dtype, "tflm", input_dtype, output_dtype)


DTYPES = {
    "int8": ("int8", "uint8", "float32"),
    "int16x8": ("int16", "float32"),
    "dynamic": ("float32",),
    "float16": ("float32",),
    "float32": ("float32",),
}
"""What a file may compute in, each with what its inputs and outputs may be, the default first."""


def _require_one_of(what: str, given: Any, known: Any) -> None:
    if not isinstance(given, str) or given not in known:
        raise UnsupportedError(f"{what} '{given}' is unknown; choose one of {', '.join(known)}.")


def check(lite: LiteModel, promise: Promise | None = None) -> None:
    """Raises if the file is not what a device needs.

    Args:
        lite: the file.
        promise: what it was promised to be; by default int8 throughout, for TFLite Micro.

    Raises:
        GateError: the file breaks a promise; the message lists all findings, one a line.

    Example:
        >>> gate.check(sft_keras.LiteModel.load("model.tflite"))
    """
    found = findings(lite, promise)
    if found:
        raise GateError("\n".join([f"The gate refuses {lite.name}:", *(f"- {f}" for f in found)]))


def findings(lite: LiteModel, promise: Promise | None = None) -> list[str]:
    """What `check` would raise about: one sentence a finding, with the tensor and the way out.

    Args:
        lite: the file.
        promise: as in `check`.

    Returns:
        Sentences; empty for a file that passes.

    Example:
        >>> gate.findings(lite)
        ["Input 'image' is float32: convert with input_dtype='int8'."]
    """
    promise = promise or Promise()
    return [f for check_one in CHECKS[promise.dtype] for f in check_one(lite.file, promise)]


def no_float(file: schema.File, promise: Promise) -> Iterator[str]:
    """Float tensors, each with the operator that reads or writes it."""
    floats = {t for t in file.tensors if "float" in t.dtype and t.name not in promise.chosen}
    way_out = (
        "replace that layer or activation, or leave it float with layer_dtypes="
        if promise.calibrated
        else "quantize that layer with sft_keras.quantize(model), or convert the plain model with "
        "representative_data="
    )
    for operator in file.operators:
        touched = floats.intersection(operator.inputs + operator.outputs)
        if touched and not _is_at_the_ends(operator, touched, file):
            dtypes = " and ".join(sorted({t.dtype for t in touched}))
            yield f"{operator} works on {dtypes}: {way_out}."
    used = {
        tensor
        for operator in file.operators
        for tensor in operator.inputs + operator.outputs + operator.intermediates
    }
    for tensor in (t for t in file.tensors if t in floats - used):
        is_input = tensor in file.subgraphs[0].inputs
        way_out = "build it without that input" if is_input else "convert the model again"
        yield f"Tensor '{tensor.name}' is {tensor.dtype}, and the model does not use it: {way_out}."


def _is_at_the_ends(operator: schema.Operator, touched: set, file: schema.File) -> bool:
    """Whether the operator only turns inputs that are to be float into integers, or outputs back.

    `io_dtypes` says whether they are to be.
    """
    graph = file.subgraphs[0]
    turns = operator.name in ("QUANTIZE", "DEQUANTIZE")
    return turns and touched <= {*graph.inputs, *graph.outputs}


def io_dtypes(file: schema.File, promise: Promise) -> Iterator[str]:
    """Inputs and outputs of another dtype than promised; those of integers stay int32."""
    graph = file.subgraphs[0]
    sides = ("Input", graph.inputs), ("Output", graph.outputs)
    for (side, tensors), dtype in zip(sides, promise.io, strict=True):
        for tensor in tensors:
            if tensor.dtype not in (promise.chosen.get(tensor.name, dtype), *INTEGERS):
                way_out = f"convert with {side.lower()}_dtype='{dtype}'"
                yield f"{side} '{tensor.name}' is {tensor.dtype}: {way_out}."


def chosen_dtypes(file: schema.File, promise: Promise) -> Iterator[str]:
    """Tensors of layers that were to compute in another dtype, and do not."""
    for tensor in file.tensors:
        dtype = promise.chosen.get(tensor.name, tensor.dtype)
        if tensor.dtype != dtype:
            yield f"Tensor '{tensor.name}' is {tensor.dtype}, not {dtype} as layer_dtypes says."


def builtin_operators(file: schema.File, promise: Promise) -> Iterator[str]:
    """Custom and TensorFlow operators, which need code that no runtime brings along."""
    for operator in file.operators:
        if operator.name.startswith("CUSTOM:"):
            yield f"{operator} is no TFLite operator: replace that layer by builtin Keras layers."


def target_operators(file: schema.File, promise: Promise) -> Iterator[str]:
    """Builtin operators that the target lacks."""
    target = targets.named(promise.target)
    for operator in file.operators:
        if operator.name not in target.operators and not operator.name.startswith("CUSTOM:"):
            yield (
                f"{operator} is missing from {target.title}: replace that layer or activation, or "
                "convert with target='litert'."
            )


def target_kernels(file: schema.File, promise: Promise) -> Iterator[str]:
    """Operators of the target's whose kernels take no integers, or not as many tensors or axes."""
    target = targets.named(promise.target)
    for operator in file.operators:
        for reason in unfit(operator, target):
            other = "dtype='int8'" if target.is_phone else "target='litert'"
            yield f"{reason}, or convert with {other}."


def unfit(operator: schema.Operator, target: targets.Target) -> Iterator[str]:
    """Why a target's kernel does not take an operator, and how to go without."""
    for dtype in dict.fromkeys(t.dtype for t in operator.inputs):
        if operator.name in target.untaken.get(dtype, ()):
            no_int8 = operator.name in target.untaken.get("int8", ())
            yield (
                f"{operator} is {dtype}, and {target.title} computes it in "
                f"{'float32' if no_int8 else 'int8 and float32'} only: replace that layer or "
                "activation"
            )
    count = len(operator.inputs)
    if count > target.most_inputs.get(operator.name, count):
        yield (
            f"{operator} joins {count} tensors, and {target.title} "
            f"{target.most_inputs[operator.name]} at most: join fewer at a time"
        )
    axes = max((len(t.shape) for t in operator.inputs), default=0)
    if axes > target.most_axes.get(operator.name, axes):
        yield (
            f"{operator} takes a tensor of {axes} axes with that of the batch, and {target.title} "
            f"{target.most_axes[operator.name]} at most: Reshape it to fewer before"
        )


def known_versions(file: schema.File, promise: Promise) -> Iterator[str]:
    """Operators in a version that came after the target."""
    target = targets.named(promise.target)
    for operator in file.operators:
        newest = target.versions.get(operator.name, operator.version)
        if operator.version > newest:
            yield (
                f"{operator} is of version {operator.version}, and {target.title} knows {newest} "
                f"at most: convert with target='{target.name}', or replace that layer."
            )


def static_shapes(file: schema.File, promise: Promise) -> Iterator[str]:
    """Tensors whose size is only known when the model runs."""
    for tensor in file.tensors:
        if -1 in tensor.shape:
            yield (
                f"Tensor '{tensor.name}' has the dynamic shape {list(tensor.shape)}: give the "
                "Keras model's Input fixed sizes; only the batch axis may be None."
            )


def has_signature(file: schema.File, promise: Promise) -> Iterator[str]:
    """A file whose inputs and outputs have no names."""
    if not file.signatures:
        yield "The file has no signature: convert with sft_keras.convert, which writes one."


def seen_inputs(file: schema.File, promise: Promise) -> Iterator[str]:
    """Inputs whose range is empty, because the model that was converted never saw data."""
    for tensor in file.subgraphs[0].inputs:
        if tensor.scales.size and tensor.scales.max() <= EMPTY_SCALE:
            yield (
                f"Input '{tensor.name}' has an empty range: call fit() on the quantized model, or "
                "give representative_data= that is not all zero."
            )


def living_layers(file: schema.File, promise: Promise) -> Iterator[str]:
    """Layers whose weights are all zero, so that nothing of the input gets through them."""
    for operator in file.operators:
        weights = _weights(operator)
        if weights is not None and weights.data is not None and not weights.data.any():
            yield (
                f"{operator} has only zero weights, so its outputs are constant: keep at least one "
                "filter of that layer, or remove the layer."
            )


def kept_ranges(file: schema.File, promise: Promise) -> Iterator[str]:
    """Operators that move numbers as they are into another range, which changes them."""
    for operator in file.operators:
        ranges = {
            (tensor.dtype, *tensor.scales, *tensor.zero_points)
            for tensor in (*_moved(operator), *operator.outputs)
            if tensor.scales.size
        }
        if len(ranges) > 1 and _moved(operator):
            yield (
                f"{operator} moves numbers as they are from one range to another, which changes "
                "them: convert the model again with sft_keras.convert, which rescales them."
            )


def _moved(operator: schema.Operator) -> list[schema.Tensor]:
    """The tensors whose numbers an operator puts out as they are."""
    if operator.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        # Sequence, state and cell have no constant data; the state is put out at each step.
        return [t for t in operator.inputs if t.data is None][1:2]
    return list(operator.inputs) if operator.name in MOVING else []


def visible_softmax(file: schema.File, promise: Promise) -> Iterator[str]:
    """Softmax on inputs of almost no range, on which reference kernels abort the process."""
    for operator in file.operators:
        if operator.name == "SOFTMAX" and operator.inputs[0].scales.size:
            scale = operator.inputs[0].scales.max()
            if scale <= SOFTMAX_SCALE:
                yield (
                    f"{operator} has an input scale of {scale:.1e}, which aborts TFLite Micro: the "
                    "layers before it give zero only, so train on, or prune less."
                )


def moderate_scales(file: schema.File, promise: Promise) -> Iterator[str]:
    """Layers whose output is so small beside their input and weights that XNNPACK refuses them."""
    for operator in file.operators:
        weights = _weights(operator)
        if weights is None or weights.dtype != "int8":
            continue
        data = next((t for t in operator.inputs if t.data is None), weights)
        scales = (data.scales, weights.scales, operator.outputs[0].scales)
        if not all(s.size for s in scales):
            continue
        with np.errstate(all="ignore"):  # an output of scale 0 has an infinite ratio
            ratio = float(np.max(scales[0]) * np.max(scales[1]) / np.max(scales[2]))
        if ratio >= XNNPACK_RATIO_LIMIT:
            yield (
                f"{operator} has input scale * weight scale / output scale = {ratio:.0f}, and "
                f"XNNPACK refuses {XNNPACK_RATIO_LIMIT:.0f} and more: its outputs are nearly all "
                "zero, so train on, or prune that layer."
            )


def own_biases(file: schema.File, promise: Promise) -> Iterator[str]:
    """Layers whose bias is in another scale than the products that it is added to.

    For biases of int64, which go with int16: kernels for int8 look themselves.
    """
    for operator in file.operators:
        weights = _weights(operator)
        bias = operator.inputs[-1]
        if weights is None or bias.dtype != "int64" or bias.data is None:
            continue
        data = next(t for t in operator.inputs if t.data is None)
        products = data.scales * weights.scales if data.scales.size else data.scales
        if bias.scales.size and not np.allclose(bias.scales, products, rtol=1e-2, atol=0):
            yield (
                f"{operator} has a bias in another scale than its weights and input, which changes "
                "it: convert the model again with sft_keras.convert, which rescales it."
            )


def wide_sums(file: schema.File, promise: Promise) -> Iterator[str]:
    """Sums over an axis in the range of what they add up, as the converter writes them in int16."""
    for operator in file.operators:
        result = operator.outputs[0]
        if operator.name != "SUM" or result.dtype != "int16":
            continue
        summed = operator.inputs[0]
        if np.prod(summed.shape) > np.prod(result.shape) and summed.scales == result.scales:
            yield (
                f"{operator} has the range of what it adds up, which cuts it off: replace it by a "
                "mean, or convert with dtype='int8'."
            )


def measured_convolutions(file: schema.File, promise: Promise) -> Iterator[str]:
    """Convolutions whose ranges the converter measured on memory that is not the image.

    Its kernel for floats takes one of the image's size for a product of matrices if nothing is
    padded in front, as for a padded kernel of two: tensorflow/lite/kernels/internal/optimized/
    multithreaded_conv.h.
    """
    if not promise.calibrated:
        return
    for operator in file.operators:
        if operator.name != "CONV_2D":
            continue
        image, kernel, result = (
            tuple(t.shape[1:3]) for t in (*operator.inputs[:2], operator.outputs[0])
        )
        if image == kernel and max(image) == 2 and result == image:
            yield (
                f"{operator} has a padded kernel as large as the image, whose ranges the converter "
                "cannot measure: use a kernel of 3 where it is 2, or padding='valid'."
            )


def visible_sums(file: schema.File, promise: Promise) -> Iterator[str]:
    """Sums of almost no range beside what they add up, on which kernels abort the process.

    They bring what they computed to the output's scale by a factor that has to be below one.
    Located by patching output scales: on LiteRT ADD and SQUARED_DIFFERENCE, on TFLite Micro ADD and
    SUB.
    """
    for operator in file.operators:
        output = operator.outputs[0]
        scales = [float(t.scales.max()) for t in operator.inputs if t.scales.size]
        smallest = _smallest_sum(operator.name, output.dtype, 2 * max(scales, default=0))
        if output.scales.size and output.scales.max() <= smallest:
            yield (
                f"{operator} has an output scale of {output.scales.max():.1e}, and at "
                f"{smallest:.1e} and less runtimes abort: its outputs are nearly all zero, so "
                "train on, prune less, or give representative data that reaches it."
            )


def _smallest_sum(name: str, dtype: str, scale: float) -> float:
    """The output scale at which a sum of two numbers of half that scale aborts."""
    if name in ("ADD", "SUB") and dtype in SUM_SHIFTS:
        return scale * 2.0 ** -SUM_SHIFTS[dtype]
    if name == "SQUARED_DIFFERENCE" and dtype in SQUARE_SHIFTS:
        return scale**2 * 2.0 ** -SQUARE_SHIFTS[dtype]
    return -1.0


def small_weights(file: schema.File, promise: Promise) -> Iterator[str]:
    """Files whose weights all stayed float32."""
    wanted = {"dynamic": "int8", "float16": "float16"}[promise.dtype]
    if not any(t.dtype == wanted and t.data is not None for t in file.tensors):
        yield (
            f"No weights became {wanted}: the converter leaves arrays of less than 1024 numbers "
            "float32, so convert with dtype='float32', or with dtype='int8'."
        )


Check = Callable[[schema.File, Promise], Iterator[str]]
EVERY: tuple[Check, ...] = (builtin_operators, static_shapes, has_signature)
QUANTIZED: tuple[Check, ...] = (
    no_float,
    io_dtypes,
    chosen_dtypes,
    *EVERY,
    target_operators,
    target_kernels,
    known_versions,
    seen_inputs,
    living_layers,
    kept_ranges,
    visible_softmax,
    visible_sums,
    own_biases,
    wide_sums,
    moderate_scales,
    measured_convolutions,
)
CHECKS: dict[str, tuple[Check, ...]] = {
    "int8": QUANTIZED,
    "int16x8": QUANTIZED,
    "dynamic": (*EVERY, small_weights),
    "float16": (*EVERY, small_weights),
    "float32": EVERY,
}


def _weights(operator: schema.Operator) -> schema.Tensor | None:
    if operator.name not in WEIGHTED:
        return None
    # TRANSPOSE_CONV is (output shape, weights, data, bias), the others (data, weights, bias).
    return operator.inputs[1]
