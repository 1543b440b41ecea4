"""Callbacks that save a training after every epoch, so that a kill at any moment loses no other.

They save once more at its end, for callbacks in front of them may give other weights there. The
last epoch stays beside that: callbacks with a state on the model have taken it off by then.
"""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from sft_keras.errors import FileError
from sft_keras.flavors.kinds import is_tf_keras, library

EPOCHS, ENDED = "after_*.weights.h5", "ended.weights.h5"


def backup(model: Any, folder: Path) -> tuple[Any, int]:
    """What saves the training of `model` in `folder`, and goes on from what is there.

    Returns:
        A callback, which belongs behind all others, and the epoch to begin with, where `fit` does
        not find that out itself.
    """
    if is_tf_keras(model):
        return _checkpoints(library(model), folder), 0
    callback = WeightsBackup(folder)
    return callback, callback.epochs


def _checkpoints(tf_keras: Any, folder: Path) -> Any:
    """The callback of tf_keras: it saves the epoch too, and wholly or not at all."""
    tensorflow: Any = sys.modules["tensorflow"]
    error, train, ended = tensorflow.errors.OpError, tensorflow.train, folder / "ended"

    class Checkpoints(tf_keras.callbacks.BackupAndRestore):
        def on_train_begin(self, logs=None):
            with _refused_if_damaged(folder, error):
                super().on_train_begin(logs)

        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            shutil.rmtree(ended, ignore_errors=True)

        def on_train_end(self, logs=None):
            super().on_train_end(logs)
            whole = train.Checkpoint(model=self.model)
            manager = train.CheckpointManager(whole, str(ended), max_to_keep=1)
            with _refused_if_damaged(folder, error):
                restored = manager.restore_or_initialize()
            if not restored:
                manager.save()

    return Checkpoints(str(folder / "checkpoint"), delete_checkpoint=False)


@contextlib.contextmanager
def _refused_if_damaged(folder: Path, *more: type[Exception]) -> Iterator[None]:
    """Names the folder where the block cannot read what is in there."""
    errors: tuple[type[Exception], ...] = (OSError, LookupError, ValueError, *more)
    try:
        yield
    except errors as error:
        raise FileError(
            f"What was saved in '{folder}' is damaged; delete that folder and start anew."
        ) from error


class WeightsBackup(keras.callbacks.Callback):
    """Keras' `BackupAndRestore` with weights and epoch in one file, which is renamed into place.

    Keras writes the two one after the other: a kill in between makes an epoch run twice, and one
    within a file leaves what cannot be loaded.

    Args:
        folder: where to; it must exist.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder

    @property
    def epochs(self) -> int:
        """How many epochs are saved."""
        numbers = (path.name.split(".")[0].split("_")[1] for path in self.folder.glob(EPOCHS))
        return max(map(int, numbers), default=0)

    def _path(self, epochs: int) -> Path:
        return self.folder / f"after_{epochs:06}.weights.h5"

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Loads what was saved last."""
        if self.epochs:
            if not self.model.optimizer.built:
                self.model.optimizer.build(self.model.trainable_variables)
            self._load(self._path(self.epochs))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Saves the model, and removes what was saved before."""
        path = self._path(epoch + 1)
        self._save(path)
        for older in {*self.folder.glob(EPOCHS), self.folder / ENDED} - {path}:
            older.unlink(missing_ok=True)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Saves what the training gave, or loads it where it had ended before."""
        path = self.folder / ENDED
        (self._load if path.exists() else self._save)(path)

    def _load(self, path: Path) -> None:
        with _refused_if_damaged(self.folder):
            self.model.load_weights(path)

    def _save(self, path: Path) -> None:
        part = self.folder / "part.weights.h5"
        self.model.save_weights(part, overwrite=True)
        os.replace(part, path)
