"""Trainings that go on where they were cut off."""

import contextlib
import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from absl import logging

from sft_keras import flavors, writing
from sft_keras.errors import FileError

LOCK, SETTINGS, LOG = "sft_keras.lock", "settings.json", "log.json"
TRASH = ".deleted-"


class Backup:
    """A folder from which the same work goes on after a crash, a kill or an interruption.

    The folder is locked while the block runs. When the block ends without an error, what was
    saved is deleted, and the folder with it unless others put files there.

    Args:
        folder: where to save; it must be new, empty, or left by a run that was cut off.

    Raises:
        FileError: another process is in the folder, it has files of others, or it cannot be
            written.

    Example:
        >>> with sft_keras.Backup("compressing") as backup:
        ...     result = sft_keras.compress(model, train, val, backup=backup)
        ...     result.lite.save("model.tflite")
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._lock = filelock.FileLock(self.folder / LOCK, timeout=0)

    def __enter__(self) -> "Backup":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            names = {path.name for path in self.folder.iterdir()}
            if names and LOCK not in names:
                raise FileError(
                    f"Folder '{self.folder}' has files that are no backup's; move them away, or "
                    "choose another folder."
                )
            self._lock.acquire()
        except filelock.Timeout as error:
            raise FileError(
                f"Another run is in '{self.folder}'; wait for its end, or choose another folder."
            ) from error
        except OSError as error:
            raise FileError(f"'{self.folder}' cannot be written: {error.strerror}.") from error
        self._empty_trash()
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        saved = (path for path in self.folder.rglob("*") if path.is_file())
        try:
            if kind is None or all(path.name in (LOCK, SETTINGS) for path in saved):
                with contextlib.suppress(OSError):  # what cannot be deleted stays
                    self._delete()
        finally:
            self._lock.release()

    def _delete(self) -> None:
        """Deletes what trainings saved, the last one's first, then the lock and the folder.

        Each disappears at once: after a kill, what is still there is whole. The lock goes last and
        while it is held, so that no other run begins in between.
        """
        settings = [*self.folder.glob(f"*/{SETTINGS}")]
        for path in sorted(settings, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            path.parent.rename(self.folder / f"{TRASH}{path.parent.name}")
        self._empty_trash()
        Path(self._lock.lock_file).unlink()
        self.folder.rmdir()

    def _empty_trash(self) -> None:
        for folder in self.folder.glob(f"{TRASH}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def training(self, name: str, settings: Mapping[str, Any]) -> "TrainingBackup":
        """The part of the folder for one training.

        Args:
            name: the training's.
            settings: what it depends on, as JSON can hold it.

        Raises:
            FileError: what is saved there is of a training with other settings, or damaged.
        """
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        given = json.loads(json.dumps(settings))
        path = folder / SETTINGS
        if not path.exists() and any(not x.name.startswith(".") for x in folder.iterdir()):
            raise FileError(
                f"Folder '{folder}' holds a run that was cut off without its {SETTINGS}; delete "
                f"'{self.folder}' and start anew."
            )
        found = _read(path) if path.exists() else given
        for key in sorted(given | found):
            if given.get(key) != found.get(key):
                raise FileError(
                    f"Folder '{self.folder}' holds a run that was cut off and had another {key}; "
                    "run that one again, or delete the folder."
                )
        writing.save(path, json.dumps(given).encode(), overwrite=True)
        return TrainingBackup(folder)


def _read(path: Path) -> dict[str, Any]:
    """What a JSON file of a backup holds."""
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(content, dict):
        raise _damaged(path)
    return content


def _damaged(path: Path) -> FileError:
    return FileError(f"'{path}' is damaged; delete '{path.parents[1]}' and start anew.")


class TrainingBackup:
    """The saved state of one `fit`; see `Backup.training`.

    Args:
        folder: where it is; it must exist.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.log = EpochLog(folder / LOG)

    def callbacks(self, model: Any) -> tuple[list[Any], int]:
        """What saves the training, behind all other callbacks, and the epoch to begin with."""
        callback, epoch = flavors.backup(model, self.folder)
        if self.log.ended:
            logging.info("All epochs are saved in '%s'.", self.folder)
        return [self.log, callback], epoch


class EpochLog(flavors.Callback):
    """Writes the logs of every epoch to a file, and keeps those of epochs before a restart.

    Args:
        path: of a JSON file.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        saved: dict[str, Any] = _read(path) if path.exists() else {"epochs": [], "ended": False}
        epochs = saved.get("epochs")
        whole = isinstance(epochs, list) and all(isinstance(logs, dict) for logs in epochs)
        if not (whole and isinstance(saved.get("ended"), bool)):
            raise _damaged(path)
        self.epochs: list[dict[str, float]] = saved["epochs"]
        self.ended: bool = saved["ended"]

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Waits for the first epoch, which tells where the training goes on."""
        self._began = False

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Drops the logs of an epoch that is gone through again."""
        if epoch and not self._began:
            logging.info("Going on after epoch %d, saved in '%s'.", epoch, self.path.parent)
        self._began = True
        self.epochs = self.epochs[:epoch]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Adds the epoch, and whether a callback in front of this one ends the training with it."""
        self.epochs.append({name: float(value) for name, value in (logs or {}).items()})
        self.ended = bool(self.model.stop_training)
        self._save()

    def on_train_end(self, logs: dict | None = None) -> None:
        """Marks the training as complete."""
        self.ended = True
        self._save()

    @property
    def history(self) -> dict[str, list[float]]:
        """The logs by name, one number an epoch."""
        names = dict.fromkeys(name for logs in self.epochs for name in logs)
        return {name: [logs.get(name, math.nan) for logs in self.epochs] for name in names}

    def _save(self) -> None:
        content = json.dumps({"epochs": self.epochs, "ended": self.ended})
        writing.save(self.path, content.encode(), overwrite=True)


def fingerprint(model: Any) -> str:
    """Sixteen hexadecimal digits that differ where a weight of a model differs."""
    return _digest(map(flavors.to_numpy, flavors.variables(model)))


def _digest(arrays: Iterable[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for value in arrays:
        digest.update(f"{value.shape} {value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()[:16]


def data_settings(data: Any) -> Any:
    """What is cheap and sure to know of training data, as JSON can hold it.

    Args:
        data: whatever `fit` takes. Of arrays it is everything, of a `tf.data.Dataset` the shapes
            and types of its batches and how many there are, of anything else its type.
    """
    if isinstance(data, tuple | list):
        return [data_settings(part) for part in data]
    if isinstance(data, dict):
        return {str(name): data_settings(part) for name, part in data.items()}
    if hasattr(data, "element_spec"):
        batches = data.cardinality() if hasattr(data, "cardinality") else -2  # unknown
        return [str(data.element_spec), int(batches)]
    if hasattr(data, "shape") and hasattr(data, "dtype"):
        return _digest([np.asarray(data)])
    return type(data).__name__
