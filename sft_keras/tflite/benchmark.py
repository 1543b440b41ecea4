"""`latency`: how long files take on this machine, measured in turns."""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sft_keras.errors import UnsupportedError
from sft_keras.tflite import child
from sft_keras.tflite.lite_model import LiteModel


@dataclasses.dataclass(frozen=True)
class Timing:
    """Time of one inference, in milliseconds: the median, and the middle half of all runs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.4g} ms ({self.low:.4g} to {self.high:.4g})"


def latency(
    models: Mapping[str, LiteModel],
    runs: int = 100,
    warmup: int = 10,
    threads: int = 1,
    timeout: float = 600,
) -> dict[str, Timing]:
    """Times files on LiteRT, in turns, so that a busy moment of the machine hits all alike.

    Args:
        models: the files, each under the name its result gets.
        runs: inferences of each file that count.
        warmup: inferences of each file before that.
        threads: CPU threads.
        timeout: seconds after which the measurement is stopped.

    Returns:
        A `Timing` for each name.

    Raises:
        UnsupportedError: LiteRT cannot run one of the files.

    Example:
        >>> times = sft_keras.tflite.latency({"dense": dense, "pruned": pruned})
        >>> print(times["pruned"])
        0.0213 ms (0.0209 to 0.0221)
    """
    with tempfile.TemporaryDirectory(prefix="sft_keras_") as temporary:
        folder = Path(temporary)
        for i, lite in enumerate(models.values()):
            (folder / f"{i}.tflite").write_bytes(lite.content)
        arguments: list[str | Path] = [folder, str(runs), str(warmup), str(threads)]
        try:
            child.run("sft_keras.tflite.benchmark_process", arguments, timeout)
        except child.ChildError as error:
            raise UnsupportedError(
                f"LiteRT cannot run all of {', '.join(models)}: {error}; verify() tells which."
            ) from error
        low, median, high = np.percentile(np.load(folder / "milliseconds.npy"), [25, 50, 75], 0)
    columns = zip(median.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Timing(*column) for name, column in zip(models, columns, strict=True)}
