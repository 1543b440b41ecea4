import importlib.util

import keras
import numpy as np
import pytest
from keras import layers
from sklearn.datasets import load_digits

import sft_keras
from sft_keras.errors import FileError, MissingExtraError
from sft_keras.tflite import runtimes, to_onnx

onnxruntime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return (data.images[..., None] / 16).astype("float32"), data.target


@pytest.fixture(scope="module")
def lite(digits):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, activation="relu")(image)
    x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
    x = layers.Dense(10, activation="softmax", name="digit")(layers.Flatten()(x))
    model = keras.Model(image, x)
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(*digits, epochs=3, verbose=0)
    return sft_keras.convert(model, digits[0])


@pytest.fixture(scope="module")
def path(lite, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    to_onnx(lite, path)
    return path


def test_onnx_runtime_gives_what_litert_gives(lite, path, digits):
    session = onnxruntime.InferenceSession(path)
    (image,), (digit,) = session.get_inputs(), session.get_outputs()
    assert (image.name, digit.name) == ("image", "digit")
    assert (image.type, digit.type) == ("tensor(int8)", "tensor(int8)")
    x = lite.quantize_input(digits[0])
    (expected,) = runtimes.run("litert", lite.content, [x])
    found = np.concatenate([session.run(None, {"image": row[None]})[0] for row in x])
    assert (found.argmax(-1) == expected.argmax(-1)).mean() >= 0.999


def test_an_existing_file_stays(lite, path):
    before = path.read_bytes()
    with pytest.raises(FileError, match="exists"):
        to_onnx(lite, path)
    assert path.read_bytes() == before


def test_the_extra_is_named(lite, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"sft-keras\[onnx\]"):
        to_onnx(lite, tmp_path / "model.onnx")
