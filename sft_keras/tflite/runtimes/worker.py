"""Child process of `runtimes.run`: one runtime, one file, all samples.

    python -m sft_keras.tflite.runtimes.worker tflm folder

Reads `model.tflite` and `inputs.npz` in the folder and writes `outputs.npz` there.
"""

import sys
from pathlib import Path

import numpy as np

from sft_keras.tflite import runtimes


def work(name: str, folder: Path) -> None:
    """Runs every sample of `inputs.npz` through a runtime.

    Args:
        name: the runtime's name.
        folder: holds the inputs, receives the outputs.
    """
    step = runtimes.named(name).load((folder / "model.tflite").read_bytes())
    with np.load(folder / "inputs.npz") as stored:
        inputs = list(stored.values())
    rows = [step([array[i : i + 1] for array in inputs]) for i in range(len(inputs[0]))]
    columns = zip(*rows, strict=True)
    # An output may be a single number, without the axis that samples are joined along.
    joined = (np.concatenate([np.atleast_1d(row) for row in column]) for column in columns)
    np.savez(folder / "outputs.npz", *joined)


if __name__ == "__main__":
    work(sys.argv[1], Path(sys.argv[2]))
