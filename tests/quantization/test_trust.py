"""tf_keras files that would run code when they are loaded."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import sft_keras
from sft_keras.cli import files
from sft_keras.errors import FileError
from sft_keras.quantization import load_model

LOADERS = pytest.mark.parametrize("load", [load_model, lambda path: files.load_model(str(path))])


def called_on(path, layer):
    """A layer config that tf_keras would call on a path while it loads the model."""
    call = [[["_CONSTANT_VALUE", -1, str(path), {}]]]
    return (
        {"registered_name": None, "config": {"name": "evil"}, "name": "evil"}
        | layer
        | {"inbound_nodes": call}
    )


def function(module, name, registered_name=None):
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": registered_name or name,
    }


def lambda_of(serialized, kind):
    config = {"name": "evil", "function": serialized, "function_type": kind, "arguments": {}}
    return {"module": "keras.layers", "class_name": "Lambda", "config": config}


def operator(name, module="tf_keras.src.layers.core.tf_op_layer"):
    config = {"name": "evil", "function": name}
    return {
        "module": module,
        "class_name": "TFOpLambda",
        "registered_name": "TFOpLambda",
        "config": config,
    }


MAKEDIRS = function("os", "makedirs")
EVIL = {
    "Lambda of a function": lambda_of(MAKEDIRS, "function"),
    "Lambda of bytes": lambda_of(["4wAA", None, None], "lambda"),
    "Lambda without a module": lambda_of(MAKEDIRS, "function") | {"module": None},
    "function": MAKEDIRS,
    "function inside a module of Keras": function("keras.src.utils.data_utils", "os.makedirs"),
    "function of Python": function("builtins", "eval"),
    "function under its other name": function("builtins", "relu", "eval"),
    "function for a class": {"module": "os", "class_name": "makedirs"},
    "function of Keras for a class": {"module": "keras.utils", "class_name": "get_file"},
    "function of a module for a class": {
        "module": "keras.src.utils.data_utils",
        "class_name": "os.makedirs",
    },
    "function behind a class that there is not": {
        "module": "keras.layers",
        "class_name": "Absent",
        "registered_name": "makedirs",
    },
    "operator of another module": operator("math.abs", "os") | {"registered_name": "makedirs"},
    "operator on files": operator("io.gfile.makedirs"),
    "class of another library": {"module": "subprocess", "class_name": "Popen"},
    "type of no string": {"module": "keras.layers", "class_name": ["Dense"]},
    "lambda": {"class_name": "__lambda__", "config": {"value": ["4wAA", None, None]}},
    "type spec": {
        "class_name": "__typespec__",
        "spec_name": "makedirs",
        "module": "os",
        "config": ["a"],
    },
}


@pytest.mark.parametrize("layer", EVIL.values(), ids=EVIL)
def test_a_file_that_would_run_code_is_refused(edited, tmp_path, layer):
    made = tmp_path / "made"
    path = edited(lambda config: config["layers"].insert(1, called_on(made, layer)))
    with pytest.raises(FileError, match=r"model\.keras' names .* could run any code"):
        load_model(path)
    assert not made.exists()


@LOADERS
def test_it_is_refused_wherever_it_stands(edited, load):
    def change(config):
        config["layers"][1]["config"]["activation"] = MAKEDIRS

    with pytest.raises(FileError, match="names function makedirs of module os, which"):
        load(edited(change))


def test_a_file_of_another_name_is_not_read_as_hdf5(edited):
    with pytest.raises(FileError, match=r"no \.keras file '.*model\.h5'"):
        load_model(edited(lambda config: None, "model.h5"))


@pytest.mark.parametrize("content", [None, b"", b"no zip"])
def test_what_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "model.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FileError, match=r"model\.keras'"):
        load_model(path)


@tf_keras.saving.register_keras_serializable("tests")
class Doubled(tf_keras.layers.Layer):
    def call(self, x):
        return 2 * x


@tf_keras.saving.register_keras_serializable("tests")
def halved(x):
    return x / 2


def harmless():
    """A tf_keras model with a bit of all that its files may name."""
    layers = tf_keras.layers
    inputs = tf_keras.Input((4, 3))
    x = layers.Bidirectional(layers.GRU(2, return_sequences=True))(inputs)
    inner = tf_keras.Sequential([layers.Dense(3, kernel_regularizer="l2", activation=tf.nn.relu6)])
    x = Doubled()(layers.TimeDistributed(layers.Dense(3, activation=halved))(inner(x)))
    x = tf.concat([tf.nn.relu(x), x * 2.0 + 1.0], axis=-1)[:, 1:]
    x = layers.RNN([layers.LSTMCell(2)])(layers.MultiHeadAttention(1, 2)(x, x))
    model = tf_keras.Model(inputs, layers.Dense(2, kernel_initializer="he_normal")(x))
    rate = tf_keras.optimizers.schedules.CosineDecay(0.1, 10)
    model.compile(
        tf_keras.optimizers.Adam(rate),
        tf_keras.losses.mean_squared_error,
        metrics=[tf_keras.metrics.RootMeanSquaredError(), tf_keras.losses.mean_absolute_error],
    )
    model.fit(np.zeros((2, 4, 3)), np.zeros((2, 2)), verbose=0)
    return model


@LOADERS
def test_what_is_harmless_is_loaded(tmp_path, load):
    model, x = harmless(), np.linspace(-1, 1, 24, dtype="float32").reshape(2, 4, 3)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(load(tmp_path / "model.keras")(x), model(x))


@LOADERS
def test_a_quantized_model_with_operators_is_loaded(tmp_path, load):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu")(image)
    x = keras.ops.concatenate([x, x * 2.0], axis=-1)
    x = keras.layers.Dense(2, activation="softmax")(keras.ops.mean(x, axis=(1, 2)))
    model = keras.Model(image, x)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(), metrics=["accuracy"])
    qat = sft_keras.quantize(model)
    x = np.linspace(-1, 1, 192, dtype="float32").reshape(1, 8, 8, 3)
    qat.fit(x, np.zeros(1), verbose=0)
    qat.save(tmp_path / "qat.keras")
    np.testing.assert_array_equal(load(tmp_path / "qat.keras")(x), qat(x))
