import keras
import numpy as np
import pytest

from sft_keras.channels import channel_groups
from sft_keras.errors import ArgumentError, UnsupportedError
from sft_keras.pruning.ratios import (
    check_ratio,
    check_width_multiple,
    group_ratios,
    kept_filters,
    select,
)


def net():
    image = keras.Input((8,))
    a = keras.layers.Dense(8, name="block1_a")(image)
    b = keras.layers.Dense(8, name="block1_b")(image)
    x = keras.layers.Dense(6, name="block2_a")(keras.layers.Add()([a, b]))
    return keras.Model(image, keras.layers.Dense(3, name="logits")(x), name="net")


@pytest.fixture(scope="module")
def groups():
    return channel_groups(net())


def test_one_ratio_for_all_prunable_groups(groups):
    assert group_ratios(groups, 0.5) == [0.5, 0.5, 0.0]


def test_ratios_by_name_and_pattern_and_the_smallest_of_a_group(groups):
    asked = {"block1_a": 0.25, "block1_*": 0.75, "*": 0.5}
    assert group_ratios(groups, asked) == [0.25, 0.5, 0.0]


def test_layers_that_a_mapping_does_not_name_keep_their_filters(groups):
    assert group_ratios(groups, {"block2_a": 0.5}) == [0.0, 0.5, 0.0]


def test_a_layer_that_others_hold_is_refused_with_their_names(groups):
    with pytest.raises(ArgumentError, match=r"'block1_a' .* together with block1_b;"):
        group_ratios(groups, {"block1_a": 0.5, "block2_*": 0.5})
    assert group_ratios(groups, {"block1_a": 0.5}, exclude=["block1_b"]) == [0.0, 0.0, 0.0]
    assert group_ratios(groups, {"block1_a": 0.5, "block1_b": 0}) == [0.0, 0.0, 0.0]


def test_excluded_layers_keep_their_whole_group(groups):
    assert group_ratios(groups, 0.5, ["block1_b"]) == [0.0, 0.5, 0.0]


def test_a_string_excludes_one_layer(groups):
    assert group_ratios(groups, 0.5, "block1_b") == [0.0, 0.5, 0.0]
    with pytest.raises(ArgumentError, match="called 'block9';"):
        group_ratios(groups, 0.5, "block9")


@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_ratios_may_be_numbers_of_numpy(groups, number):
    ratios = group_ratios(groups, number(0.5))
    assert ratios == group_ratios(groups, {"*": number(0.5)}) == [0.5, 0.5, 0.0]


def test_width_multiple_may_be_a_number_of_numpy():
    check_width_multiple(np.int64(8))
    for multiple in (np.int64(0), np.float32(8), 8.0, "8"):
        with pytest.raises(ArgumentError, match="width_multiple is"):
            check_width_multiple(multiple)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, float("nan"), "half", None])
def test_ratio_out_of_range_is_refused(ratio):
    with pytest.raises(ValueError, match="pruning_ratio"):
        check_ratio(ratio)


def test_layer_of_a_bad_ratio_is_named():
    with pytest.raises(ValueError, match="for layer 'fc' is 2"):
        check_ratio({"fc": 2})


def test_unknown_layer_is_refused_with_the_names_there_are(groups):
    with pytest.raises(ValueError, match=r"'convx'; there are: block1_a, block1_b"):
        group_ratios(groups, {"convx": 0.5})
    with pytest.raises(ValueError, match="'convx'"):
        group_ratios(groups, 0.5, exclude=["convx"])


def test_a_frozen_layer_asked_for_by_name_is_refused_with_the_reason(groups):
    with pytest.raises(ValueError, match="'logits' cannot be pruned: it is a model output"):
        group_ratios(groups, {"logits": 0.5})


def test_a_model_without_a_prunable_filter_is_refused():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="only")], name="tiny")
    with pytest.raises(UnsupportedError, match=r"'tiny' has no filter .*only is a model output"):
        group_ratios(channel_groups(model), 0.5)
    empty = keras.Sequential([keras.Input((3,)), keras.layers.ReLU()], name="bare")
    with pytest.raises(UnsupportedError, match="it has no filters"):
        group_ratios(channel_groups(empty), 0.5)


@pytest.mark.parametrize(
    ("filters", "ratio", "multiple", "kept"),
    [
        (10, 0.7, 1, 3),
        (10, 0.0, 1, 10),
        (1, 0.99, 1, 1),
        (4, 0.99, 1, 1),
        (32, 0.6, 8, 16),
        (10, 0.9, 8, 8),
        (6, 0.5, 8, 6),
        (1000, 0.999, 4, 4),
    ],
)
def test_kept_filters_round_up_and_never_to_zero(filters, ratio, multiple, kept):
    assert kept_filters(filters, ratio, multiple) == kept


def test_select_masks_the_weakest_of_each_group(groups):
    scores = np.arange(groups.count, dtype=float)
    mask = select(groups, scores, [0.5, 0.5, 0.0])
    first, second, frozen = (group.classes for group in groups)
    assert mask[first].sum() == 4
    assert mask[second].sum() == 3
    assert not mask[frozen].any()
    assert scores[first][mask[first]].max() < scores[first][~mask[first]].min()


def test_select_leaves_every_layer_a_filter():
    image = keras.Input((4,))
    narrow = keras.layers.Dense(2, name="narrow")(image)
    wide = keras.layers.Dense(6, name="wide")(image)
    both = keras.layers.Concatenate()([narrow, wide])
    other = keras.layers.Dense(8, name="other")(image)
    out = keras.layers.Dense(1)(keras.layers.Add()([both, other]))
    groups = channel_groups(keras.Model(image, out))
    scores = np.zeros(groups.count)
    _, narrow_classes = groups.producers[0]
    scores[:] = 5.0
    scores[narrow_classes] = [1.0, 2.0]
    mask = select(groups, scores, group_ratios(groups, 0.75))
    assert mask[narrow_classes].tolist() == [True, False]


def test_nan_scores_are_refused(groups):
    with pytest.raises(UnsupportedError, match="a score is NaN"):
        select(groups, np.full(groups.count, np.nan), [0.5, 0.5, 0.0])
