"""Recurrent and attention layers in int8, by value, on phones' and microcontrollers' runtimes."""

import keras
import numpy as np
import pytest
from keras import layers

from sft_keras.tflite import convert, runtimes


def recurrent(x):
    x = layers.LSTM(6, return_sequences=True)(x)
    x = layers.GRU(5, return_sequences=True)(x)
    return layers.SimpleRNN(5)(x)


def transformer(x):
    x = layers.Dense(8)(x)
    y = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    y = layers.Dense(8)(layers.Dense(16, activation="relu")(x))
    x = layers.LayerNormalization()(layers.Add()([x, y]))
    return layers.GlobalAveragePooling1D()(x)


@pytest.mark.parametrize("network", [recurrent, transformer], ids=lambda f: f.__name__)
def test_values_after_training_are_those_of_the_model(network):
    keras.utils.set_random_seed(0)
    sequence = keras.Input((6, 4), name="sequence")
    model = keras.Model(sequence, layers.Dense(3)(network(sequence)))
    x = np.random.default_rng(0).normal(size=(64, 6, 4)).astype("float32")
    expected = model.predict(x, verbose=0)
    lite = convert(model, x)
    for runtime in ("litert", "tflm"):
        (found,) = runtimes.run(runtime, lite.content, [lite.quantize_input(x)])
        error = lite.dequantize_output(found) - expected
        assert np.sqrt(np.mean(error**2)) < 0.1 * np.std(expected), runtime
