"""Trainings that go on where they were cut off."""

import hashlib
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import filelock
from absl import logging

from sft_keras import flavors, writing
from sft_keras.errors import FileError

SETTINGS, LOG = "settings.json", "log.json"


class Backup:
    """A folder from which the same work goes on after a crash, a kill or an interruption.

    The folder is locked while the block runs, and deleted when the block ends without an error.

    Args:
        folder: where to save; a folder that another run is in is refused.

    Raises:
        FileError: another process is in the folder, or it cannot be written.

    Example:
        >>> with sft_keras.Backup("compressing") as backup:
        ...     result = sft_keras.compress(model, train, val, backup=backup)
        ...     result.lite.save("model.tflite")
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._lock = filelock.FileLock(self.folder / "lock", timeout=0)

    def __enter__(self) -> "Backup":
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except filelock.Timeout as error:
            raise FileError(
                f"Another run is in '{self.folder}'; wait for its end, or choose another folder."
            ) from error
        except OSError as error:
            raise FileError(f"'{self.folder}' cannot be written: {error.strerror}.") from error
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None or not any(self.folder.glob(f"*/{LOG}")):
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    def training(self, name: str, settings: Mapping[str, Any]) -> "TrainingBackup":
        """The part of the folder for one training.

        Args:
            name: the training's.
            settings: what it depends on, as JSON can hold it.

        Raises:
            FileError: what is saved there is of a training with other settings.
        """
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        given = json.loads(json.dumps(settings))
        path = folder / SETTINGS
        found = json.loads(path.read_text()) if path.exists() else given
        for key in sorted(given | found):
            if given.get(key) != found.get(key):
                raise FileError(
                    f"Folder '{self.folder}' holds a run that was cut off and had another {key}; "
                    "run that one again, or delete the folder."
                )
        writing.save(path, json.dumps(given).encode(), overwrite=True)
        return TrainingBackup(folder)


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
        saved: dict = json.loads(path.read_text()) if path.exists() else {}
        self.epochs: list[dict[str, float]] = saved.get("epochs", [])
        self.ended: bool = saved.get("ended", False)

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
        """Adds the epoch."""
        self.epochs.append({name: float(value) for name, value in (logs or {}).items()})
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
    digest = hashlib.sha256()
    for variable in flavors.variables(model):
        value = flavors.to_numpy(variable)
        digest.update(f"{value.shape} {value.dtype}".encode())
        digest.update(value.tobytes())
    return digest.hexdigest()[:16]
