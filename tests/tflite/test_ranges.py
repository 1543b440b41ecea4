"""Ranges that the converter gives and kernels do not keep to are mended, or noticed."""

import keras
import numpy as np
import pytest
from keras import layers

from sft_keras.errors import GateError
from sft_keras.tflite import convert, ranges, runtimes

pytestmark = pytest.mark.usefixtures("all_in_process")


def test_the_gate_notices_a_state_that_is_written_in_another_range(monkeypatch):
    keras.utils.set_random_seed(0)
    sequence = keras.Input((6, 4))
    model = keras.Model(sequence, layers.Bidirectional(layers.LSTM(3))(sequence))
    x = np.random.default_rng(0).normal(size=(64, 6, 4)).astype("float32")
    monkeypatch.setattr(ranges, "mend", lambda model: False)
    with pytest.raises(
        GateError, match=r"UNIDIRECTIONAL_SEQUENCE_LSTM .* from one range to another"
    ):
        convert(model, x)


def test_constants_that_are_zero_have_a_scale_in_int16():
    model = keras.Sequential([keras.Input((6, 4)), layers.LayerNormalization()])
    x = np.random.default_rng(0).normal(size=(64, 6, 4)).astype("float32")
    lite = convert(model, x, dtype="int16x8")
    scales = [t.scales for op in lite.file.operators for t in op.inputs if t.scales.size]
    assert min(map(np.min, scales)) > 0
    (found,) = runtimes.run("tflm", lite.content, [lite.quantize_input(x)])
    error = lite.dequantize_output(found) - model.predict(x, verbose=0)
    assert np.sqrt(np.mean(error**2)) < 0.01


def same_biases():
    sequence = keras.Input((4,))
    x = layers.Dense(3, bias_initializer="ones", activation="relu", name="first")(sequence)
    return keras.Model(sequence, layers.Dense(3, bias_initializer="ones", name="second")(x))


def test_layers_with_the_same_bias_have_it_in_their_own_scales_in_int16(monkeypatch):
    keras.utils.set_random_seed(0)
    model = same_biases()
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    lite = convert(model, x, dtype="int16x8")
    for runtime in ("litert", "tflm"):
        (found,) = runtimes.run(runtime, lite.content, [lite.quantize_input(x)])
        error = lite.dequantize_output(found) - model.predict(x, verbose=0)
        assert np.sqrt(np.mean(error**2)) < 0.02, runtime
    monkeypatch.setattr(ranges, "mend", lambda model: False)
    with pytest.raises(GateError, match=r"has a bias in another scale"):
        convert(model, x, dtype="int16x8")
