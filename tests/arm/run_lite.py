"""Runs every `NAME.tflite` of a folder on `NAME.npy`, with two kinds of kernels.

    python run_lite.py FOLDER

For any Python that has numpy and tflite-runtime. Writes `outputs.npz` into the folder.
"""

import platform
import sys
from pathlib import Path

import numpy as np
from tflite_runtime.interpreter import Interpreter, OpResolverType

# AUTO means optimized kernels: XNNPACK takes no int8 operator in tflite-runtime 2.14.
KERNELS = {"default": OpResolverType.AUTO, "reference": OpResolverType.BUILTIN_REF}


def run(file, inputs, resolver):
    """All outputs of a file side by side, one row a sample."""
    interpreter = Interpreter(str(file), num_threads=1, experimental_op_resolver_type=resolver)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    rows = []
    for sample in inputs:
        interpreter.set_tensor(source, sample[None])
        interpreter.reset_all_variables()  # in which an LSTM would remember the last sample
        interpreter.invoke()
        found = [interpreter.get_tensor(sink["index"]) for sink in interpreter.get_output_details()]
        rows.append(np.concatenate(found, axis=-1))
    return np.concatenate(rows)


folder = Path(sys.argv[1])
outputs = {"machine": platform.machine()}
for file in folder.glob("*.tflite"):
    inputs = np.load(file.with_suffix(".npy"))
    for kernels, resolver in KERNELS.items():
        outputs[f"{file.stem} {kernels}"] = run(file, inputs, resolver)
np.savez(folder / "outputs.npz", **outputs)
