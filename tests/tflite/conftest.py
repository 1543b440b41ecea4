"""Tiny models and the files they give; one conversion costs some ten seconds, so few are made."""

import json

import keras
import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras
import tflite
from tflite_mutations import narrow_softmax

from sft_keras import tflite as sft_tflite
from sft_keras.tflite import LiteModel, child, converter_process


def conv_net(library, name="net"):
    layers = library.layers
    image = library.Input((8, 8, 1), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="first")(image)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = layers.Conv2D(6, 1, activation="relu", name="pointwise")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return library.Model(image, layers.Dense(3, activation="softmax", name="head")(x), name=name)


@pytest.fixture(scope="session")
def samples():
    """Inputs (64, 8, 8, 1) and labels 0 to 2."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(64, 8, 8, 1)).astype("float32"), rng.integers(0, 3, 64)


@pytest.fixture(scope="session")
def qat_model(samples):
    tf_keras.utils.set_random_seed(0)
    model = tfmot.quantization.keras.quantize_model(conv_net(tf_keras))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(*samples, epochs=1, verbose=0)
    return model


@pytest.fixture(scope="session")
def qat_lite(qat_model):
    return sft_tflite.convert(qat_model)


@pytest.fixture(scope="session")
def summing(samples):
    """A Keras model with a sum over positions, and its int8 file."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1), name="image")
    total = keras.layers.Lambda(lambda x: keras.ops.sum(x, axis=(1, 2)), name="total")
    hidden = keras.layers.Conv2D(4, 3, name="conv")(image)
    model = keras.Model(image, keras.layers.Dense(3, name="head")(total(hidden)))
    return model, sft_tflite.convert(model, samples[0])


@pytest.fixture
def mutate(qat_lite):
    """A function: give it a change to the flatbuffer of `qat_lite`, get the changed `LiteModel`."""

    def changed(change):
        content = bytearray(qat_lite.content)
        change(tflite.Model.GetRootAs(content, 0))
        return LiteModel(bytes(content))

    return changed


@pytest.fixture
def aborting(mutate):
    """`qat_lite` with a softmax that sees almost no range: TFLite Micro aborts on it."""
    return mutate(narrow_softmax)


@pytest.fixture
def in_process(monkeypatch):
    """Converts in this process: a second instead of five, where nothing is to crash."""
    _convert_in_process(monkeypatch)


@pytest.fixture(scope="module")
def all_in_process():
    """As `in_process`, for a whole file of tests and its fixtures."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        _convert_in_process(monkeypatch)
        yield


def _convert_in_process(monkeypatch):
    in_child = child.run

    def run(module, arguments, timeout):
        if module != "sft_keras.tflite.converter_process":
            return in_child(module, arguments, timeout)
        folder, target, settings = arguments
        given = converter_process.Settings(**json.loads(settings.read_text()))
        return target.write_bytes(converter_process.convert(str(folder), given))

    monkeypatch.setattr(child, "run", run)
