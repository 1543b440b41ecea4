"""What the tests of backends run in a process with `KERAS_BACKEND` of its own.

    KERAS_BACKEND=jax python tests/backends/backend_process.py NAME FOLDER

Prints one line of JSON.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")

import keras
import numpy as np

import sft_keras
from sft_keras.channels.mask import read_mask
from sft_keras.cli.files import load_model
from sft_keras.errors import UnsupportedError
from sft_keras.tflite import runtimes

EPOCHS = 6


def network(recurrent=True):
    """A compiled network of every kind of layer that the criteria treat, with seeded weights."""
    layers = keras.layers
    x = image = keras.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, padding="same", name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU()(x)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = layers.Conv2D(6, 1, activation="relu", name="pointwise")(x)
    if recurrent:
        x = layers.Reshape((36, 6))(x)
        x = layers.GRU(7, name="gru")(x)
    else:
        x = layers.Flatten()(x)
    x = layers.Dense(9, activation="relu", name="dense")(x)
    model = keras.Model(image, layers.Dense(2, activation="softmax", name="out")(x), name="net")
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "seed" not in variable.path:
            positive = "variance" in variable.path or "gamma" in variable.path
            value = rng.uniform(0.5, 1.5, variable.shape)
            variable.assign(value if positive else rng.normal(size=variable.shape) / 4)
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def data(seed=0):
    """Images, and whether they are bright."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(96, 6, 6, 2)).astype("float32")
    return x, (x.mean(axis=(1, 2, 3)) > 0).astype("int32")


def masks(folder):
    """What each criterion prunes; costs, and how far the shrunk outputs are from the masked."""
    model = network()
    names = ("contribution", "bn_folded", "l1", "l2", "geometric_median", "random")
    plans = {name: sft_keras.plan(model, criterion=name) for name in names}
    small = sft_keras.shrink(model, plans["contribution"])
    sft_keras.mask(model, plans["contribution"])
    x, _ = data()
    difference = np.abs(model.predict(x, verbose=0) - small.predict(x, verbose=0)).max()
    return {
        "plans": {name: [list(layer.prune) for layer in p.layers] for name, p in plans.items()},
        "macs": [sft_keras.cost(model).macs, sft_keras.cost(small).macs],
        "difference": float(difference),
    }


class Probe(keras.callbacks.Callback):
    """Notes what the training step does with masked filters and with λ."""

    def __init__(self, prune):
        super().__init__()
        self.prune, self.losses, self.zero = prune, [], []

    def on_epoch_end(self, epoch, logs=None):
        """Behind the last step of an epoch."""
        self.losses.append(float(logs["loss"]))
        mask = read_mask(self.prune.groups)
        self.zero.append(bool((mask | ~self.prune.mask).all()))


class Cut(keras.callbacks.Callback):
    """Ends `fit` as a crash would."""

    def on_epoch_begin(self, epoch, logs=None):
        """Before the final phase."""
        if epoch == 3:
            raise InterruptedError


def _fit(callbacks, l1=0.1):
    keras.utils.set_random_seed(0)
    model = network()
    phases = sft_keras.schedules.Phases(soft_share=0.7, prune_epochs=1, fine_tune_epochs=1)
    prune = sft_keras.SoftFilterPrune(l1=l1, phases=phases)
    probe = Probe(prune)
    callbacks = [prune, *callbacks, probe]
    try:
        history = model.fit(
            *data(),
            epochs=EPOCHS,
            batch_size=32,
            shuffle=False,
            verbose=0,
            validation_data=data(1),
            callbacks=callbacks,
        )
    except InterruptedError:
        return model, prune, probe, {}
    return model, prune, probe, history.history


def fit(folder):
    """Prunes in `fit`, once whole, once without λ, once cut off and gone on with."""
    model, prune, probe, history = _fit([])
    _, _, plain, _ = _fit([], l1=0.0)
    backup = folder / "backup"
    _fit([keras.callbacks.BackupAndRestore(str(backup)), Cut()])
    resumed, again, _, _ = _fit([keras.callbacks.BackupAndRestore(str(backup))])
    small = sft_keras.shrink(model)
    x, y = data(1)
    small.compile(loss="sparse_categorical_crossentropy")
    model.save(folder / "model.keras")
    convolutional = network(recurrent=False)
    callbacks = [sft_keras.SoftFilterPrune(l1=1e-4)]
    convolutional.fit(*data(), epochs=EPOCHS, verbose=0, callbacks=callbacks)
    convolutional.save(folder / "convolutional.keras")
    return {
        "phases": history["phase"],
        "losses": probe.losses,
        "losses_without_l1": plain.losses,
        "masked_is_zero": probe.zero,
        "pruned": int(prune.mask.sum()),
        "val_loss": history["val_loss"][-1],
        "small_loss": float(small.evaluate(x, y, verbose=0)),
        "resumed_mask": bool(np.array_equal(again.mask, prune.mask)),
        "resumed_difference": max(
            float(np.abs(np.asarray(a) - np.asarray(b)).max())
            for a, b in zip(resumed.get_weights(), model.get_weights(), strict=True)
        ),
    }


def refusals(folder):
    """What the functions that need TensorFlow say."""
    model = network()
    sentences = []
    for function in (
        lambda: sft_keras.quantize(model),
        lambda: sft_keras.convert(model, data()[0]),
        lambda: sft_keras.quantization.to_tf_keras(model),
        lambda: sft_keras.compress(model, data(), data()),
    ):
        try:
            function()
        except UnsupportedError as error:
            sentences.append(str(error))
    return {"sentences": sentences}


def int8(folder):
    """Takes models that another backend trained to int8 files, after training and aware of it."""
    recurrent, convolutional = (
        sft_keras.shrink(load_model(folder / name))
        for name in ("model.keras", "convolutional.keras")
    )
    x, y = data()
    quantized = sft_keras.quantize(convolutional)
    quantized.fit(x, y, epochs=2, verbose=0)
    return {
        "optimizer": type(recurrent.optimizer).__name__,
        "after training": _compared(recurrent, sft_keras.convert(recurrent, x)),
        "aware": _compared(convolutional, sft_keras.convert(quantized)),
    }


def _compared(model, lite):
    """A file's dtypes, and on how much of the data it finds the model's class."""
    x, _ = data()
    (outputs,) = runtimes.run("litert", lite.content, [lite.quantize_input(x)])
    same = outputs.argmax(-1) == model.predict(x, verbose=0).argmax(-1)
    return {"dtypes": [lite.inputs[0].dtype, lite.outputs[0].dtype], "agrees": float(same.mean())}


def devices(folder):
    """Prunes on two devices of JAX and on one."""
    whole = _fit([])
    parallel = keras.distribution.DataParallel(devices=keras.distribution.list_devices())
    keras.distribution.set_distribution(parallel)
    split = _fit([])
    return {
        "devices": len(keras.distribution.list_devices()),
        "same_mask": bool(np.array_equal(whole[1].mask, split[1].mask)),
        "masked_is_zero": split[2].zero,
        "difference": max(
            float(np.abs(np.asarray(a) - np.asarray(b)).max())
            for a, b in zip(whole[0].get_weights(), split[0].get_weights(), strict=True)
        ),
    }


if __name__ == "__main__":
    name, folder = sys.argv[1:]
    functions = {f.__name__: f for f in (masks, fit, refusals, int8, devices)}
    print(json.dumps(functions[name](Path(folder))))
