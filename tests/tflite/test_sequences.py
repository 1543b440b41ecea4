"""Recurrent and attention layers in int8, by value, on phones' and microcontrollers' runtimes."""

from importlib import metadata

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


def both_ways(x):
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x)
    x = layers.Concatenate()([x, layers.LSTM(3, return_sequences=True)(x)])
    return layers.Bidirectional(layers.LSTM(3))(x)


def video(x):
    x = layers.Reshape((6, 2, 2, 1))(x)
    x = layers.ConvLSTM2D(3, 2, padding="same", return_sequences=True)(x)
    return layers.Flatten()(x)


OLD = metadata.version("ai-edge-litert").startswith("2.1.")
RUNTIMES = ("litert", "litert-ref", "tflm")
NETWORKS = (recurrent, transformer, both_ways, video)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda f: f.__name__)
def test_values_after_training_are_those_of_the_model(network):
    keras.utils.set_random_seed(0)
    sequence = keras.Input((6, 4), name="sequence")
    model = keras.Model(sequence, layers.Dense(3)(network(sequence)))
    x = np.random.default_rng(0).normal(size=(64, 6, 4)).astype("float32")
    expected = model.predict(x, verbose=0)
    lite = convert(model, x)
    for runtime in RUNTIMES:
        if (network, runtime, OLD) == (both_ways, "litert-ref", True):
            continue  # LiteRT 2.1.6's reference kernels lack REVERSE_V2 of version 3
        (found,) = runtimes.run(runtime, lite.content, [lite.quantize_input(x)])
        error = lite.dequantize_output(found) - expected
        assert np.sqrt(np.mean(error**2)) < 0.1 * np.std(expected), runtime


def test_an_lstm_that_crashes_the_converter_is_unrolled():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6, 4)), layers.LSTM(4), layers.Dense(3)])
    x = np.random.default_rng(0).normal(size=(64, 6, 4)).astype("float32")
    expected = model.predict(x, verbose=0)
    lite = convert(model, x, dtype="int16x8")
    for runtime in ("litert", "tflm"):
        (found,) = runtimes.run(runtime, lite.content, [lite.quantize_input(x)])
        error = lite.dequantize_output(found) - expected
        assert np.sqrt(np.mean(error**2)) < 0.01 * np.std(expected), runtime


# TensorFlow 2.18 leaves SPLIT in float, which the gate refuses.
@pytest.mark.parametrize("dtype", ["int16x8"] if OLD else ["int8", "int16x8"])
def test_an_operator_with_several_outputs_passes(dtype):
    sequence = keras.Input((6, 4))
    first, second = keras.ops.split(sequence, 2, axis=1)
    model = keras.Model(sequence, layers.Add()([layers.Dense(2)(first), layers.Dense(2)(second)]))
    lite = require_close(model, dtype)
    assert any(len(operator.outputs) == 2 for operator in lite.file.operators)


@pytest.mark.parametrize("dtype", ["int8", "int16x8"])
def test_one_part_of_a_split_passes(dtype):
    sequence = keras.Input((6, 4))
    model = keras.Model(sequence, layers.Dense(2)(keras.ops.split(sequence, 2, axis=1)[1]))
    require_close(model, dtype)


def require_close(model, dtype):
    x = np.random.default_rng(0).normal(size=(64, 6, 4)).astype("float32")
    lite = convert(model, x, dtype=dtype)
    (found,) = runtimes.run("litert", lite.content, [lite.quantize_input(x)])
    error = lite.dequantize_output(found) - model.predict(x, verbose=0)
    assert np.sqrt(np.mean(error**2)) < 0.05
    return lite
