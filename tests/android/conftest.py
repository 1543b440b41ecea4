"""Small files that the tests of this folder write metadata and Kotlin for."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

from sft_keras import LiteModel, convert
from sft_keras.tflite.packing import packed


@pytest.fixture(scope="session")
def edited():
    """Makes a copy of a file with a change to its first subgraph, in the schema's object API."""
    return _edited


def _edited(lite, change):
    model = schema.ModelT.InitFromPackedBuf(lite.content)
    change(model.subgraphs[0])
    return LiteModel(packed(model))


@pytest.fixture(scope="session")
def lite():
    """An int8 classifier of pictures in colour."""
    keras.utils.set_random_seed(0)
    x = layers.Conv2D(4, 3, activation="relu")(image := keras.Input((8, 8, 3), name="image"))
    x = layers.Dense(3, activation="softmax", name="classes")(layers.GlobalAveragePooling2D()(x))
    samples = np.random.default_rng(0).normal(size=(20, 8, 8, 3))
    return convert(keras.Model(image, x), samples)


@pytest.fixture(scope="session")
def unsigned(lite, edited):
    """The classifier with uint8 ends."""

    def change(graph):
        for number in (*graph.inputs, *graph.outputs):
            tensor = graph.tensors[number]
            tensor.type = schema.TensorType.UINT8
            tensor.quantization.zeroPoint = tensor.quantization.zeroPoint + 128

    return edited(lite, change)


@pytest.fixture(scope="session")
def segments():
    """A float file that scores three classes at each of 2x2 places."""
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 1), name="image")
    x = layers.Conv2D(3, 3, name="places")(image)
    return convert(keras.Model(image, x), dtype="float32")


@pytest.fixture(scope="session")
def two():
    """A float file of two inputs and two outputs, the names not in order; the first are tokens."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((4,), dtype="int32", name="tokens")
    extra = keras.Input((3,), name="extra")
    x = layers.Flatten()(layers.Embedding(5, 2)(tokens))
    x = layers.Concatenate()([x, extra])
    outputs = [layers.Dense(2, name="second")(x), layers.Dense(5, name="first")(extra)]
    return convert(keras.Model([tokens, extra], outputs), dtype="float32")


@pytest.fixture(scope="session")
def remembering():
    """An int8 file with an LSTM, which keeps its state from one run to the next."""
    keras.utils.set_random_seed(0)
    sequence = keras.Input((5, 3), name="sequence")
    model = keras.Model(sequence, layers.Dense(2)(layers.LSTM(4)(sequence)))
    return convert(model, np.random.default_rng(0).normal(size=(20, 5, 3)))
