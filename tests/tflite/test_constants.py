"""Constants beside which all other numbers are lost are refused; large ones with others are not."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from sft_keras.errors import GateError
from sft_keras.tflite import constants, convert, runtimes

pytestmark = pytest.mark.usefixtures("all_in_process")

KEPT = (np.arange(6) < 4)[:, None]
MASK = np.where(KEPT, 0, -1e9).astype("float32")


def selected(x):
    return ops.max(ops.where(KEPT, x, -1e9), axis=1)


def added(x):
    return ops.max(x + MASK, axis=1)


def computed(x):
    wanted = ops.sigmoid(8 * x[:, :, :1])
    return ops.max(x + (1 - wanted) * -1e9, axis=1)


def fused(x):
    return ops.log_softmax(layers.Dense(6)(layers.Flatten()(x)) + MASK[:, 0])


def padded(x):
    return ops.max(ops.pad(x, ((0, 0), (2, 0), (0, 0)), constant_values=-1e4), axis=1)


def joined(x):
    return ops.max(ops.concatenate([x, ops.zeros_like(x) - 1e9], axis=1), axis=1)


@pytest.fixture(scope="module")
def sequences():
    return np.random.default_rng(0).normal(size=(64, 6, 4)).astype("float32")


def model_of(function):
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 4))
    return keras.Model(x, function(x))


@pytest.mark.parametrize(
    ("function", "dtype", "operator"),
    [
        (selected, "int8", "SELECT_V2"),
        (added, "int8", "ADD"),
        (added, "int16x8", "ADD"),
        (computed, "int8", "ADD"),
        (fused, "int8", "FULLY_CONNECTED"),
        (padded, "int8", "PADV2"),
        (joined, "int16x8", "CONCATENATION"),
    ],
)
def test_a_mask_whose_range_takes_all_is_refused(sequences, function, dtype, operator):
    with pytest.raises(GateError, match=f"{operator} .* has a constant of -1.0e") as caught:
        convert(model_of(function), sequences, dtype=dtype, target="litert")
    assert str(caught.value).count("has a constant") == 1


def near(x):
    return ops.max(x + MASK / 1e8, axis=1)


def heavy(x):
    big = keras.initializers.RandomNormal(stddev=1e4)
    return layers.Dense(3, kernel_initializer=big, bias_initializer=big)(layers.Flatten()(x))


def thousands(x):
    return ops.max(ops.where(KEPT, 2000 * x, -1e4), axis=1)


def shifted(x):
    return layers.Dense(3)(layers.Rescaling(100.0, 2731.5)(layers.Flatten()(x)))


def guarded(x):
    return layers.Dense(3)(ops.clip(layers.Dense(4)(x), -1e6, 1e6))


@pytest.mark.parametrize("function", [near, heavy, thousands, shifted, guarded])
def test_large_constants_with_others_of_their_size_pass(sequences, function):
    model = model_of(function)
    lite = convert(model, sequences, target="litert")
    (found,) = runtimes.run("litert", lite.content, [lite.quantize_input(sequences)])
    expected = model.predict(sequences, verbose=0)
    error = np.abs(lite.dequantize_output(found) - expected)
    assert error.max() < 0.06 * np.ptp(expected)


def test_a_constant_is_read_by_its_scales(qat_lite):
    first = next(iter(qat_lite.file.operators))
    weights, bias = (constants.values(tensor) for tensor in first.inputs[1:])
    assert weights.shape == first.inputs[1].shape
    assert np.abs(weights).max((1, 2, 3)) == pytest.approx(127 * first.inputs[1].scales, rel=0.01)
    assert bias.shape == (4,)
    assert constants.values(first.inputs[0]) is None


def test_a_range_is_that_of_what_the_tensor_can_hold(qat_lite):
    for details, tensor in (
        (qat_lite.inputs[0], qat_lite.file.subgraphs[0].inputs[0]),
        (qat_lite.outputs[0], qat_lite.file.subgraphs[0].outputs[0]),
    ):
        assert details.zero_point != 0
        ends = details.dequantize(np.array([-128, 127], "int8"))
        assert constants.low_high(tensor) == pytest.approx(tuple(ends))
