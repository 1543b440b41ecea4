"""The gate: reads a `.tflite` file and names everything that breaks what was promised of it.

A file can convert without a warning and yet hold float islands, operators that a microcontroller
lacks, or layers that abort the interpreter. Each check, here and in `scales`, is a function from
the decoded file to sentences, and `CHECKS` says which of them a file has to pass.
"""

from collections.abc import Callable, Iterator

from sft_keras.errors import GateError
from sft_keras.tflite import scales, schema, targets
from sft_keras.tflite.lite_model import LiteModel
from sft_keras.tflite.promise import DTYPES, INTEGERS, Promise


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
    """Operators of the target's whose kernels do not take their dtype, their tensors or axes."""
    target = targets.named(promise.target)
    for operator in file.operators:
        for reason in unfit(operator, target):
            yield f"{reason}, or convert with {_elsewhere(operator)}."


def _elsewhere(operator: schema.Operator) -> str:
    """What to convert with, so that the kernels of phones take an operator."""
    phone = targets.named("litert")
    if not any(unfit(operator, phone)):
        return "target='litert'"
    return "dtype='float32'" if operator.name in phone.untaken["int8"] else "dtype='int8'"


def unfit(operator: schema.Operator, target: targets.Target) -> Iterator[str]:
    """Why a target's kernel does not take an operator, and how to go without."""
    yield from _untaken_dtypes(operator, target)
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
    if len({t.shape for t in operator.inputs}) > 1:
        dtype = operator.inputs[0].dtype
        limit = target.most_stretched_axes.get(dtype, {}).get(operator.name, axes)
        if axes > limit:
            yield (
                f"{operator} stretches {dtype} to {axes} axes with that of the batch, and "
                f"{target.title} to {limit} at most: Reshape both tensors to fewer before"
            )


def _untaken_dtypes(operator: schema.Operator, target: targets.Target) -> Iterator[str]:
    # Most operators read positions, axes or sizes in int32 besides the numbers they work on; those
    # come first, or behind a mask.
    numbers = next((t for t in operator.inputs if t.dtype != "bool"), None)
    tensors = operator.inputs + operator.outputs
    for dtype in dict.fromkeys(t.dtype for t in tensors if t is numbers or t.dtype != "int32"):
        if operator.name not in target.untaken.get(dtype, ()):
            continue
        way_out = "replace that layer or activation"
        if dtype == "int64":
            yield (
                f"{operator} takes or gives int64, which {target.title} does not know there: use "
                f"int32, or {way_out}"
            )
            continue
        taken = [d for d in ("int8", "int16") if operator.name not in target.untaken.get(d, ())]
        only = f"{', '.join(taken)} and float32" if taken else "float32"
        yield f"{operator} is {dtype}, and {target.title} computes it in {only} only: {way_out}"


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
    scales.seen_inputs,
    scales.living_layers,
    scales.kept_ranges,
    scales.visible_softmax,
    scales.distinct_scores,
    scales.visible_numbers,
    scales.faithful_tables,
    scales.close_logarithms,
    scales.visible_sums,
    scales.own_biases,
    scales.wide_sums,
    scales.moderate_scales,
    scales.measured_convolutions,
)
CHECKS: dict[str, tuple[Check, ...]] = {
    "int8": QUANTIZED,
    "int16x8": QUANTIZED,
    "dynamic": (*EVERY, small_weights),
    "float16": (*EVERY, small_weights),
    "float32": EVERY,
}
