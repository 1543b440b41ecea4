import json

import keras
import numpy as np
import pytest

from sft_keras.constraints import FilterMask


def test_masked_filters_become_zero_and_others_stay():
    weights = np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype("float32")
    masked = keras.ops.convert_to_numpy(FilterMask([1, 0, 1, 0])(weights))
    assert np.array_equal(masked[..., [0, 2]], weights[..., [0, 2]])
    assert not masked[..., [1, 3]].any()


def test_axis():
    masked = keras.ops.convert_to_numpy(FilterMask([1, 0], axis=0)(np.ones((2, 3), "float32")))
    assert masked.tolist() == [[1, 1, 1], [0, 0, 0]]


def test_a_filter_that_became_nan_is_zero_when_masked():
    masked = keras.ops.convert_to_numpy(FilterMask([0, 1])(np.array([[np.nan, 1.0]], "float32")))
    assert masked.tolist() == [[0, 1]]


def test_inner_constraint_comes_first():
    mask = FilterMask([1, 0], inner=keras.constraints.NonNeg())
    masked = keras.ops.convert_to_numpy(mask(np.array([[-1.0, 2.0]], "float32")))
    assert masked.tolist() == [[0, 0]]


@pytest.mark.parametrize("bad", [[[1, 0]], [1, 2], [0.5], 1])
def test_what_is_no_mask_is_refused(bad):
    with pytest.raises(ValueError, match="one-dimensional mask of zeros and ones"):
        FilterMask(bad)


def test_config_survives_json():
    mask = FilterMask([1, 0, 1], axis=-2, inner=keras.constraints.MaxNorm(3))
    config = json.loads(json.dumps(keras.constraints.serialize(mask)))
    again = keras.constraints.deserialize(config)
    assert again.get_config() == mask.get_config()


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "weight_decay"])
def test_masked_filters_stay_zero_with_any_optimizer(flavor, optimizer):
    made = {
        "adam": lambda: flavor.optimizers.Adam(0.1),
        "momentum": lambda: flavor.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        "weight_decay": lambda: flavor.optimizers.AdamW(0.1, weight_decay=0.1),
    }[optimizer]()
    mask = FilterMask([1, 1, 1])
    layer = flavor.layers.Dense(3, kernel_constraint=mask)
    model = flavor.Sequential([flavor.Input((4,)), layer])
    model.compile(made, "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 4)).astype("float32"), rng.normal(size=(64, 3)).astype("float32")
    model.fit(x, y, epochs=2, verbose=0)
    mask.set_mask([1, 0, 1])
    model.fit(x, y, epochs=2, verbose=0)
    kernel = np.asarray(layer.get_weights()[0])
    assert not kernel[:, 1].any()
    assert kernel[:, [0, 2]].all()
