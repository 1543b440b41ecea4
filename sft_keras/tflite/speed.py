"""`latency` and `benchmark`: how long files take on this machine, measured in turns."""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, overload

import numpy as np
from scipy import stats

from sft_keras.errors import ArgumentError, UnsupportedError
from sft_keras.tables import aligned
from sft_keras.tflite import child, lite_cost
from sft_keras.tflite.lite_model import LiteModel, require_named_lites

CONFIDENCE = 0.95
HEAD = ("file", "ms", "middle half", "MACs", "speed-up", f"{CONFIDENCE:.0%} sure", "fewer MACs")


@dataclasses.dataclass(frozen=True)
class Timing:
    """Time of one inference, in milliseconds: the median, and the middle half of all runs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.4g} ms ({self.low:.4g} to {self.high:.4g})"


@overload
def latency(
    models: LiteModel, runs: int = ..., warmup: int = ..., threads: int = ..., timeout: float = ...
) -> Timing: ...
@overload
def latency(
    models: Mapping[str, LiteModel],
    runs: int = ...,
    warmup: int = ...,
    threads: int = ...,
    timeout: float = ...,
) -> dict[str, Timing]: ...
def latency(
    models: LiteModel | Mapping[str, LiteModel],
    runs: int = 100,
    warmup: int = 10,
    threads: int = 1,
    timeout: float = 600,
) -> Timing | dict[str, Timing]:
    """Times files on LiteRT, in turns, so that a busy moment of the machine hits all alike.

    Args:
        models: one file, or several, each under the name its result gets.
        runs: inferences of each file that count.
        warmup: inferences of each file before that.
        threads: CPU threads.
        timeout: seconds after which the measurement is stopped.

    Returns:
        The `Timing` of one file; of several, a dict with one for each name.

    Raises:
        ArgumentError: there is no file, or something else than `LiteModel`s.
        UnsupportedError: LiteRT cannot run one of the files.

    Example:
        >>> times = sft_keras.tflite.latency({"dense": dense, "pruned": pruned})
        >>> print(times["pruned"])
        0.0213 ms (0.0209 to 0.0221)
    """
    if isinstance(models, LiteModel):
        return latency({models.name: models}, runs, warmup, threads, timeout)[models.name]
    _require_files(models, "latency()")
    milliseconds = _milliseconds(models, runs, warmup, threads, timeout)
    return {name: _timing(column) for name, column in zip(models, milliseconds.T, strict=True)}


@dataclasses.dataclass(frozen=True)
class Speed:
    """How much faster a file is than the first.

    Attributes:
        median: of the ratios of the first file's time to this one's, round by round.
        low: where the true median lies with 95 % confidence, from the order statistics.
        high: likewise.
    """

    median: float
    low: float
    high: float

    @property
    def is_noise(self) -> bool:
        """Whether the two may as well be equally fast."""
        return self.low <= 1 <= self.high


@dataclasses.dataclass(frozen=True)
class BenchmarkRow:
    """One file.

    Attributes:
        name: what it was called.
        timing: of one inference.
        macs: multiply-accumulates of one inference.
        speed: against the first file; None for that.
        fewer_macs: the first file's MACs through this one's; None for that, or without MACs.
    """

    name: str
    timing: Timing
    macs: int
    speed: Speed | None
    fewer_macs: float | None


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Result of `benchmark`; `print` shows it as a table."""

    rows: tuple[BenchmarkRow, ...]
    runs: int
    threads: int

    def to_dict(self) -> dict[str, Any]:
        """The same as plain types, for JSON."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        table = aligned([HEAD, *map(_cells, self.rows)])
        noise = [
            f"{row.name} and {self.rows[0].name} differ by less than the noise; take more runs."
            for row in self.rows
            if row.speed and row.speed.is_noise
        ]
        note = f"LiteRT, {self.threads} thread(s), {self.runs} runs of each file, in turns"
        return "\n".join([*table, note, *noise])


def benchmark(
    models: Mapping[str, LiteModel],
    runs: int = 200,
    warmup: int = 20,
    threads: int = 1,
    timeout: float = 600,
) -> Benchmark:
    """Compares the speed of files on LiteRT, round by round.

    The files run in turns, so that a busy moment of the machine hits all alike, and each round
    gives one ratio: their median is what a single pair of averages would hide in noise.

    Args:
        models: the files by name; the first is what the others are compared with.
        runs: see `latency`.
        warmup: likewise.
        threads: likewise.
        timeout: likewise.

    Returns:
        A `Benchmark`.

    Raises:
        ArgumentError: there is no file, or something else than `LiteModel`s by name.
        UnsupportedError: LiteRT cannot run one of the files.

    Example:
        >>> print(sft_keras.tflite.benchmark({"whole": whole, "shrunk": shrunk}, runs=1000))
        file    ms      middle half      MACs        speed-up  95% sure      fewer MACs
        whole   0.6318  0.627 to 0.6692  55,021,952
        shrunk  0.2635  0.2616 to 0.2712 15,207,616  2.40      2.39 to 2.40  3.62
        LiteRT, 1 thread(s), 1000 runs of each file, in turns
    """
    if isinstance(models, LiteModel):
        raise ArgumentError(
            "benchmark() compares files by name, and this is one alone; give a dict such as "
            '{"dense": lite, "pruned": other}, or time one file with latency(lite).'
        )
    _require_files(models, "benchmark()")
    milliseconds = _milliseconds(models, runs, warmup, threads, timeout)
    macs = [lite_cost.macs(lite) for lite in models.values()]
    rows = []
    for i, name in enumerate(models):
        column = milliseconds[:, i]
        speed = _speed(milliseconds[:, 0] / column) if i else None
        fewer = macs[0] / macs[i] if i and macs[i] else None
        rows.append(BenchmarkRow(name, _timing(column), macs[i], speed, fewer))
    return Benchmark(tuple(rows), runs, threads)


def _require_files(models: Any, where: str) -> None:
    require_named_lites(models, where)
    if not models:
        raise ArgumentError("There is no file to measure; give at least one.")


def _milliseconds(
    models: Mapping[str, LiteModel], runs: int, warmup: int, threads: int, timeout: float
) -> np.ndarray:
    """Times of shape (runs, files)."""
    with tempfile.TemporaryDirectory(prefix="sft_keras_") as temporary:
        folder = Path(temporary)
        for i, lite in enumerate(models.values()):
            (folder / f"{i}.tflite").write_bytes(lite.content)
        arguments: list[str | Path] = [folder, str(runs), str(warmup), str(threads)]
        try:
            child.run("sft_keras.tflite.speed_process", arguments, timeout)
        except child.ChildError as error:
            raise UnsupportedError(
                f"LiteRT cannot run all of {', '.join(models)}: {error}; verify() tells which."
            ) from error
        return np.load(folder / "milliseconds.npy")


def _timing(milliseconds: np.ndarray) -> Timing:
    low, median, high = np.percentile(milliseconds, [25, 50, 75]).tolist()
    return Timing(median, low, high)


def _speed(ratios: np.ndarray) -> Speed:
    """The median and its confidence interval: ranks that a fair coin would not go beyond."""
    ordered = np.sort(ratios)
    below = int(stats.binom.ppf((1 - CONFIDENCE) / 2, len(ordered), 0.5))
    # So few runs leave any median possible.
    low, high = (ordered[below - 1], ordered[-below]) if below else (0.0, np.inf)
    return Speed(float(np.median(ordered)), float(low), float(high))


def _cells(row: BenchmarkRow) -> tuple[str, ...]:
    timing, speed = row.timing, row.speed
    return (
        row.name,
        f"{timing.median:.4g}",
        f"{timing.low:.4g} to {timing.high:.4g}",
        f"{row.macs:,}",
        f"{speed.median:.2f}" if speed else "",
        f"{speed.low:.2f} to {speed.high:.2f}" if speed else "",
        f"{row.fewer_macs:.2f}" if row.fewer_macs else "",
    )
