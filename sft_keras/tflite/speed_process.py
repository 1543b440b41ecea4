"""Child process of `latency`: times several files in turns.

    python -m sft_keras.tflite.speed_process folder runs warmup threads

Runs `0.tflite`, `1.tflite`, … of the folder on LiteRT and writes `milliseconds.npy` there: one row
a run, one column a file.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sft_keras.tflite import schema
from sft_keras.tflite.runtimes.adapters import tflite_interpreter


def measure(contents: Sequence[bytes], runs: int, warmup: int, threads: int) -> np.ndarray:
    """Times one inference of each file after the other, again and again.

    Args:
        contents: the files' bytes.
        runs: rounds that count.
        warmup: rounds before them that do not.
        threads: CPU threads of LiteRT.

    Returns:
        Milliseconds, shape `(runs, files)`. Copying input and output is within.
    """
    load = tflite_interpreter("ai_edge_litert", "AUTO", threads)
    steps = [(load(content), _sample(content)) for content in contents]
    times = np.zeros((warmup + runs, len(steps)))
    for turn, row in enumerate(times):
        # Each file is the first of its round as often as any other.
        for i in np.roll(np.arange(len(steps)), turn):
            step, sample = steps[i]
            start = time.perf_counter()
            step(sample)
            row[i] = time.perf_counter() - start
    return times[warmup:] * 1e3


def _sample(content: bytes) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = schema.read(content).subgraphs[0].inputs
    return [rng.uniform(-100, 100, tensor.shape).astype(tensor.dtype) for tensor in inputs]


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    files = sorted(folder.glob("*.tflite"), key=lambda path: int(path.stem))
    milliseconds = measure([path.read_bytes() for path in files], *map(int, sys.argv[2:]))
    np.save(folder / "milliseconds.npy", milliseconds)
