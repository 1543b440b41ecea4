"""`verify`: the same bytes on every installed runtime, on real data, in one table."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from sft_keras.errors import GateError
from sft_keras.tables import aligned
from sft_keras.tflite import runtimes
from sft_keras.tflite.child import ChildError
from sft_keras.tflite.clipping import Clipped, Clipping
from sft_keras.tflite.data import batches
from sft_keras.tflite.lite_model import LiteModel, require_lite
from sft_keras.tflite.reference import wrong_runtimes

# TFLite Micro's kernels compute what these do, so all others are compared with them.
REFERENCES = ("tflite-runtime-ref", "litert-ref", "litert", "tflite-runtime")
RUNS = "runs"
CONV_NET = {
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D", "AVERAGE_POOL_2D", "MEAN"),
    *("ADD", "PAD", "CONCATENATION", "RESHAPE", "RELU", "RELU6", "SOFTMAX"),
}
"""Operators that TFLite Micro computes as the reference kernels do, bit for bit in int8."""


@dataclasses.dataclass(frozen=True)
class Row:
    """What one runtime makes of the file; None where a number does not apply.

    Attributes:
        runtime: its name.
        status: `"runs"`, or why it does not.
        accuracy: share of samples whose label the file names.
        agreement: share of outputs with the reference's argmax.
        largest_difference: from the reference's outputs, in the table's unit.
        differing: share of output values that differ from the reference's.
    """

    runtime: str
    status: str
    accuracy: float | None = None
    agreement: float | None = None
    largest_difference: float | None = None
    differing: float | None = None

    @property
    def runs(self) -> bool:
        """Whether the runtime loads the file and runs it."""
        return self.status == RUNS


@dataclasses.dataclass(frozen=True)
class Verification:
    """Result of `verify`; `print` shows it as a table.

    Attributes:
        rows: one a runtime.
        samples: how many samples were run.
        reference: the runtime that the others are compared with: the first of `REFERENCES` that
            ran and computes all of the file rightly; None if there is none.
        unit: what differences are counted in: `"int8 steps"`, or `"float32"` for a float file.
        conv_net: whether the file is in int8 and only has operators of convolutional networks.
        broken: operators of the file that some runtimes compute wrongly, each with these.
        clipped: for each quantized input, how much of the data it cannot hold.
    """

    rows: tuple[Row, ...]
    samples: int
    reference: str | None
    unit: str = "int8 steps"
    conv_net: bool = False
    broken: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    clipped: tuple[Clipped, ...] = ()

    def __getitem__(self, runtime: str) -> Row:
        """The row of the runtime with this name."""
        return {row.runtime: row for row in self.rows}[runtime]

    @property
    def tflm_matches_reference(self) -> bool | None:
        """Whether TFLite Micro equals tflite-runtime's reference kernels in every output value.

        True for conv nets, or something is wrong. None when one of the two did not run.
        """
        if self.reference != REFERENCES[0] or not self["tflm"].runs:
            return None
        return self["tflm"].differing == 0

    def require_match(self) -> None:
        """Refuses a convolutional network that TFLite Micro computes otherwise than the reference.

        Raises:
            GateError: it does.
        """
        if self.conv_net and self.tflm_matches_reference is False:
            raise GateError(
                f"TFLite Micro differs from {REFERENCES[0]} by up to "
                f"{self['tflm'].largest_difference:g} {self.unit}, on operators that both compute "
                "alike: do not ship this file, and report it as a bug."
            )

    def to_dict(self) -> dict[str, Any]:
        """The same as plain types, for JSON."""
        return {
            "samples": self.samples,
            "reference": self.reference,
            "unit": self.unit,
            "broken": {name: list(wrong) for name, wrong in self.broken.items()},
            "clipped": [dataclasses.asdict(clipped) for clipped in self.clipped],
            "tflm_matches_reference": self.tflm_matches_reference,
            "rows": [dataclasses.asdict(row) for row in self.rows],
        }

    def __str__(self) -> str:
        head = ("runtime", "runs", "accuracy", "same argmax", "max difference", "values off", "")
        lines = aligned([head, *map(_cells, self.rows)])
        against = self.reference or "nothing"
        note = f"{self.samples} samples; compared with {against}, differences in {self.unit}"
        for name, wrong in self.broken.items():
            note += f"; {name} is computed wrongly by {' and '.join(wrong)}"
        clipped = [str(clipped) for clipped in self.clipped if clipped.is_considerable]
        return "\n".join([*lines, note, *clipped])


def verify(
    lite: LiteModel, data: Any, limit: int | None = None, timeout: float = 600
) -> Verification:
    """Runs a `.tflite` file on every installed runtime and compares what they give.

    Each runtime works in a child process: one that crashes becomes a row of the table. They are
    compared with tflite-runtime's reference kernels, or with others where the file has an operator
    that those compute wrongly, such as SUM in int8 or a Dense on sequences with a scale for each
    unit.

    Args:
        lite: the file, with batch 1.
        data: whatever `evaluate` takes: arrays `x` or `(x, y)`, a `tf.data.Dataset`, a
            `PyDataset`. Inputs are real values; the file's own scale quantizes them.
            Labels may be class numbers or one-hot.
        limit: samples to use; None takes all.
        timeout: seconds given to each runtime.

    Returns:
        A `Verification`.

    Raises:
        ArgumentError: `lite` is no `LiteModel`.
        DataError: `data` does not fit the file.
        UnsupportedError: the file's batch is not 1.

    Example:
        >>> print(sft_keras.verify(lite, (x_val, y_val)))
        runtime             runs  accuracy  same argmax  max difference  values off
        litert              yes   97.78 %   100.00 %     1               0.21 %
        ...
    """
    require_lite(lite, "verify()")
    inputs, labels, clipped = _collect(lite, data, limit)
    outputs, status = _run_all(lite, inputs, timeout)
    broken = wrong_runtimes(lite.file)
    wrong = {name for names in broken.values() for name in names}
    reference = next((name for name in REFERENCES if name in outputs and name not in wrong), None)
    expected = outputs[reference] if reference else None
    rows = [
        _row(name, outputs[name], expected, labels) if name in outputs else Row(name, why)
        for name, why in status.items()
    ]
    first = lite.outputs[0]
    unit = first.dtype if first.scale is None else f"{first.dtype} steps"
    operators = {operator.name for operator in lite.file.operators}
    conv_net = first.dtype == "int8" and operators <= CONV_NET
    return Verification(
        tuple(rows), len(inputs[0]), reference, unit, conv_net, broken, tuple(clipped)
    )


def _run_all(
    lite: LiteModel, inputs: list[np.ndarray], timeout: float
) -> tuple[dict[str, list[np.ndarray]], dict[str, str]]:
    """Outputs of the runtimes that work, and the status of all."""
    outputs, status = {}, {}
    for runtime in runtimes.RUNTIMES:
        if not runtime.available():
            status[runtime.name] = f"not installed ({runtimes.INSTALL})"
            continue
        logging.info("Running %d samples on %s.", len(inputs[0]), runtime.name)
        try:
            outputs[runtime.name] = runtimes.run(runtime.name, lite.content, inputs, timeout)
            status[runtime.name] = RUNS
        except ChildError as error:
            status[runtime.name] = str(error)
    return outputs, status


def _collect(
    lite: LiteModel, data: Any, limit: int | None
) -> tuple[list[np.ndarray], np.ndarray | None, list[Clipped]]:
    """What the inputs store, the labels, and how much of the data was clipped."""
    parts, labels = [], []
    clippings = {i: Clipping(x, x.scale) for i, x in enumerate(lite.inputs) if x.scale is not None}
    for batch in batches(data, lite.slots(), limit):
        pairs = zip(lite.inputs, batch.inputs, strict=True)
        parts.append([details.quantize(array) for details, array in pairs])
        for i, clipping in clippings.items():
            clipping.add(batch.inputs[i])
        if batch.labels is not None:
            labels.append(batch.labels)
    inputs = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    clipped = [clipping.result for clipping in clippings.values()]
    return inputs, np.concatenate(labels) if len(labels) == len(parts) else None, clipped


def _row(
    name: str,
    outputs: Sequence[np.ndarray],
    expected: Sequence[np.ndarray] | None,
    labels: np.ndarray | None,
) -> Row:
    accuracy = _accuracy(outputs, labels)
    if expected is None:
        return Row(name, RUNS, accuracy)
    # In float64, for a difference of int8 values does not fit int8.
    off = np.concatenate(
        [np.abs(a.astype(float) - b).ravel() for a, b in zip(outputs, expected, strict=True)]
    )
    return Row(
        name,
        RUNS,
        accuracy,
        _agreement(outputs, expected),
        float(off.max()),
        float(np.mean(off > 0)),
    )


def _accuracy(outputs: Sequence[np.ndarray], labels: np.ndarray | None) -> float | None:
    """Accuracy of a single-output classifier; None for anything else."""
    if labels is None or len(outputs) != 1 or outputs[0].ndim != 2 or outputs[0].shape[1] < 2:
        return None
    (scores,) = outputs
    if labels.shape == scores.shape:
        classes = labels.argmax(axis=-1)
    elif labels.size == len(scores) and np.equal(np.mod(labels, 1), 0).all():
        classes = labels.reshape(-1)
    else:
        return None
    return float(np.mean(scores.argmax(axis=-1) == classes))


def _agreement(outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float | None:
    """Share of equal argmaxes along the last axis; None where outputs are single numbers."""
    same = [
        (a.argmax(axis=-1) == b.argmax(axis=-1)).ravel()
        for a, b in zip(outputs, expected, strict=True)
        if a.ndim > 1 and a.shape[-1] > 1
    ]
    return float(np.concatenate(same).mean()) if same else None


def _cells(row: Row) -> tuple[str, ...]:
    def share(value: float | None) -> str:
        return "n/a" if value is None else f"{value:.2%}".replace("%", " %")

    steps = "n/a" if row.largest_difference is None else f"{row.largest_difference:.6g}"
    return (
        row.runtime,
        "yes" if row.runs else "no",
        share(row.accuracy),
        share(row.agreement),
        steps,
        share(row.differing),
        "" if row.runs else row.status,
    )
