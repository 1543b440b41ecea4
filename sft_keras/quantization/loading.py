"""Loads what `quantize` made."""

import os

import tf_keras


def load_model(path: str | os.PathLike) -> tf_keras.Model:
    """Loads a quantization-aware model that was saved as `.keras`, ready to train on.

    Args:
        path: the file. It may be a stranger's: what could run code is refused.

    Returns:
        The model with its optimizer's state; it converts to the same bytes as the one saved.

    Raises:
        FileError: the file is no whole `.keras` file, or names what is not known to be harmless.

    Example:
        >>> qat.save("qat.keras")
        >>> qat = sft_keras.quantization.load_model("qat.keras")
    """
    # Only here, for importing TFMOT takes seconds.
    from sft_keras.quantization.tfmot import load

    return load(os.fspath(path))
