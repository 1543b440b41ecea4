"""`profile`: where the time of one inference goes, operator by operator."""

import copy
import dataclasses
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from sft_keras.errors import UnsupportedError
from sft_keras.tables import aligned
from sft_keras.tflite import lite_cost
from sft_keras.tflite.lite_model import LiteModel, require_lite
from sft_keras.tflite.packing import packed
from sft_keras.tflite.schema import damage_refused
from sft_keras.tflite.speed import latency

HEAD = ("operator", "layer", "ms", "share", "MACs", "GMACs/s")
WHOLE = "whole"


@dataclasses.dataclass(frozen=True)
class OperatorTime:
    """One operator, timed alone.

    Attributes:
        operator: its name in the schema.
        layer: the name of its first output, which holds those of its Keras layers.
        milliseconds: median of one run.
        macs: multiply-accumulates of one run.
    """

    operator: str
    layer: str
    milliseconds: float
    macs: int


@dataclasses.dataclass(frozen=True)
class Profile:
    """Result of `profile`; `print` shows it as a table, the slowest operator first."""

    name: str
    rows: tuple[OperatorTime, ...]
    whole_milliseconds: float

    @property
    def sum_milliseconds(self) -> float:
        """Of all operators alone."""
        return sum(row.milliseconds for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain types, for JSON; in the order that the operators run in."""
        return {**dataclasses.asdict(self), "sum_milliseconds": self.sum_milliseconds}

    def __str__(self) -> str:
        slowest_first = sorted(self.rows, key=lambda row: -row.milliseconds)
        table = aligned([HEAD, *(self._cells(row) for row in slowest_first)])
        note = (
            f"{self.name} takes {self.whole_milliseconds:.4g} ms, its operators one by one "
            f"{self.sum_milliseconds:.4g} ms"
        )
        return "\n".join([*table, note])

    def _cells(self, row: OperatorTime) -> tuple[str, ...]:
        speed = row.macs / row.milliseconds / 1e6 if row.macs else None
        return (
            row.operator,
            row.layer,
            f"{row.milliseconds:.4g}",
            f"{row.milliseconds / self.sum_milliseconds:.1%}".replace("%", " %"),
            f"{row.macs:,}",
            f"{speed:.3g}" if speed else "",
        )


def profile(
    lite: LiteModel, runs: int = 100, warmup: int = 10, threads: int = 1, timeout: float = 600
) -> Profile:
    """Times each operator of a file on LiteRT.

    Each becomes a file of its own, and all of them and the whole file run in turns. What it costs
    to call an interpreter, some microseconds, is in every operator's time, so that the sum is more
    than the whole.

    Args:
        lite: the file.
        runs: as in `latency`.
        warmup: likewise.
        threads: likewise.
        timeout: likewise.

    Returns:
        A `Profile`.

    Raises:
        ArgumentError: `lite` is no `LiteModel`.
        UnsupportedError: the file has control flow, or LiteRT cannot run it.
        FileError: the file is damaged, or an operator puts nothing out.

    Example:
        >>> print(sft_keras.tflite.profile(lite))
        operator         layer       ms       share   MACs     GMACs/s
        CONV_2D          net/first   0.0113   61.4 %  73,728   6.52
        ...
    """
    require_lite(lite, "profile()")
    alone = [LiteModel(content, lite.name) for content in _operators_alone(lite)]
    names = [str(number) for number in range(len(alone))]
    times = latency(
        {WHOLE: lite} | dict(zip(names, alone, strict=True)), runs, warmup, threads, timeout
    )
    rows = [
        OperatorTime(
            operator.name,
            operator.outputs[0].name,
            times[name].median,
            lite_cost.macs(file),
        )
        for name, file, operator in zip(names, alone, lite.file.operators, strict=True)
    ]
    return Profile(lite.name, tuple(rows), times[WHOLE].median)


def _operators_alone(lite: LiteModel) -> list[bytes]:
    """A file for each operator."""
    if len(lite.file.subgraphs) > 1:
        raise UnsupportedError(
            f"{lite.name} has control flow, whose operators cannot run alone; unroll its recurrent "
            "layers, or measure the whole file with benchmark()."
        )
    with damage_refused(lite.name):
        model = schema.ModelT.InitFromPackedBuf(lite.content)
        return [_alone(model, operator) for operator in model.subgraphs[0].operators or ()]


def _alone(model: Any, operator: Any) -> bytes:
    """The model with one operator; the operator's tensors keep their buffers, others go."""
    graph = model.subgraphs[0]
    used = dict.fromkeys(int(i) for side in _sides(operator) for i in side if i != -1)
    places = {old: new for new, old in enumerate(used)}
    small, only = copy.copy(model), copy.copy(graph)
    small.subgraphs, only.operators = [only], [copy.copy(operator)]
    small.operatorCodes = [model.operatorCodes[operator.opcodeIndex]]
    only.operators[0].opcodeIndex = 0
    only.tensors = [copy.copy(graph.tensors[i]) for i in used]
    # The first buffer means that a tensor has none.
    small.buffers = [schema.BufferT(), *(model.buffers[tensor.buffer] for tensor in only.tensors)]
    for new, tensor in enumerate(only.tensors, 1):
        tensor.buffer = new
    for key in ("inputs", "outputs", "intermediates"):
        indices = getattr(operator, key)
        if indices is not None:
            setattr(only.operators[0], key, [places.get(int(i), -1) for i in indices])
    only.inputs = [
        places[i] for i in map(int, operator.inputs) if i != -1 and _is_fed(model, graph.tensors[i])
    ]
    only.outputs = [places[int(i)] for i in operator.outputs]
    small.signatureDefs, small.metadata, small.metadataBuffer = [], [], None
    return packed(small)


def _sides(operator: Any) -> list:
    sides = (operator.inputs, operator.outputs, operator.intermediates)
    return [side for side in sides if side is not None]


def _is_fed(model: Any, tensor: Any) -> bool:
    """Whether numbers come to a tensor from outside: it is no constant and no state."""
    data = model.buffers[tensor.buffer].data
    return (data is None or not len(data)) and not tensor.isVariable
