import keras
import numpy as np
import pytest
from keras import layers

import sft_keras
from sft_keras.tflite import lite_cost


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(6, 3, strides=2, padding="same")(inputs)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = layers.Conv2DTranspose(4, 3, strides=2)(x)
    outputs = layers.Dense(5)(layers.Flatten()(x))
    model = keras.Model(inputs, outputs)
    rng = np.random.default_rng(0)  # the converter drops biases that are zero
    model.set_weights([rng.standard_normal(w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def lite(model):
    return sft_keras.convert(model, dtype="float32")


def test_multiply_accumulates_in_the_file_are_those_of_the_model(model, lite):
    assert lite_cost.macs(lite) == sft_keras.cost(model).macs


def test_parameters_in_the_file_are_those_of_the_model(model, lite):
    assert lite_cost.params(lite) == sft_keras.cost(model).params
