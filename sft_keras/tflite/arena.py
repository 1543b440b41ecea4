"""`arena_size`: how much memory TFLite Micro needs for a file's tensors."""

import importlib.util
import tempfile
from pathlib import Path

from sft_keras.errors import MissingExtraError, UnsupportedError
from sft_keras.tflite import child, runtimes
from sft_keras.tflite.lite_model import LiteModel, require_lite


def arena_size(lite: LiteModel, timeout: float = 600) -> int:
    """Smallest tensor arena in which TFLite Micro runs the file.

    Found by bisection in a child process: this size works, 16 bytes less does not. Measured on
    this 64-bit host: on a 32-bit microcontroller pointers are smaller and optimized kernels may
    want scratch memory, so leave a margin and measure there.

    Args:
        lite: the file.
        timeout: seconds after which the search is stopped.

    Returns:
        Bytes, a multiple of 16.

    Raises:
        ArgumentError: `lite` is no `LiteModel`.
        MissingExtraError: `tflite-micro` is not installed.
        UnsupportedError: TFLite Micro cannot run the file.

    Example:
        >>> sft_keras.tflite.arena_size(lite)
        3264
    """
    require_lite(lite, "arena_size()")
    if importlib.util.find_spec("tflite_micro") is None:
        raise MissingExtraError(f"tflite-micro is not installed; {runtimes.INSTALL}.")
    with tempfile.TemporaryDirectory(prefix="sft_keras_") as temporary:
        model, target = Path(temporary, "model.tflite"), Path(temporary, "arena.txt")
        model.write_bytes(lite.content)
        try:
            child.run("sft_keras.tflite.arena_process", [model, target], timeout)
        except child.ChildError as error:
            raise UnsupportedError(
                f"TFLite Micro cannot run {lite.name}: {error}; sft_keras.convert names the "
                "operator in the way."
            ) from error
        return int(target.read_text())
