"""What the tests of quantization share: int8 files in this process, and a training set."""

import json
import zipfile

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from ai_edge_litert.interpreter import Interpreter
from sklearn.datasets import load_digits
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2


class File:
    """A converted file: operators, float tensors, and outputs in real numbers."""

    def __init__(self, content):
        self._interpreter = Interpreter(model_content=content)
        self._interpreter.allocate_tensors()
        tensors = self._interpreter.get_tensor_details()
        self.floats = [t["name"] for t in tensors if t["dtype"] in (np.float16, np.float32)]
        self.operators = [op["op_name"] for op in self._interpreter._get_ops_details()]

    def __call__(self, *inputs):
        for detail, x in zip(self._interpreter.get_input_details(), inputs, strict=True):
            scale, zero = detail["quantization"]
            codes = np.clip(np.round(x / scale) + zero, -128, 127).astype(np.int8)
            self._interpreter.set_tensor(detail["index"], codes)
        self._interpreter.invoke()
        (detail,) = self._interpreter.get_output_details()
        scale, zero = detail["quantization"]
        return (self._interpreter.get_tensor(detail["index"]).astype(float) - zero) * scale, scale


@pytest.fixture(scope="session")
def to_file():
    """A function that converts in this process and without the gate, so that files may be bad."""

    def convert(model):
        specs = [tf.TensorSpec((1, *x.shape[1:])) for x in model.inputs]
        serve = tf.function(lambda *inputs: model(list(inputs), training=False))
        frozen = convert_variables_to_constants_v2(serve.get_concrete_function(*specs))
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen], tf.Module())
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.inference_input_type = converter.inference_output_type = tf.int8
        return File(converter.convert())

    return convert


@pytest.fixture(scope="session")
def see_data():
    """A function that shows a quantized model some random batches, as training would."""

    def see(qat, seed=0):
        rng = np.random.default_rng(seed)
        batches = [[rng.normal(size=(8, *x.shape[1:])) for x in qat.inputs] for _ in range(4)]
        for batch in batches:
            qat([x.astype("float32") for x in batch], training=True)
        return [x[:1].astype("float32") for x in batches[0]]

    return see


@pytest.fixture(scope="session")
def digits():
    """Training and validation images in 0..1 with labels."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images, labels = data.images[order, ..., None] / 16, data.target[order]
    return (images[:1300], labels[:1300]), (images[1300:], labels[1300:])


@pytest.fixture
def edited(tmp_path):
    """Saves a small tf_keras model, its config changed in place by a function; gives the path."""

    def make(change, name="model.keras"):
        inputs = tf_keras.Input((4,), name="input")
        x = tf_keras.layers.Dense(3, name="dense")(inputs)
        model = tf_keras.Model(inputs, tf_keras.layers.ReLU(name="relu")(x))
        model.save(tmp_path / "sound.keras")
        with (
            zipfile.ZipFile(tmp_path / "sound.keras") as old,
            zipfile.ZipFile(tmp_path / name, "w") as new,
        ):
            config = json.loads(old.read("config.json"))
            change(config["config"])
            new.writestr("config.json", json.dumps(config))
            for member in ("metadata.json", "model.weights.h5"):
                new.writestr(member, old.read(member))
        return tmp_path / name

    return make
