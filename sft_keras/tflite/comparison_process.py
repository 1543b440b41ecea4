"""Child process of `compare_layers`: what the tensors inside a file hold.

    python -m sft_keras.tflite.comparison_process folder kernels index...

Reads `model.tflite` and `inputs.npz` in the folder, runs all samples with LiteRT's kernels of that
kind, and writes `<index>.npy` for each tensor asked for: shape `(samples, ...)`, its own dtype.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

# A delegate would merge operators, and what was between them would be gone.
KERNELS = {
    "reference": OpResolverType.BUILTIN_REF,
    "optimized": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
}


def record(folder: Path, kernels: str, indices: Sequence[int]) -> None:
    """Runs every sample of `inputs.npz` and keeps what the tensors hold.

    Args:
        folder: holds the file and the inputs, receives the values.
        kernels: a key of `KERNELS`.
        indices: of tensors in the file's first subgraph.
    """
    interpreter = Interpreter(
        model_path=str(folder / "model.tflite"),
        experimental_op_resolver_type=KERNELS[kernels],
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    with np.load(folder / "inputs.npz") as stored:
        inputs = list(stored.values())
    slots = [details["index"] for details in interpreter.get_input_details()]
    values: dict[int, list[np.ndarray]] = {index: [] for index in indices}
    for i in range(len(inputs[0])):
        for slot, array in zip(slots, inputs, strict=True):
            interpreter.set_tensor(slot, array[i : i + 1])
        interpreter.reset_all_variables()  # in which an LSTM would remember the last sample
        interpreter.invoke()
        for index, rows in values.items():
            rows.append(interpreter.get_tensor(index))
    for index, rows in values.items():
        np.save(folder / f"{index}.npy", np.concatenate(rows))


if __name__ == "__main__":
    record(Path(sys.argv[1]), sys.argv[2], [int(index) for index in sys.argv[3:]])
