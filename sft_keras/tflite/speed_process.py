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
from ai_edge_litert.interpreter import Interpreter

from sft_keras.tflite import schema


def measure(contents: Sequence[bytes], runs: int, warmup: int, threads: int) -> np.ndarray:
    """Times one inference of each file after the other, again and again.

    Args:
        contents: the files' bytes.
        runs: rounds that count.
        warmup: rounds before them that do not.
        threads: CPU threads of LiteRT.

    Returns:
        Milliseconds, shape `(runs, files)`, without copying inputs and outputs.
    """
    interpreters = [_loaded(content, threads) for content in contents]
    times = np.zeros((warmup + runs, len(interpreters)))
    for turn, row in enumerate(times):
        # Each file is the first of its round as often as any other.
        for i in np.roll(np.arange(len(interpreters)), turn):
            start = time.perf_counter()
            interpreters[i].invoke()
            row[i] = time.perf_counter() - start
    return times[warmup:] * 1e3


def _loaded(content: bytes, threads: int) -> Interpreter:
    """An interpreter with random numbers in its inputs."""
    interpreter = Interpreter(model_content=content, num_threads=threads)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    tensors = schema.read(content).subgraphs[0].inputs
    for details, tensor in zip(interpreter.get_input_details(), tensors, strict=True):
        interpreter.set_tensor(details["index"], _sample(tensor, rng))
    return interpreter


def _sample(tensor: schema.Tensor, rng: np.random.Generator) -> np.ndarray:
    if "float" in tensor.dtype or tensor.scales.size:
        return rng.uniform(-100, 100, tensor.shape).astype(tensor.dtype)
    return rng.integers(0, 2, tensor.shape).astype(tensor.dtype)  # tokens that any table has


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    files = sorted(folder.glob("*.tflite"), key=lambda path: int(path.stem))
    milliseconds = measure([path.read_bytes() for path in files], *map(int, sys.argv[2:]))
    np.save(folder / "milliseconds.npy", milliseconds)
