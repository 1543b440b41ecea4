"""A quantized model that is saved, loaded in a fresh process, converted and trained on."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers

import sft_keras
from sft_keras.quantization import load_model

FRESH = """
import sys
import numpy as np
import tf_keras
import sft_keras
from sft_keras.quantization import load_model

folder = sys.argv[1]
data = np.load(f"{folder}/data.npz")
qat = load_model(f"{folder}/qat.keras")
sft_keras.convert(qat).save(f"{folder}/fresh.tflite")
tf_keras.utils.set_random_seed(1)
qat.fit(data["x"], data["y"], epochs=2, batch_size=8, verbose=0)
np.savez(f"{folder}/trained_on.npz", *qat.get_weights())
"""


@pytest.fixture(scope="module", params=[None, {"conv": "float32"}], ids=["int8", "mixed"])
def saved(request, tmp_path_factory):
    """A trained model, its data, and the folder in which a fresh process went on with it."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 2), name="image")
    x = layers.Conv2D(6, 3, use_bias=False, name="conv")(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Flatten()(layers.DepthwiseConv2D(3, activation="relu6")(x))
    model = keras.Model(image, layers.Dense(3, activation="softmax")(x))
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 8, 8, 2)).astype("float32"), rng.integers(0, 3, 32)
    qat = sft_keras.quantize(model, layer_dtypes=request.param)
    qat.fit(x, y, batch_size=8, verbose=0)
    folder = tmp_path_factory.mktemp("saved")
    qat.save(folder / "qat.keras")
    np.savez(folder / "data.npz", x=x, y=y)
    subprocess.run([sys.executable, "-c", FRESH, folder], check=True, capture_output=True)
    return qat, x, y, folder


def test_it_converts_to_the_same_bytes(saved):
    qat, _, _, folder = saved
    assert sft_keras.convert(qat).content == (folder / "fresh.tflite").read_bytes()


def test_training_goes_on_as_if_it_had_never_stopped(saved):
    qat, x, y, folder = saved
    again = load_model(folder / "qat.keras")
    assert again.optimizer.iterations.numpy() == qat.optimizer.iterations.numpy() == 4
    keras.utils.set_random_seed(1)
    again.fit(x, y, epochs=2, batch_size=8, verbose=0)
    with np.load(folder / "trained_on.npz") as trained_on:
        for here, there in zip(again.get_weights(), trained_on.values(), strict=True):
            np.testing.assert_allclose(here, there, rtol=1e-5, atol=1e-6)
    momenta = [v.numpy() for v in qat.optimizer.variables[1:]]
    assert any(np.abs(m).max() > 0 for m in momenta if m.dtype.kind == "f" and m.ndim)
