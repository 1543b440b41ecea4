import json

import keras
import numpy as np
import pytest

from sft_keras.regularizers import FilterGroupLasso, FilterL1

KERNEL = np.random.default_rng(0).normal(size=(3, 3, 4, 6)).astype("float32")


def value(penalty, weights):
    return float(keras.ops.convert_to_numpy(penalty(keras.ops.convert_to_tensor(weights))))


def test_plain_l1_is_the_sum_of_the_formula():
    expected = 0.01 * np.abs(KERNEL).sum()
    assert value(FilterL1(0.01, normalize=False), KERNEL) == pytest.approx(expected, rel=1e-5)


def test_normalized_l1_divides_by_the_root_of_the_number_of_weights():
    expected = 0.01 * np.abs(KERNEL).sum() / np.sqrt(KERNEL.size)
    assert value(FilterL1(0.01), KERNEL) == pytest.approx(expected, rel=1e-5)


def test_normalized_l1_of_a_filter_is_alike_for_any_filter_size():
    small, large = (
        np.asarray(keras.initializers.HeNormal(seed=1)((3, 3, width, 64))) for width in (4, 512)
    )
    assert value(FilterL1(1.0), small) == pytest.approx(value(FilterL1(1.0), large), rel=0.05)


def test_group_lasso_is_the_sum_of_filter_norms_over_the_root_of_their_number():
    expected = 0.01 * np.sqrt(np.square(KERNEL).sum(axis=(0, 1, 2))).sum() / np.sqrt(6)
    assert value(FilterGroupLasso(0.01), KERNEL) == pytest.approx(expected, rel=1e-5)


def test_axis_of_a_transposed_kernel():
    swapped = np.swapaxes(KERNEL, 2, 3)
    assert value(FilterGroupLasso(1.0, axis=-2), swapped) == pytest.approx(
        value(FilterGroupLasso(1.0), KERNEL), rel=1e-5
    )


@pytest.mark.parametrize("penalty", [FilterL1(1.0), FilterGroupLasso(1.0)])
@pytest.mark.parametrize("shape", [(1,), (5,), (7, 1), (3, 3, 2, 1)])
def test_any_rank_and_a_single_filter(penalty, shape):
    assert value(penalty, np.ones(shape, "float32")) > 0


def test_gradient_of_a_zero_filter_is_zero_and_not_nan():
    import tensorflow as tf

    weights = tf.Variable(np.zeros((3, 2), "float32"))
    with tf.GradientTape() as tape:
        penalty = FilterGroupLasso(1.0)(weights)
    assert np.array_equal(tape.gradient(penalty, weights).numpy(), np.zeros((3, 2)))


@pytest.mark.parametrize("strength", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("cls", [FilterL1, FilterGroupLasso])
def test_bad_strength_is_refused(cls, strength):
    with pytest.raises(ValueError, match="finite strength of 0 or more"):
        cls(strength)
    penalty = cls(0.1)
    with pytest.raises(ValueError, match="finite strength of 0 or more"):
        setattr(penalty, "l1" if cls is FilterL1 else "l2", strength)


def test_config_holds_the_strength_of_a_penalty_that_is_switched_off():
    penalty = FilterL1(0.5)
    penalty.switch(on=False)
    assert penalty.l1 == 0
    assert FilterL1.from_config(penalty.get_config()).l1 == 0.5
    penalty.l1 = 0.25
    penalty.switch(on=True)
    assert penalty.l1 == penalty.get_config()["l1"] == 0.25


def test_float16_weights_do_not_change_dtype():
    assert FilterL1(0.1)(keras.ops.ones((4, 4), "float16")).dtype.name == "float16"


@pytest.mark.parametrize(
    "penalty", [FilterL1(0.25, axis=-2, normalize=False), FilterGroupLasso(0.5, axis=0)]
)
def test_config_survives_json(penalty):
    config = json.loads(json.dumps(keras.regularizers.serialize(penalty)))
    again = keras.regularizers.deserialize(config)
    assert type(again) is type(penalty)
    assert again.get_config() == penalty.get_config()


def test_model_with_penalties_saves_and_loads(tmp_path):
    model = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, kernel_regularizer=FilterL1(0.5))]
    )
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert again.layers[0].kernel_regularizer.l1 == 0.5
    assert float(again.losses[0]) == pytest.approx(float(model.losses[0]))


def test_lambda_changes_without_a_new_trace(flavor):
    penalty = FilterL1(1.0, normalize=False)
    model = flavor.Sequential(
        [
            flavor.Input((2,)),
            flavor.layers.Dense(2, kernel_initializer="ones", kernel_regularizer=penalty),
        ]
    )
    model.compile(flavor.optimizers.SGD(0.0), "mse")
    x, y = np.zeros((4, 2), "float32"), np.zeros((4, 2), "float32")
    before = model.train_on_batch(x, y)
    traced = model.train_function
    penalty.l1 = 0.0
    after = model.train_on_batch(x, y)
    assert np.ravel(before)[0] == pytest.approx(4.0)
    assert np.ravel(after)[0] == pytest.approx(0.0)
    assert model.train_function is traced
