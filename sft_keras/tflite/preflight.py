"""`check`: what a target will make of a file, before anybody flashes it."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from sft_keras.tflite import gate, overwriting, scales, schema, targets
from sft_keras.tflite.lite_model import LiteModel, require_lite

NPU_OPERATOR = "CUSTOM:ethos-u"
CONVOLUTIONS = ("CONV_2D", "TRANSPOSE_CONV")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that a target dislikes.

    Attributes:
        stops: whether the file does not run there, or computes something else; otherwise it runs,
            only slower or larger than it could be.
        text: a sentence with the layer and the way out.
    """

    stops: bool
    text: str


@dataclasses.dataclass(frozen=True)
class Preflight:
    """Result of `check`; `print` shows it as a list."""

    name: str
    target: str
    findings: tuple[Finding, ...]

    @property
    def runs(self) -> bool:
        """Whether nothing stops the file on the target."""
        return not any(finding.stops for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain types, for JSON."""
        return {**dataclasses.asdict(self), "runs": self.runs}

    def __str__(self) -> str:
        verdict = "runs" if self.runs else "does not run"
        lines = [f"{self.name} {verdict} on {targets.named(self.target).title}"]
        for finding in sorted(self.findings, key=lambda f: not f.stops):
            lines.append(f"- {'stops' if finding.stops else 'remark'}: {finding.text}")
        return "\n".join(lines)


def check(lite: LiteModel, target: str) -> Preflight:
    """Looks for what a target cannot run, and for what it only runs slowly.

    It reads the file and the target's list of operators. It runs nothing, and the limits that a
    compiler for an accelerator has beyond the list are not known here: `micro.ethos_u` asks Vela.

    Args:
        lite: any file.
        target: one of `targets.names()`: a runtime (`"tflm"`, `"tflite-runtime-2.14"`,
            `"litert"`), or one with an accelerator (`"cmsis-nn"`, `"ethos-u55-128"`,
            `"ethos-u65-256"`, `"coral-edgetpu"`).

    Returns:
        A `Preflight`: print it, or ask for `.runs` and `.findings`.

    Raises:
        ArgumentError: `lite` is no `LiteModel`.
        UnsupportedError: nobody knows the target.
        FileError: the file is truncated or corrupt.

    Example:
        >>> print(sft_keras.check(lite, "ethos-u55-128"))
        'model.tflite' runs on Arm Ethos-U55 with 128 multiply-accumulates
        - remark: CONV_2D 'first' has 20 filters, and 32 take as long: prune with width_multiple=16.
    """
    require_lite(lite, "check()")
    known = targets.named(target)
    findings = [
        Finding(stops, text)
        for stops, rules in ((True, STOPS), (False, REMARKS))
        for rule in rules
        for text in rule(lite.file, known)
    ]
    return Preflight(lite.name, target, tuple(findings))


def _missing_operators(file: schema.File, target: targets.Target) -> Iterator[str]:
    compiled = {NPU_OPERATOR} if target.name.startswith("ethos-u") else set()
    known = {*target.operators, *(target.accelerated or ()), *compiled}
    for operator in file.operators:
        if operator.name not in known:
            yield (
                f"{operator} is missing from {targets.named(target.host).title}: replace that "
                "layer or activation."
            )


def _unfit_kernels(file: schema.File, target: targets.Target) -> Iterator[str]:
    host = targets.named(target.host)
    for operator in file.operators:
        if operator.name not in (target.accelerated or ()):
            yield from (f"{reason}." for reason in gate.unfit(operator, host))


def _padding_in_float(file: schema.File, target: targets.Target) -> Iterator[str]:
    """A number to pad with that the converter left float32, as it does in int16x8."""
    for operator in file.operators:
        if operator.name != "PADV2" or len(operator.inputs) < 3:
            continue
        padded, _, number = (tensor.dtype for tensor in operator.inputs[:3])
        if padded != number:
            yield (
                f"{operator} pads {padded} with a number in {number}, which no runtime takes: pad "
                "with zeros, or convert with dtype='int8'."
            )


def _new_versions(file: schema.File, target: targets.Target) -> Iterator[str]:
    yield from gate.known_versions(file, gate.Promise(target=target.host))


def _dynamic_shapes(file: schema.File, target: targets.Target) -> Iterator[str]:
    """Unknown sizes, which every runtime takes as 1; only a caller on a phone can change them."""
    if target.is_phone:
        return
    for tensor in file.subgraphs[0].inputs:
        if -1 in tensor.shape[1:]:
            yield (
                f"Input '{tensor.name}' has the dynamic shape {list(tensor.shape)}: give the Keras "
                "model's Input fixed sizes; only the batch axis may be None."
            )


def _resizable_inputs(file: schema.File, target: targets.Target) -> Iterator[str]:
    for tensor in file.subgraphs[0].inputs:
        stopped = not target.is_phone and -1 in tensor.shape[1:]
        if -1 in tensor.shape and not stopped:
            yield (
                f"Input '{tensor.name}' has the dynamic shape {list(tensor.shape)}, which is taken "
                "as 1 where nothing is said and keeps accelerators away: convert with "
                "sft_keras.convert, which fixes the batch."
            )


def _misread_dense(file: schema.File, target: targets.Target) -> Iterator[str]:
    if target.per_channel_dense:
        return
    for operator in file.operators:
        if operator.name == "FULLY_CONNECTED" and operator.inputs[1].scales.size > 1:
            yield (
                f"{operator} has a range for each output, which old versions of {target.title} "
                f"read as one: convert with target='{target.name}'."
            )


def _hybrid_operators(file: schema.File, target: targets.Target) -> Iterator[str]:
    """Weights in fewer bits than the numbers they meet, which only phones' runtimes unpack."""
    if not target.is_micro:
        return
    for operator in file.operators:
        dtypes = {tensor.dtype for tensor in operator.inputs}
        packed = operator.name == "DEQUANTIZE" and "float16" in dtypes
        if packed or (operator.name in scales.WEIGHTED and {"float32", "int8"} <= dtypes):
            yield (
                f"{operator} unpacks weights for numbers in float32, which {target.title} cannot: "
                "convert with dtype='int8'."
            )


def _wrong_dtypes(file: schema.File, target: targets.Target) -> Iterator[str]:
    if not target.dtypes:
        return
    for operator in file.operators:
        others = {t.dtype for t in operator.inputs + operator.outputs} - set(target.dtypes)
        if others:
            yield (
                f"{operator} works on {' and '.join(sorted(others))}, and {target.title} only takes"
                f" {', '.join(target.dtypes)}: convert with dtype='int8'."
            )


def _aborting_softmax(file: schema.File, target: targets.Target) -> Iterator[str]:
    yield from scales.visible_softmax(file, gate.Promise())


def _indistinct_scores(file: schema.File, target: targets.Target) -> Iterator[str]:
    yield from scales.distinct_scores(file, gate.Promise())


def _lost_numbers(file: schema.File, target: targets.Target) -> Iterator[str]:
    yield from scales.visible_numbers(file, gate.Promise())
    yield from scales.close_logarithms(file, gate.Promise())


def _coarse_tables(file: schema.File, target: targets.Target) -> Iterator[str]:
    yield from scales.faithful_tables(file, gate.Promise(target=target.host))


def _aborting_sums(file: schema.File, target: targets.Target) -> Iterator[str]:
    yield from scales.visible_sums(file, gate.Promise())


def _refused_scales(file: schema.File, target: targets.Target) -> Iterator[str]:
    if target.is_phone:
        yield from scales.moderate_scales(file, gate.Promise())


def _float_tensors(file: schema.File, target: targets.Target) -> Iterator[str]:
    if not target.dtypes:
        yield from gate.no_float(file, gate.Promise())


def _left_to_the_host(file: schema.File, target: targets.Target) -> Iterator[str]:
    if target.accelerated is None:
        return
    for number, operator in enumerate(operators := file.subgraphs[0].operators):
        if operator.name in target.accelerated or operator.name not in target.operators:
            continue
        behind = len(operators) - number - 1
        all_behind = f", and all {behind} operators behind it" if target.one_piece else ""
        yield (
            f"{operator} {target.left}{all_behind}: replace that layer or activation by one "
            f"that {target.title} has."
        )
        if target.one_piece:
            return


def _uneven_filters(file: schema.File, target: targets.Target) -> Iterator[str]:
    multiple = target.filters_multiple
    for operator in file.operators:
        shape = operator.outputs[0].shape if operator.name in CONVOLUTIONS else ()
        filters = shape[-1] if shape else 0
        if filters % multiple:
            yield (
                f"{operator} has {filters} filters, and {-(-filters // multiple) * multiple} take "
                f"as long: prune with width_multiple={multiple}."
            )


def _overwritten_tensors(file: schema.File, target: targets.Target) -> Iterator[str]:
    if not target.is_phone:
        return
    for graph in file.subgraphs:
        for found in overwriting.overwrites(graph):
            lost = found.operator.inputs[found.position]
            yield (
                f"{found.operator} writes over '{lost.name}', whose numbers are read again, on "
                "kernels without XNNPACK: convert the model again with sft_keras."
            )


STOPS = (
    *(
        _overwritten_tensors,
        _missing_operators,
        _unfit_kernels,
        _padding_in_float,
        _new_versions,
        _dynamic_shapes,
        _misread_dense,
        _hybrid_operators,
    ),
    *(
        _wrong_dtypes,
        _aborting_softmax,
        _indistinct_scores,
        _lost_numbers,
        _coarse_tables,
        _aborting_sums,
        _refused_scales,
    ),
)
REMARKS = (_resizable_inputs, _float_tensors, _left_to_the_host, _uneven_filters)
