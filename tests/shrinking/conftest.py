"""What the tests of shrinking share."""

import numpy as np
import pytest

import sft_keras
from sft_keras import flavors
from sft_keras.channels.mask import apply_mask, read_mask
from sft_keras.shrinking.proof import outputs, random_inputs, relative_difference


@pytest.fixture(scope="session")
def masked(randomize, random_mask):
    """A function that randomizes a model and masks a random part of it; returns the mask."""

    def apply(model, seed=0, ratio=0.5):
        randomize(model, seed)
        groups = sft_keras.channel_groups(model)
        mask = random_mask(groups, seed, ratio)
        apply_mask(groups, mask)
        return mask

    return apply


@pytest.fixture(scope="session")
def shrink_and_compare(masked):
    """A function that masks, shrinks and checks a model, not relying on the built-in proof."""

    def check(model, seed=0, tolerance=2e-5):
        mask = masked(model, seed)
        before = model.get_weights()
        small = sft_keras.shrink(model)
        assert np.array_equal(read_mask(sft_keras.channel_groups(model)), mask)
        assert all(map(np.array_equal, before, model.get_weights())), "shrink changed its input"
        assert [x.name for x in small.layers] == [x.name for x in model.layers]
        for seed_of_inputs in (1, 2):
            inputs = random_inputs(model, batch=3, seed=seed_of_inputs)
            pair = outputs(model, inputs), outputs(small, inputs)
            assert relative_difference(*pair) < tolerance
            assert all(np.ptp(x) > 0 for x in pair[0]), "constant outputs prove nothing"
        _check_widths(model, small, mask)
        return small

    return check


def _check_widths(model, small, mask):
    groups = sft_keras.channel_groups(model)
    widths = {name: len(classes) - mask[classes].sum() for name, classes in groups.producers}
    left = {name: len(c) for name, c in sft_keras.channel_groups(small).producers}
    # A grouped convolution left with one group, or with one channel a group, gains or loses filters
    # of its own: those of a depthwise convolution are its input's.
    for name in left.keys() - widths.keys():
        assert model.get_layer(name).groups > small.get_layer(name).groups == 1
        del left[name]
    for name in widths.keys() - left.keys():
        conv = small.get_layer(name)
        assert conv.kernel.shape[-2] == 1 < model.get_layer(name).kernel.shape[-2]
        assert conv.groups > 1
        assert conv.filters == widths.pop(name)
    assert left == widths
    sizes = [sum(w.size for w in x.get_weights()) for x in (model, small)]
    assert sizes[1] < sizes[0] if mask.any() else sizes[1] == sizes[0]
    assert flavors.library(small) is flavors.library(model)
