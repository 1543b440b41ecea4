"""Which files the reference kernels of LiteRT and tflite-runtime compute wrongly.

They are the measure for all other kernels, but for operators where they are broken themselves.
"""

from sft_keras.tflite.schema import File

# In int8, off by more than the outputs' standard deviation, on LiteRT 2.3 and tflite-runtime 2.14;
# their default kernels and TFLite Micro agree with Keras.
BROKEN = ("SUM",)


def broken_operators(file: File) -> list[str]:
    """Names of a file's operators that reference kernels compute wrongly.

    Args:
        file: what `schema.read` gave.
    """
    found = {
        operator.name
        for operator in file.operators
        if operator.name in BROKEN and operator.inputs[0].dtype.startswith("int")
    }
    return sorted(found)
