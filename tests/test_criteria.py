import keras
import numpy as np
import pytest

from sft_keras import criteria
from sft_keras.channels import channel_groups
from sft_keras.criteria import Filters


def filters(weights, scale=None, gamma=None, beta=None, read=None):
    weights = np.asarray(weights, "float64")
    ones = np.ones(len(weights))
    scale, read = (ones if x is None else np.asarray(x) for x in (scale, read))
    gamma, beta = (None if x is None else np.asarray(x, "float64") for x in (gamma, beta))
    return Filters(weights, gamma, beta, scale, read, np.random.default_rng(0))


def test_l1_and_l2_are_means_over_the_filter():
    given = filters([[3.0, -4.0], [0.0, 0.0]])
    assert criteria.l1(given).tolist() == [3.5, 0]
    assert criteria.l2(given) == pytest.approx([np.sqrt(12.5), 0])


def test_bn_folded_multiplies_by_the_scale_behind():
    assert criteria.bn_folded(filters([[1.0], [1.0]], [0.1, 2.0])).tolist() == [0.1, 2.0]


def test_geometric_median_finds_the_filter_amid_the_others():
    scores = criteria.geometric_median(filters([[0.0, 0.0], [5.0, 5.0], [9.0, 9.0]]))
    assert np.argmin(scores) == 1
    assert scores[0] == pytest.approx(np.sqrt(50) + np.sqrt(162))


def test_contribution_is_the_deviation_behind_a_relu_times_how_it_is_read():
    gamma, beta, read = [1.0, 0.5, 1.0], [0.3, -0.2, -9.0], [1.0, 2.0, 5.0]
    got = criteria.contribution(filters(np.ones((3, 1)), gamma=gamma, beta=beta, read=read))
    draws = np.random.default_rng(1).normal(size=(400_000, 3)) * gamma + beta
    assert got == pytest.approx(np.maximum(draws, 0).std(axis=0) * read, abs=5e-3)


def test_contribution_without_normalization_is_the_norm_times_how_it_is_read():
    got = criteria.contribution(filters([[3.0, -4.0], [1.0, 1.0]], read=[2.0, 3.0]))
    assert got == pytest.approx([2 * np.sqrt(12.5), 3.0])


def test_contribution_reads_the_next_layers_kernels(flavor):
    image = flavor.Input((4, 4, 1))
    x = flavor.layers.Conv2D(2, 1, use_bias=False, kernel_initializer="ones")(image)
    next_kernel = np.array([[3.0], [1.0]]).reshape(1, 1, 2, 1)
    x = flavor.layers.Conv2D(1, 1, use_bias=False, name="next")(x)
    model = flavor.Model(image, flavor.layers.Dense(1)(flavor.layers.Flatten()(x)))
    model.get_layer("next").set_weights([next_kernel])
    groups = channel_groups(model)
    got = criteria.scores(groups, criteria.contribution, None)[groups.groups[0].classes]
    assert got[0] / got[1] == pytest.approx(3.0)


def test_random_draws_from_the_given_generator():
    given = filters(np.ones((4, 1)))
    assert np.ptp(criteria.random(given)) > 0
    assert not np.array_equal(criteria.random(given), criteria.random(given))


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="'taylor'; take 'l1', 'l2', 'bn_folded'"):
        criteria.get("taylor")


def test_scores_of_coupled_layers_add_up(flavor):
    x = image = flavor.Input((4,))
    x = flavor.layers.Dense(2, use_bias=False, name="a")(image)
    y = flavor.layers.Dense(2, use_bias=False, name="b")(image)
    out = flavor.layers.Dense(1, name="out")(flavor.layers.Add()([x, y]))
    model = flavor.Model(image, out)
    model.get_layer("a").set_weights([np.tile([1.0, 3.0], (4, 1))])
    model.get_layer("b").set_weights([np.tile([300.0, 100.0], (4, 1))])
    groups = channel_groups(model)
    got = criteria.scores(groups, criteria.l1, np.random.default_rng(0))
    assert got[groups.groups[0].classes] == pytest.approx([0.5 + 1.5, 1.5 + 0.5])


def test_bn_folded_reads_the_normalization_behind(flavor):
    image = flavor.Input((4, 4, 1))
    x = flavor.layers.Conv2D(2, 1, use_bias=False, kernel_initializer="ones", name="c")(image)
    x = flavor.layers.BatchNormalization(epsilon=0.0, name="bn")(x)
    x = flavor.layers.GlobalAveragePooling2D()(x)
    model = flavor.Model(image, flavor.layers.Dense(1)(x))
    gamma, beta = np.array([-2.0, 1.0]), np.zeros(2)
    model.get_layer("bn").set_weights([gamma, beta, np.zeros(2), np.array([1.0, 4.0])])
    groups = channel_groups(model)
    got = criteria.scores(groups, criteria.bn_folded, np.random.default_rng(0))
    of_conv = got[groups.groups[0].classes]
    assert of_conv[0] / of_conv[1] == pytest.approx(2.0 / 0.5)


def test_a_users_function_is_a_criterion(flavor):
    model = flavor.Sequential([flavor.Input((3,)), flavor.layers.Dense(4), flavor.layers.Dense(2)])
    groups = channel_groups(model)
    got = criteria.scores(groups, lambda f: np.arange(len(f.weights)) + 1.0, None)
    assert np.all(np.diff(got[groups.groups[0].classes]) > 0)


def test_all_zero_layer_scores_zero_and_not_nan():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, kernel_initializer="zeros"),
            keras.layers.Dense(2),
        ]
    )
    groups = channel_groups(model)
    got = criteria.scores(groups, criteria.l1, None)
    assert got[groups.groups[0].classes].tolist() == [0, 0, 0, 0]
