"""Callbacks that save a training after every epoch, so that a kill at any moment loses no other."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from sft_keras.errors import FileError
from sft_keras.flavors.kinds import is_tf_keras, library

PATTERN = "after_*.weights.h5"


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
    errors: Any = sys.modules["tensorflow"].errors

    class Checkpoints(tf_keras.callbacks.BackupAndRestore):
        def on_train_begin(self, logs=None):
            with _refused_if_damaged(folder, errors.OpError):
                super().on_train_begin(logs)

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
        numbers = (path.name.split(".")[0].split("_")[1] for path in self.folder.glob(PATTERN))
        return max(map(int, numbers), default=0)

    def _path(self, epochs: int) -> Path:
        return self.folder / f"after_{epochs:06}.weights.h5"

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Loads what was saved last."""
        if self.epochs:
            if not self.model.optimizer.built:
                self.model.optimizer.build(self.model.trainable_variables)
            with _refused_if_damaged(self.folder):
                self.model.load_weights(self._path(self.epochs))

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Saves the model, and removes what was saved before."""
        part = self.folder / "part.weights.h5"
        self.model.save_weights(part, overwrite=True)
        os.replace(part, self._path(epoch + 1))
        for older in self.folder.glob(PATTERN):
            if older != self._path(epoch + 1):
                older.unlink()
