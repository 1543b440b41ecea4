"""The runtimes that a `.tflite` file is tried on, each in a child process of its own.

A runtime may abort the whole process on a file it dislikes, so none is ever loaded here: `run`
starts `worker` and exchanges numpy files with it.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sft_keras.errors import MissingExtraError, UnsupportedError
from sft_keras.tflite import child
from sft_keras.tflite.runtimes.adapters import RUNTIMES, Runtime

INSTALL = 'pip install "sft-keras[runtimes]"'

__all__ = ["INSTALL", "RUNTIMES", "Runtime", "named", "run"]


def named(name: str) -> Runtime:
    """The runtime with this name.

    Raises:
        UnsupportedError: there is none.
    """
    for runtime in RUNTIMES:
        if runtime.name == name:
            return runtime
    known = ", ".join(runtime.name for runtime in RUNTIMES)
    raise UnsupportedError(f"Runtime '{name}' is unknown; choose one of {known}.")


def run(
    name: str, content: bytes, inputs: Sequence[np.ndarray], timeout: float = 600
) -> list[np.ndarray]:
    """Runs a file on samples.

    Args:
        name: the runtime's name.
        content: the `.tflite` file's bytes, with batch 1.
        inputs: one array an input of the file, in its order and dtype, shape
            `(samples, ...)`.
        timeout: seconds after which the runtime is stopped.

    Returns:
        One array an output of the file, shape `(samples, ...)`.

    Raises:
        MissingExtraError: the runtime is not installed.
        ChildError: the runtime refused the file, crashed or ran out of time.

    Example:
        >>> runtimes.run("tflm", lite.content, [lite.quantize_input(x)])[0].shape
        (100, 10)
    """
    if not named(name).available():
        raise MissingExtraError(f"Runtime '{name}' is not installed; {INSTALL}.")
    with tempfile.TemporaryDirectory(prefix="sft_keras_") as temporary:
        folder = Path(temporary)
        (folder / "model.tflite").write_bytes(content)
        np.savez(folder / "inputs.npz", *inputs)
        child.run("sft_keras.tflite.runtimes.worker", [name, folder], timeout)
        with np.load(folder / "outputs.npz") as outputs:
            return list(outputs.values())
