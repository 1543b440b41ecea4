"""Loads what `quantize` made."""

import os

import tf_keras


def load_model(path: str | os.PathLike) -> tf_keras.Model:
    """Loads a quantization-aware model that was saved as `.keras`, ready to train on.

    Args:
        path: the file.

    Returns:
        The model with its optimizer's state; it converts to the same bytes as the one saved.

    Example:
        >>> qat.save("qat.keras")
        >>> qat = sft_keras.quantization.load_model("qat.keras")
    """
    # Only here, for importing TFMOT takes seconds.
    from sft_keras.quantization.tfmot import load

    return load(os.fspath(path))
