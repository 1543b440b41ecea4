"""`ethos_u`: what Arm's Vela makes of a file for an Ethos-U NPU."""

import csv
import dataclasses
import importlib.util
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sft_keras.errors import ArgumentError, MissingExtraError, UnsupportedError
from sft_keras.tables import aligned
from sft_keras.tflite import child
from sft_keras.tflite.lite_model import LiteModel, require_named_lites

ACCELERATORS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)
NPU_OPERATOR = "CUSTOM:ethos-u"
KIB = 1024
HEAD = ("file", "on the NPU", "SRAM", "flash", "cycles", "ms")


@dataclasses.dataclass(frozen=True)
class EthosU:
    """A file compiled for an NPU, and Vela's estimate of what it takes.

    Attributes:
        lite: the compiled file.
        operators: how many the file had before.
        cpu_operators: those that stay on the CPU, by name.
        sram_bytes: of memory.
        flash_bytes: of constants.
        cycles: of the NPU and its memories, one inference.
        milliseconds: of one inference at Vela's default clock.
    """

    lite: LiteModel
    operators: int
    cpu_operators: tuple[str, ...]
    sram_bytes: int
    flash_bytes: int
    cycles: int
    milliseconds: float

    @property
    def npu_share(self) -> float:
        """Share of the operators that run on the NPU."""
        return 1 - len(self.cpu_operators) / self.operators


@dataclasses.dataclass(frozen=True)
class EthosUReport:
    """Result of `ethos_u`; `print` shows it as a table."""

    accelerator: str
    rows: dict[str, EthosU]

    def __getitem__(self, name: str) -> EthosU:
        """The row of the file with this name."""
        return self.rows[name]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain types, for JSON."""
        rows = {}
        for name, row in self.rows.items():
            fields = {f.name: getattr(row, f.name) for f in dataclasses.fields(row)}
            fields["cpu_operators"] = list(row.cpu_operators)
            rows[name] = {k: v for k, v in fields.items() if k != "lite"}
        return {"accelerator": self.accelerator, "rows": rows}

    def __str__(self) -> str:
        table = aligned([HEAD, *(_cells(name, row) for name, row in self.rows.items())])
        left = [
            f"{name}: on the CPU stay {', '.join(sorted(set(row.cpu_operators)))}"
            for name, row in self.rows.items()
            if row.cpu_operators
        ]
        note = f"{self.accelerator}; Vela's estimates, at its default clock and memories"
        return "\n".join([*table, *left, note])


def ethos_u(
    models: Mapping[str, LiteModel], accelerator: str = "ethos-u55-128", timeout: float = 600
) -> EthosUReport:
    """Compiles files for an Ethos-U NPU with Arm's Vela, in a child process each.

    Args:
        models: the files by name.
        accelerator: one of `ACCELERATORS`: the NPU and its multiply-accumulates a cycle.
        timeout: seconds that one file may take.

    Returns:
        An `EthosUReport`: print it; `report["pruned"].lite.save(path)` writes the compiled file.

    Raises:
        ArgumentError: there is no file, or something else than `LiteModel`s by name, or nobody
            knows the accelerator.
        MissingExtraError: `ethos-u-vela` is not installed.
        UnsupportedError: Vela cannot compile one of the files.

    Example:
        >>> report = sft_keras.micro.ethos_u({"dense": dense, "pruned": pruned})
        >>> report["pruned"].cycles < report["dense"].cycles
        True
    """
    require_named_lites(models, "ethos_u()")
    if not models:
        raise ArgumentError("There is no file to compile; give at least one.")
    if accelerator not in ACCELERATORS:
        raise ArgumentError(
            f"accelerator '{accelerator}' is unknown; choose one of {', '.join(ACCELERATORS)}."
        )
    if importlib.util.find_spec("ethosu") is None:
        raise MissingExtraError('ethos-u-vela is not installed; pip install "sft-keras[ethos-u]".')
    rows = {name: _compiled(lite, accelerator, timeout) for name, lite in models.items()}
    return EthosUReport(accelerator, rows)


def _compiled(lite: LiteModel, accelerator: str, timeout: float) -> EthosU:
    with tempfile.TemporaryDirectory(prefix="sft_keras_") as temporary:
        folder = Path(temporary)
        lite.save(folder / "model.tflite")
        arguments: list[str | Path] = [folder / "model.tflite"]
        arguments += ["--accelerator-config", accelerator, "--output-dir", folder]
        try:
            child.run("ethosu.vela", arguments, timeout)
            (summary,) = folder.glob("model_summary_*.csv")
            with summary.open(newline="") as file:
                (found,) = csv.DictReader(file)
            compiled = LiteModel.load(folder / "model_vela.tflite")
        except (child.ChildError, ValueError) as error:
            raise UnsupportedError(
                f"Vela cannot compile {lite.name} for {accelerator}: {error}; give an int8 file "
                "that convert() made."
            ) from error
    cpu = [op.name for op in compiled.file.operators if op.name != NPU_OPERATOR]
    return EthosU(
        lite=LiteModel(compiled.content, lite.name),
        operators=sum(1 for _ in lite.file.operators),
        cpu_operators=tuple(cpu),
        sram_bytes=round(KIB * float(found["sram_memory_used"])),
        flash_bytes=round(KIB * float(found["off_chip_flash_memory_used"])),
        cycles=round(float(found["cycles_total"])),
        milliseconds=1e3 * float(found["inference_time"]),
    )


def _cells(name: str, row: EthosU) -> tuple[str, ...]:
    return (
        name,
        f"{row.npu_share:.0%}".replace("%", " %"),
        f"{row.sram_bytes:,}",
        f"{row.flash_bytes:,}",
        f"{row.cycles:,}",
        f"{row.milliseconds:.3f}",
    )
