"""What devices can run: one data file a target, with its source and date."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from importlib import resources

from sft_keras.errors import UnsupportedError


@dataclasses.dataclass(frozen=True)
class Target:
    """What a runtime, or a chip with the runtime on its host, makes of operators.

    Attributes:
        name: as `named` takes it.
        title: what people call it.
        operators: builtin operators of the schema that run, each with the target's own name for it.
        versions: the newest version that it knows of each; empty if it does not look at versions.
        per_channel_dense: whether every version of it reads a FULLY_CONNECTED with a range for each
            output.
        accelerated: the operators that its accelerator takes; None if there is no accelerator.
        host: the runtime that runs the others; the target itself if there is no accelerator.
        filters_multiple: the accelerator works on as many filters at a time; 1 if that is unknown.
        dtypes: what a tensor may be; empty if the operators decide.
        one_piece: whether the accelerator takes nothing behind the first operator that it lacks.
        left: what becomes of an operator that it lacks.
        untaken: for dtypes of integers, the operators whose kernels do not take it.
        most_inputs: how many tensors an operator joins at most, where there is a limit.
        most_axes: how many axes a tensor has at most that an operator takes, likewise.
        most_stretched_axes: the same by dtype, where the operator joins tensors of unlike shapes.
    """

    name: str
    title: str
    operators: Mapping[str, str]
    versions: Mapping[str, int]
    per_channel_dense: bool
    accelerated: frozenset[str] | None
    host: str
    filters_multiple: int = 1
    dtypes: tuple[str, ...] = ()
    one_piece: bool = False
    left: str = "stays on the CPU"
    untaken: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    most_inputs: Mapping[str, int] = dataclasses.field(default_factory=dict)
    most_axes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    most_stretched_axes: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)

    @property
    def is_micro(self) -> bool:
        """Whether TFLite Micro runs what no accelerator takes."""
        return self.host == "tflm"

    @property
    def is_phone(self) -> bool:
        """Whether it is LiteRT or its predecessor alone, where a caller can resize inputs."""
        return self.accelerated is None and not self.is_micro


@functools.cache
def named(name: str) -> Target:
    """The target with this name.

    Raises:
        UnsupportedError: nobody knows it.

    Example:
        >>> targets.named("tflm").operators["PADV2"]
        'AddPadV2'
    """
    if name not in names():
        raise UnsupportedError(f"Target '{name}' is unknown; choose one of {', '.join(names())}.")
    text = resources.files(__name__).joinpath(f"{name}.json").read_text("utf-8")
    data = json.loads(text)
    if "host" in data:
        return dataclasses.replace(
            named(data["host"]),
            name=name,
            title=data["title"],
            accelerated=frozenset(data["accelerated"]),
            filters_multiple=data.get("filters_multiple", 1),
            dtypes=tuple(data.get("dtypes", ())),
            one_piece=data.get("one_piece", False),
            left=data.get("left", Target.left),
        )
    versions = data.get("versions", {})
    return Target(
        name=name,
        title=data["title"],
        operators=data.get("operators") or {operator: operator for operator in versions},
        versions=versions,
        per_channel_dense=data["per_channel_dense"],
        accelerated=None,
        host=name,
        untaken=data.get("untaken", {}),
        most_inputs=data.get("most_inputs", {}),
        most_axes=data.get("most_axes", {}),
        most_stretched_axes=data.get("most_stretched_axes", {}),
    )


@functools.cache
def names() -> list[str]:
    """The targets there are data files for."""
    entries = (entry.name for entry in resources.files(__name__).iterdir())
    return sorted(name.removesuffix(".json") for name in entries if name.endswith(".json"))
