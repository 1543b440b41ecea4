"""Kills a training with SIGKILL at random moments and starts it again, until it has ended.

    python tests/restart_process.py KILLS FOLDER

Children are forked from a process that has imported everything and run nothing, for importing
takes longer than the training.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

import sft_keras
from sft_keras.backups import Backup
from sft_keras.training import fit

EPOCHS = 14


def train(folder: Path, result: Path) -> None:
    """Prunes a network, saved in `folder`; its mask and weights go to `result`."""
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 8, 8, 2)).astype("float32")
    y = (x.mean(axis=(1, 2, 3)) > 0).astype("int32")
    layers = [
        keras.Input((8, 8, 2)),
        keras.layers.Conv2D(12, 3, padding="same"),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model.compile("adam", "sparse_categorical_crossentropy")
    prune = sft_keras.SoftFilterPrune(phases=sft_keras.schedules.Phases(soft_share=0.6))
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    with Backup(folder) as backup:
        saved = backup.training("prune", prune.get_config())
        fit(model, batches, batches, EPOCHS, callbacks=[prune], backup=saved, verbose=0)
        part = result.with_suffix(".part.npz")
        np.savez(part, prune.mask, *model.get_weights())
        os.replace(part, result)


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


def main(kills: int, folder: Path) -> None:
    """Compares a training that was killed so often with one that was not."""
    begin = time.monotonic()
    if code := exit_code(forked(folder / "a", folder / "whole.npz")):
        sys.exit(code)
    seconds = time.monotonic() - begin
    draw = random.Random(0)
    done = 0
    while done < kills:
        result = folder / f"{done}.npz"
        child = forked(folder / "b", result)
        time.sleep(draw.uniform(0.3, 1) * seconds)
        os.kill(child, signal.SIGKILL)
        done += exit_code(child) == -signal.SIGKILL
        if result.exists():  # it had ended before: the next one begins anew
            compare(folder / "whole.npz", result)
    if code := exit_code(forked(folder / "b", folder / "resumed.npz")):
        sys.exit(code)
    compare(folder / "whole.npz", folder / "resumed.npz")
    print(f"{done} kills: same mask, same weights")


def compare(whole: Path, resumed: Path) -> None:
    """Ends the process where an array differs in a bit."""
    with np.load(whole) as a, np.load(resumed) as b:
        if not all(np.array_equal(a[name], b[name]) for name in a.files):
            sys.exit(f"{resumed} differs from {whole}")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
