"""Child process of `arena_size`: the smallest arena in which TFLite Micro runs a file.

    python -m sft_keras.tflite.arena_process model.tflite arena.txt

Linux only, as TFLite Micro's wheel is.
"""

import os
import sys
from pathlib import Path

import numpy as np

from sft_keras.tflite import schema
from sft_keras.tflite.runtimes.adapters import MICRO_ARENA, micro_interpreter

ALIGNMENT = 16  # bytes; what TFLite Micro aligns its arena to


def smallest_arena(content: bytes) -> int:
    """Bisects between an arena that is too small and one that is large enough.

    Args:
        content: a `.tflite` file's bytes.

    Returns:
        Bytes, a multiple of 16.
    """
    run_once(content, MICRO_ARENA)  # in this process, so that its refusal reaches stderr
    fails, passes = 0, MICRO_ARENA
    while passes - fails > ALIGNMENT:
        middle = (fails + passes) // (2 * ALIGNMENT) * ALIGNMENT
        fails, passes = (fails, middle) if fits(content, middle) else (middle, passes)
    return passes


def fits(content: bytes, arena: int) -> bool:
    """Whether the file runs in `arena` bytes; tried in a fork, for some sizes end in a crash."""
    pid = os.fork()
    if pid == 0:
        try:
            run_once(content, arena)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def run_once(content: bytes, arena: int) -> None:
    """Allocates and invokes the file once on zeros; raises or crashes where that fails."""
    inputs = schema.read(content).subgraphs[0].inputs
    micro_interpreter(content, arena)([np.zeros(t.shape, t.dtype) for t in inputs])


if __name__ == "__main__":
    model, target = map(Path, sys.argv[1:])
    target.write_text(str(smallest_arena(model.read_bytes())))
