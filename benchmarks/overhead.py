"""What SoftFilterPrune adds to the time of an epoch: paired, interleaved runs.

    python benchmarks/overhead.py --pairs=5

Prints, per network, the median over pairs of (median epoch with) / (median epoch without), and the
spread, by the wall's clock and by the processor's, which other programs disturb less. The first
epoch of a fit is left out: it traces the training step. What the callback does between epochs
counts.
"""

import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from absl import app, flags
from keras import layers

import sft_keras

FLAGS = flags.FLAGS
flags.DEFINE_integer("pairs", 5, "Pairs of fits, one with and one without the callback.")
flags.DEFINE_integer("epochs", 8, "Epochs of each fit; the first is left out.")
flags.DEFINE_integer("images", 4096, "Training images of 16x16x3.")


class EpochTimer(keras.callbacks.Callback):
    """Seconds from the begin of each epoch to the begin of the next."""

    def __init__(self):
        super().__init__()
        self.begins = []

    def on_epoch_begin(self, epoch, logs=None):
        """Notes the time."""
        self.begins.append((time.perf_counter(), time.process_time()))

    def median(self) -> np.ndarray:
        """The median epoch, the first left out: wall seconds, processor seconds."""
        return np.median(np.diff(self.begins[1:], axis=0), axis=0)


def conv_net(normalized: bool) -> keras.Model:
    """Six convolutions, with or without BatchNormalization."""
    x = image = keras.Input((16, 16, 3))
    for index, filters in enumerate((16, 32, 32, 48, 48, 64)):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=not normalized)(x)
        x = layers.BatchNormalization()(x) if normalized else x
        x = layers.ReLU()(x)
        x = layers.MaxPooling2D()(x) if index % 2 else x
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10)(x))


def epoch_seconds(model: keras.Model, data, callbacks) -> np.ndarray:
    """The median time of an epoch of one fit: wall seconds, processor seconds."""
    timer = EpochTimer()
    model.fit(*data, epochs=FLAGS.epochs, batch_size=64, verbose=0, callbacks=[timer, *callbacks])
    return timer.median()


def paired_ratio(normalized: bool, pair: int, data) -> np.ndarray:
    """Times of an epoch with the callback over one without; each goes first in turn."""
    seconds = {}
    for pruning in (False, True) if pair % 2 else (True, False):
        model = conv_net(normalized)
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        callbacks = [sft_keras.SoftFilterPrune()] if pruning else []
        seconds[pruning] = epoch_seconds(model, data, callbacks)
    return seconds[True] / seconds[False]


def main(argv):
    """Runs the pairs and prints a line per network."""
    del argv
    rng = np.random.default_rng(0)
    data = rng.normal(size=(FLAGS.images, 16, 16, 3)), rng.integers(0, 10, FLAGS.images)
    for name, normalized in (("conv6 with BatchNormalization", True), ("conv6 without", False)):
        ratios = np.array([paired_ratio(normalized, pair, data) for pair in range(FLAGS.pairs)])
        for clock, xs in zip(("wall", "processor"), ratios.T, strict=True):
            spread = f"(min {xs.min():.3f}, max {xs.max():.3f})"
            print(f"{name}, {clock}: {np.median(xs):.3f}x an epoch without {spread}", flush=True)


if __name__ == "__main__":
    app.run(main)
