"""Models and labels from files, and models to files."""

from pathlib import Path
from typing import Any

from sft_keras.cli import archive, quiet
from sft_keras.errors import FileError
from sft_keras.writing import output_folder, require_writable_folder


def load_model(path: str) -> Any:
    """Loads a `.keras` file with the Keras that wrote it.

    Args:
        path: a file saved by Keras 3 or tf_keras, TFMOT's quantization wrappers included.

    Returns:
        A `keras.Model` or a `tf_keras.Model`.

    Raises:
        FileError: the file is missing, corrupt, or holds what cannot be loaded safely.
    """
    contents = archive.read(path)
    load = _load_tf_keras if contents.keras_version.startswith("2.") else _load_keras
    quiet.import_tensorflow()
    try:
        return load(path, contents)
    except FileError:
        raise
    except Exception as error:  # a file made by others can break the loader in any way
        raise FileError(
            f"'{path}' cannot be loaded: {_reason(error)}; save the model again, with registered "
            "custom layers only."
        ) from error


def _reason(error):
    """The telling line of what a loader raises: Keras puts the inner error last."""
    text = str(error).strip()
    inner = text.rpartition("Exception encountered: ")[2]
    return inner.partition("\n")[0].rstrip(".") or type(error).__name__


def _load_keras(path, contents):
    import keras

    optimizer = contents.optimizer
    if optimizer is None or not _is_of_a_backend(optimizer):
        return keras.saving.load_model(path, safe_mode=True)
    # Keras would import PyTorch to read it, which may be missing or crash beside TensorFlow.
    model = keras.saving.load_model(path, safe_mode=True, compile=False)
    portable = {"module": "keras.optimizers", "registered_name": None}
    model.compile_from_config({**contents.compile_config, "optimizer": optimizer | portable})
    return model


def _is_of_a_backend(optimizer):
    return str(optimizer.get("module")).startswith("keras.src.backend.")


def _load_tf_keras(path, contents):
    from sft_keras.quantization import load_model

    return load_model(path)


def read_labels(path: str | None) -> list[str] | None:
    """The lines of a text file, or None for no path.

    Raises:
        FileError: the file is missing, or no text.
    """
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"'{path}' cannot be read as text ({error}); give one label a line.") from (
            error
        )


def require_writable(path: str, suffix: str, overwrite: bool) -> None:
    """Refuses, before any work, an output file that could not be written after it.

    Args:
        path: where the output will go.
        suffix: what its name must end with, `".keras"` or `".tflite"`.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileError: wrong suffix, the file exists, or its folder is missing or read-only.
    """
    target = Path(path)
    if target.suffix != suffix:
        raise FileError(f"Output '{path}' must end in {suffix}; choose another name.")
    if target.is_dir():
        raise FileError(f"Output '{path}' is a folder; give the name of a {suffix} file.")
    if target.exists() and not overwrite:
        raise FileError(f"'{path}' exists; choose another name or pass --overwrite.")
    require_writable_folder(target.parent)


def save_model(model: Any, path: str) -> None:
    """Saves a model as a `.keras` file, through a temporary file beside it.

    Raises:
        FileError: the disk is full or refuses the file.
    """
    target = Path(path)
    with output_folder(target.parent, overwrite=True) as staging:
        model.save(staging / target.name)
