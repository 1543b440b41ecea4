"""Kills a training with SIGKILL at random moments and starts it again, until it has ended.

    python tests/restart_process.py KILLS FOLDER SAVER

What saves it is `sft` for `sft_keras.Backup`, and `keras` or `tf_keras` for `BackupAndRestore`.
Children are forked from a process that has imported everything and run nothing, for importing
takes longer than the training.
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
import tf_keras

import sft_keras
from sft_keras.backups import Backup
from sft_keras.training import fit

EPOCHS = 14


def train(saver: str, folder: Path, result: Path) -> None:
    """Prunes a network, saved in `folder`; its mask and weights go to `result`."""
    flavor = tf_keras if saver == "tf_keras" else keras
    flavor.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 8, 8, 2)).astype("float32")
    y = (x.mean(axis=(1, 2, 3)) > 0).astype("int32")
    layers = [
        flavor.Input((8, 8, 2)),
        flavor.layers.Conv2D(12, 3, padding="same"),
        flavor.layers.BatchNormalization(),
        flavor.layers.ReLU(),
        flavor.layers.GlobalAveragePooling2D(),
        flavor.layers.Dense(2, activation="softmax"),
    ]
    model = flavor.Sequential(layers)
    model.compile("adam", "sparse_categorical_crossentropy")
    prune = sft_keras.SoftFilterPrune(phases=sft_keras.schedules.Phases(soft_share=0.6))
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    if saver == "sft":
        with Backup(folder) as backup:
            saved = backup.training("prune", prune.get_config())
            fit(model, batches, batches, EPOCHS, callbacks=[prune], backup=saved, verbose=0)
            save(result, prune, model)
    else:
        options = {"double_checkpoint": True} if saver == "keras" else {}
        callback = flavor.callbacks.BackupAndRestore(str(folder), **options)
        callbacks = [prune, callback]
        model.fit(batches, epochs=EPOCHS, validation_data=batches, callbacks=callbacks, verbose=0)
        save(result, prune, model)


def save(result: Path, prune, model) -> None:
    """Writes mask and weights, wholly or not at all."""
    part = result.with_suffix(".part.npz")
    np.savez(part, prune.mask, *model.get_weights())
    os.replace(part, result)


def in_keras_save(folder: Path) -> bool:
    """Whether Keras 3 was killed behind an epoch's weights and before that epoch's number.

    It goes through that epoch twice then, with or without this package: docs/training.md.
    """
    weights, number = folder / "latest.weights.h5", folder / "training_metadata.json"
    if not weights.exists():
        return False
    return not number.exists() or weights.stat().st_mtime_ns > number.stat().st_mtime_ns


def forked(*arguments) -> int:
    """The process that runs `train` with these arguments."""
    child = os.fork()
    if not child:
        try:
            train(*arguments)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
        os._exit(0)
    return child


def exit_code(child: int) -> int:
    """What a child ended with; below zero is the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(kills: int, folder: Path, saver: str) -> None:
    """Compares a training that was killed so often with one that was not."""
    begin = time.monotonic()
    if code := exit_code(forked(saver, folder / "a", folder / "whole.npz")):
        sys.exit(code)
    seconds = time.monotonic() - begin
    draw = random.Random(0)
    done = 0
    while done < kills:
        result = folder / f"{done}.npz"
        child = forked(saver, folder / "b", result)
        time.sleep(draw.uniform(0.3, 1) * seconds)
        os.kill(child, signal.SIGKILL)
        killed = exit_code(child) == -signal.SIGKILL
        if in_keras_save(folder / "b"):
            shutil.rmtree(folder / "b")
            continue
        done += killed
        if result.exists():  # it had ended before: the next one begins anew
            compare(folder / "whole.npz", result)
    if code := exit_code(forked(saver, folder / "b", folder / "resumed.npz")):
        sys.exit(code)
    compare(folder / "whole.npz", folder / "resumed.npz")
    print(f"{done} kills: same mask, same weights")


def compare(whole: Path, resumed: Path) -> None:
    """Ends the process where an array differs in a bit."""
    with np.load(whole) as a, np.load(resumed) as b:
        if not all(np.array_equal(a[name], b[name]) for name in a.files):
            sys.exit(f"{resumed} differs from {whole}")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
