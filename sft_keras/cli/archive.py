"""What a `.keras` file says of itself, read before anything in it is loaded."""

import dataclasses
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sft_keras.cli import layer_sizes
from sft_keras.errors import FileError
from sft_keras.tflite import child
from sft_keras.tflite.schema import IDENTIFIER

# Keras does not compress. A file of another's that blows up to more than this is no model.
MOST_BYTES, MOST_TIMES = 2**30, 100
# Of a config, from which Python makes twenty times as much; the largest networks have a megabyte.
MOST_CONFIG = 2**23
# Sizes of layers that have a weight for each of so many.
WIDTHS = ("units", "filters", "input_dim", "output_dim", "key_dim", "num_heads", "state_size")
WEIGHTS_A_BYTE = 2  # with four bits each
FEW_WEIGHTS = 2**27  # that may be guessed wrongly
SECONDS, BYTES_A_SECOND = 60, 1e6  # that reading the weights may take, at the slowest
WEIGHTS = "model.weights.h5"
HDF5 = b"\x89HDF\r\n\x1a\n"  # what such a file begins with


@dataclasses.dataclass(frozen=True)
class Archive:
    """The parts of a `.keras` file that tell how to load it.

    Attributes:
        keras_version: the version of the Keras that wrote it; 2 is tf_keras.
        compile_config: all that it was compiled with; empty if it was not.
    """

    keras_version: str
    compile_config: dict[str, Any]

    @property
    def optimizer(self) -> dict | None:
        """Its config, or None where the model was compiled with none or by name."""
        found = self.compile_config.get("optimizer")
        return found if isinstance(found, dict) else None


def read(path: str) -> Archive:
    """Reads what a `.keras` file says of itself.

    Raises:
        FileError: the file is missing or damaged, or would take more memory than its size explains.
    """
    if not Path(path).is_file():
        raise FileError(f"There is no file '{path}'; give an existing .keras file.")
    try:
        _require_no_other_format(path)
        with zipfile.ZipFile(path) as archive:
            size = _unpacked_size(path, archive)
            weights = archive.getinfo(WEIGHTS).file_size
            metadata, config = (
                json.loads(archive.read(f"{name}.json")) for name in ("metadata", "config")
            )
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(damaged)
        _require_weights(path, config, size)
        _require_kernels(path, config, weights)
        _require_whole_weights(path, size)
        return Archive(str(metadata["keras_version"]), config.get("compile_config") or {})
    except FileError:
        raise
    except Exception as error:  # zipfile lets many errors of a damaged header through
        raise FileError(
            f"'{path}' is not a whole .keras file; save the model again with model.save()."
        ) from error


def _require_no_other_format(path: str) -> None:
    """Refuses the files of Keras that have another ending, and `.tflite` files."""
    with open(path, "rb") as file:
        head = file.read(len(HDF5))
    saved_as = f"save the model with model.save('{Path(path).stem}.keras')"
    if head == HDF5:
        raise FileError(
            f"'{path}' is an HDF5 file, of a model or of weights alone, and no .keras file; load "
            f"it with Keras and {saved_as}."
        )
    if head[4:] == IDENTIFIER:
        raise FileError(
            f"'{path}' is a .tflite file, which no model can be loaded from; {saved_as} before it "
            "is converted, and give that."
        )


def _unpacked_size(path: str, archive: zipfile.ZipFile) -> int:
    """Bytes of all members; refuses a file that is small only as long as it is packed."""
    size = sum(member.file_size for member in archive.infolist())
    packed = Path(path).stat().st_size
    if size > max(MOST_BYTES, MOST_TIMES * packed):
        raise FileError(
            f"'{path}' has {packed:,} bytes and would unpack to {size:,}; save the model again "
            "with model.save(), which does not compress."
        )
    for name in ("metadata.json", "config.json"):
        if (described := archive.getinfo(name).file_size) > MOST_CONFIG:
            raise FileError(
                f"{name} in '{path}' has {described:,} bytes, more than any network needs "
                f"({MOST_CONFIG:,}); save the model again with model.save()."
            )
    return size


def _require_weights(path: str, config: Any, size: int) -> None:
    """Refuses layers wider than the weights in the file, before memory is taken for them."""
    for key, width in _widths(config):
        if width > WEIGHTS_A_BYTE * size:
            raise FileError(
                f"'{path}' has a layer with {key}={width:,} and no weights for so many; save the "
                "model again with model.save()."
            )


def _require_kernels(path: str, config: Any, size: int) -> None:
    """Refuses layers that have more weights together than `size` bytes can hold."""
    known, guessed = layer_sizes.weights(config)
    most = WEIGHTS_A_BYTE * size
    if known > most or known + guessed > max(most, FEW_WEIGHTS):
        raise FileError(
            f"'{path}' has layers with {known + guessed:,.0f} weights and holds {size:,} bytes of "
            "them; save the model again with model.save()."
        )


def _require_whole_weights(path: str, size: int) -> None:
    """Refuses weights that a process of their own cannot read, or not in memory of their size."""
    limit = SECONDS + size / BYTES_A_SECOND
    try:
        child.run("sft_keras.cli.weights_process", [Path(path).resolve()], limit)
    except child.ChildError as error:
        raise FileError(
            f"The weights in '{path}' cannot be read ({error}); save the model again with "
            "model.save()."
        ) from error


def _widths(config: Any) -> Iterator[tuple[str, float]]:
    """The sizes of layers anywhere in a config."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key in WIDTHS and isinstance(value, int | float):
                yield key, value
            yield from _widths(value)
    elif isinstance(config, list):
        for value in config:
            yield from _widths(value)
