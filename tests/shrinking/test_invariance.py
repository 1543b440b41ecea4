"""What must not matter to shrinking: the order of filters, doing it twice, which Keras it is."""

import keras
import numpy as np
import pytest
import tf_keras

import sft_keras
from sft_keras import flavors
from sft_keras.channels.mask import apply_mask, read_mask
from sft_keras.channels.tensor import FIXED
from sft_keras.shrinking.cut import Cuts
from sft_keras.shrinking.proof import outputs, random_inputs, relative_difference

SHAPE = (6, 6, 3)


def residual(k):
    layers = k.layers
    x = k.Input(SHAPE)
    stem = layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(x)
    y = layers.Conv2D(6, 3, padding="same", use_bias=False, name="narrow")(stem)
    y = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(y))
    y = layers.Conv2D(8, 3, padding="same", name="wide")(y)
    y = layers.Add(name="add")([stem, y])
    return k.Model(x, layers.Dense(2, name="out")(layers.Flatten(name="flat")(y)))


def branches(k):
    layers = k.layers
    x = k.Input(SHAPE)
    a = layers.Conv2D(6, 3, activation="sigmoid", name="a")(x)
    b = layers.SeparableConv2D(5, 3, activation="relu", name="b")(x)
    y = layers.BatchNormalization(name="norm")(layers.Concatenate(name="join")([a, b]))
    y = layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise")(y)
    return k.Model(x, layers.Conv2D(2, 1, name="out")(y))


def gated(k):
    layers = k.layers
    x = k.Input(SHAPE)
    y = layers.Conv2D(8, 3, activation="relu", name="stem")(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="pool")(y)
    gate = layers.Conv2D(4, 1, activation="relu", name="squeeze")(gate)
    gate = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(gate)
    y = layers.Multiply(name="gate")([y, gate])
    return k.Model(x, layers.Conv2DTranspose(2, 3, name="out")(y))


def nested(k):
    layers = k.layers
    inner = [layers.Dense(5, activation="relu", name="first"), layers.Dense(6, name="second")]
    inner = k.Sequential([k.Input((6,)), *inner], name="inner")
    x = k.Input((4,))
    y = layers.Dense(6, activation="tanh", name="stem")(x)
    y = layers.Add(name="add")([y, inner(y)])
    return k.Model(x, layers.Dense(2, name="out")(y))


def sequence(k):
    layers = k.layers
    x = k.Input((8, 3))
    y = layers.Conv1D(6, 3, padding="causal", activation="relu", name="causal")(x)
    y = layers.Permute((2, 1), name="swap")(layers.MaxPooling1D(2, name="pool")(y))
    y = layers.Flatten(name="flat")(y)
    return k.Model(x, layers.Dense(2, name="out")(layers.Dense(5, name="dense")(y)))


NETWORKS = [residual, branches, gated, nested, sequence]


def _permute(groups, order):
    """Puts class `order[c]` in the place of class `c`, in all that it owns and is read by."""
    for part in groups.trace.slices:
        classes = groups.classes_of(part.ids)
        places = {c: np.flatnonzero(classes == c) for c in np.unique(classes) if c != FIXED}
        source = np.arange(len(classes))
        for number, at in places.items():
            source[at] = places[order[number]]
        part.variable.assign(np.take(flavors.to_numpy(part.variable), source, part.axis))


def _orders(groups, seed):
    """A random order of the classes within each group."""
    rng = np.random.default_rng(seed)
    order = np.arange(groups.count)
    for group in groups:
        if group.prunable:
            order[group.classes] = rng.permutation(group.classes)
    return order


@pytest.mark.parametrize("make", NETWORKS)
def test_order_of_filters_changes_neither_survivors_nor_outputs(flavor, make, randomize):
    model = randomize(make(flavor))
    groups = sft_keras.channel_groups(model)
    inputs = random_inputs(model, seed=5)
    whole = outputs(model, inputs)
    first = sft_keras.plan(model, 0.5, "l1")
    small = outputs(sft_keras.shrink(model, first), inputs)
    order = _orders(groups, seed=1)
    assert (order != np.arange(groups.count)).any()
    _permute(groups, order)
    assert relative_difference(whole, outputs(model, inputs)) < 1e-5, "the same function"
    second = sft_keras.plan(model, 0.5, "l1")
    masks = [sft_keras.plans.mask_of_plan(groups, plan) for plan in (first, second)]
    assert masks[0].any()
    assert np.array_equal(masks[0][order], masks[1]), "the same filters, where they are now"
    assert relative_difference(small, outputs(sft_keras.shrink(model, second), inputs)) < 1e-5


@pytest.mark.parametrize("make", NETWORKS)
def test_shrinking_twice_is_shrinking_once(flavor, make, randomize):
    model = randomize(make(flavor))
    once = sft_keras.shrink(model, sft_keras.plan(model))
    twice = sft_keras.shrink(once)
    assert [x.get_config() for x in once.layers] == [x.get_config() for x in twice.layers]
    assert all(map(np.array_equal, once.get_weights(), twice.get_weights()))


@pytest.mark.parametrize("make", NETWORKS)
def test_shrinking_in_two_steps_is_shrinking_in_one(flavor, make, randomize, random_mask):
    model = randomize(make(flavor))
    groups = sft_keras.channel_groups(model)
    both = random_mask(groups, ratio=0.6)
    first = both & (np.arange(groups.count) % 2 == 0)
    plans = [sft_keras.plans.plan_of_mask(groups, mask) for mask in (both, first)]
    at_once, half = (sft_keras.shrink(model, plan) for plan in plans)
    left = sft_keras.channel_groups(half)
    rest = np.concatenate([both[c][~first[c]] for _, c in groups.producers])
    numbers = np.concatenate([classes for _, classes in left.producers])
    mask = np.zeros(left.count, bool)
    mask[numbers[rest]] = True
    in_two = sft_keras.shrink(half, sft_keras.plans.plan_of_mask(left, mask))
    pairs = list(zip(at_once.get_weights(), in_two.get_weights(), strict=True))
    assert all(np.allclose(a, b, rtol=1e-5, atol=1e-6) for a, b in pairs)


@pytest.mark.parametrize("make", NETWORKS)
def test_both_kerases_give_the_same_groups_and_plans(make, randomize):
    models = [randomize(make(k)) for k in (keras, tf_keras)]
    models[1].set_weights(models[0].get_weights())
    tables = [sft_keras.channel_groups(model).to_dict() for model in models]
    assert tables[0] == tables[1]
    plans = [sft_keras.plan(model) for model in models]
    assert plans[0] == plans[1]
    assert plans[0].layers
    small = [sft_keras.shrink(model, plans[0]) for model in models]
    assert all(map(np.array_equal, small[0].get_weights(), small[1].get_weights()))


OPTIMIZERS = {
    "sgd": lambda k: k.optimizers.SGD(1e-3, momentum=0.9),
    "adam": lambda k: k.optimizers.Adam(1e-3),
    "adamw": lambda k: k.optimizers.AdamW(1e-3, weight_decay=0.1),
}


@pytest.mark.parametrize("make", [residual, branches, nested])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_more_step_gives_equal_weights(flavor, name, make, randomize):
    model = randomize(make(flavor))
    groups = sft_keras.channel_groups(model)
    model.compile(OPTIMIZERS[name](flavor), "mse")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, *model.input_shape[1:])).astype("float32")
    y = rng.standard_normal((8, *model.output_shape[1:])).astype("float32")
    model.fit(x, y, epochs=3, verbose=0)
    # Constants that go into a bias would not train alike.
    folded = {int(c) for f in groups.trace.folds for c in groups.classes_of(f.ids[f.dead != 0])}
    mask = groups.prunable & (np.arange(groups.count) % 2 == 0)
    mask[[c for c in folded if c != FIXED]] = False
    apply_mask(groups, mask)
    assert read_mask(groups).sum() == mask.sum() > 0
    small = sft_keras.shrink(model)
    for each in (model, small):
        each.train_on_batch(x, y)
    cuts = Cuts(groups, mask)
    for old, new in zip(flavors.weights(model), flavors.weights(small), strict=True):
        expected = cuts.part(old, flavors.to_numpy(old))
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(expected, flavors.to_numpy(new), rtol=1e-4, atol=1e-5)
