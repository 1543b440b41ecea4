"""`shrink`: what it keeps, what it refuses, and what its result can do."""

import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import sft_keras
from sft_keras import flavors
from sft_keras.channels.mask import apply_mask, read_mask
from sft_keras.cloning import compiled_copy
from sft_keras.errors import ShrinkError, UnsupportedError
from sft_keras.shrinking.proof import outputs, random_inputs, relative_difference


def _net(k, dtype=None, activation="softplus"):
    layers = k.layers
    return k.Sequential(
        [
            k.Input((8, 8, 3)),
            layers.Conv2D(8, 3, dtype=dtype, activation=activation, name="first"),
            layers.Conv2D(6, 1, dtype=dtype, use_bias=False, name="second"),
            layers.BatchNormalization(dtype=dtype, name="norm"),
            layers.ReLU(dtype=dtype),
            layers.Flatten(),
            layers.Dense(2, dtype="float32", name="logits"),
        ],
        name="net",
    )


def _classification(k):
    return _net(k, activation="relu"), np.random.default_rng(0).normal(size=(16, 8, 8, 3))


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float64"])
def test_dtype_policy_stays_and_folding_is_exact_in_it(flavor, dtype, masked):
    model = _net(flavor, dtype)
    mask = masked(model)
    small = sft_keras.shrink(model)
    policies = [[x.dtype_policy.name for x in m.layers if x.weights] for m in (model, small)]
    assert policies[0] == policies[1]
    assert dtype in policies[1]
    assert mask.any()
    inputs = random_inputs(model, seed=3)
    tolerance = 1e-6 if dtype == "float64" else 0.05
    assert relative_difference(outputs(model, inputs), outputs(small, inputs)) < tolerance


def test_shrinking_again_changes_nothing(flavor, masked):
    model = _net(flavor)
    masked(model)
    once = sft_keras.shrink(model)
    again = sft_keras.shrink(once)
    assert all(map(np.array_equal, once.get_weights(), again.get_weights()))


def test_order_of_filters_does_not_matter(flavor, masked):
    model = _net(flavor)
    masked(model)
    inputs = random_inputs(model, seed=5)
    before = outputs(sft_keras.shrink(model), inputs)
    first, second = model.get_layer("first"), model.get_layer("second")
    order = np.random.default_rng(1).permutation(8)
    kernel, bias = first.get_weights()
    first.set_weights([kernel[..., order], bias[order]])
    second.set_weights([second.get_weights()[0][:, :, order, :]])
    assert relative_difference(before, outputs(sft_keras.shrink(model), inputs)) < 1e-5


def test_nothing_masked_gives_an_equal_copy(flavor, randomize):
    model = randomize(_net(flavor))
    small = sft_keras.shrink(model)
    assert small is not model
    assert all(map(np.array_equal, model.get_weights(), small.get_weights()))
    assert not {id(w) for w in small.weights} & {id(w) for w in model.weights}


def test_frozen_layers_stay_frozen(flavor, masked):
    model = _net(flavor)
    model.get_layer("norm").trainable = False
    masked(model)
    small = sft_keras.shrink(model)
    assert [x.trainable for x in small.layers] == [x.trainable for x in model.layers]


def test_partly_zero_filter_stays(flavor, randomize):
    model = randomize(_net(flavor, activation="relu"))
    first, norm = model.get_layer("first"), model.get_layer("norm")
    kernel, bias = first.get_weights()
    kernel[..., 2] = 0  # but not its bias
    first.set_weights([kernel, bias])
    norm.gamma.assign(np.zeros(6))  # but not β, nor the kernel
    assert not read_mask(sft_keras.channel_groups(model)).any()


@pytest.mark.parametrize("built", ["input", "call", "build"])
def test_sequential_model_however_it_was_built(flavor, built, shrink_and_compare):
    layers = [flavor.layers.Dense(6, activation="relu"), flavor.layers.Dense(3)]
    model = flavor.Sequential([flavor.Input((4,)), *layers] if built == "input" else layers)
    if built == "call":
        model(np.zeros((2, 4), "float32"))
    if built == "build":
        model.build((None, 4))
    small = shrink_and_compare(model)
    assert small.layers[0].units < model.layers[0].units


def test_penalties_and_masks_of_the_package_are_left_behind(flavor, masked):
    model = flavor.Sequential(
        [
            flavor.Input((4,)),
            flavor.layers.Dense(
                6,
                kernel_regularizer=sft_keras.regularizers.FilterL1(1e-3),
                kernel_constraint=sft_keras.constraints.FilterMask(np.ones(6)),
                bias_regularizer="l2",
            ),
            flavor.layers.Dense(3),
        ]
    )
    model.compile("sgd", "mse")
    masked(model)
    small = sft_keras.shrink(model)
    small.fit(np.zeros((4, 4)), np.zeros((4, 3)), verbose=0)
    config = str(small.get_config())
    assert "Filter" not in config
    assert "L2" in config


def test_saved_model_loads_and_trains_without_the_package(flavor, masked, tmp_path):
    model, x = _classification(flavor)
    model.compile("adam", "mse")
    model.fit(x, np.zeros((16, 2)), verbose=0)
    masked(model)
    small = sft_keras.shrink(model)
    small.save(tmp_path / "small.keras")
    np.savez(tmp_path / "expected.npz", x=x, y=outputs(small, x.astype("float32"))[0])
    program = f"""
import sys, numpy as np, {flavor.__name__} as k
model = k.models.load_model({str(tmp_path / "small.keras")!r})
data = np.load({str(tmp_path / "expected.npz")!r})
np.testing.assert_allclose(model.predict(data["x"], verbose=0), data["y"], rtol=1e-4, atol=1e-5)
model.fit(data["x"], data["y"], verbose=0)
assert "sft_keras" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_empty_model(flavor):
    model = flavor.Sequential([flavor.Input((4,)), flavor.layers.ReLU()])
    assert len(sft_keras.channel_groups(model)) == 0
    assert sft_keras.shrink(model).layers[-1].name == model.layers[-1].name


def test_model_without_any_filter(flavor, randomize):
    layers = [flavor.layers.BatchNormalization(), flavor.layers.DepthwiseConv2D(3)]
    model = randomize(flavor.Sequential([flavor.Input((8, 8, 3)), *layers]))
    assert sft_keras.channel_groups(model).count == 0
    small = sft_keras.shrink(model)
    assert all(map(np.array_equal, model.get_weights(), small.get_weights()))


def test_layer_without_any_filter_left_is_refused(flavor, randomize):
    model = randomize(_net(flavor))
    apply_mask(groups := sft_keras.channel_groups(model), groups.prunable)
    with pytest.raises(ShrinkError, match=r"Every filter of layer '(first|second)' is pruned"):
        sft_keras.shrink(model)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_that_are_not_finite_are_refused(flavor, value, dtype):
    model = _net(flavor, dtype)
    dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    model.get_layer("first").bias.assign(np.full(8, value, dtype))
    with pytest.raises(UnsupportedError, match="'first' has NaN or infinite weights"):
        sft_keras.shrink(model)


def test_what_has_no_graph_is_refused(flavor):
    class Subclassed(flavor.Model):
        def call(self, x):
            return x

    with pytest.raises(UnsupportedError, match=r"'mine' is a subclass .* never built"):
        sft_keras.shrink(Subclassed(name="mine"))
    with pytest.raises(UnsupportedError, match="'never' was never built"):
        sft_keras.shrink(flavor.Sequential([flavor.layers.Dense(3)], name="never"))
    with pytest.raises(UnsupportedError, match=r"Expected a keras\.Model .* got str"):
        sft_keras.shrink("model.keras")


def test_adapted_normalization_keeps_its_statistics(flavor, masked):
    normalization = flavor.layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(5, 3, (50, 4)))
    model = flavor.Sequential(
        [flavor.Input((4,)), normalization, flavor.layers.Dense(6), flavor.layers.Dense(2)]
    )
    masked(model)
    normalization.finalize_state()
    small = sft_keras.shrink(model)
    inputs = random_inputs(model, seed=2)
    assert relative_difference(outputs(model, inputs), outputs(small, inputs)) < 1e-5


def test_lora_layer_is_not_touched(shrink_and_compare):
    import keras as k

    layers = [k.layers.Dense(n, name=f"dense{n}") for n in (6, 5, 2)]
    model = k.Sequential([k.Input((8,)), *layers])
    layers[1].enable_lora(2)
    groups = sft_keras.channel_groups(model)
    assert "'dense5' (Dense), whose weights are quantized or have LoRA" in str(groups)
    shrink_and_compare(model)


def test_weights_are_equal_where_nothing_was_cut(flavor, masked):
    model = _net(flavor)
    masked(model)
    small = sft_keras.shrink(model)
    pairs = zip(flavors.weights(model), flavors.weights(small), strict=True)
    kept = [(a, b) for a, b in pairs if a.shape == b.shape]
    assert kept
    assert all(np.array_equal(flavors.to_numpy(a), flavors.to_numpy(b)) for a, b in kept)


def _with_block(k):
    """A model with a layer of two Dense, of which the first is frozen."""

    class Block(k.layers.Layer):
        def build(self, shape):
            self.first, self.second = k.layers.Dense(4), k.layers.Dense(4)
            self.first.build(shape)
            self.second.build((None, 4))
            self.built = True

        def call(self, x):
            return self.second(self.first(x))

        def compute_output_shape(self, shape):
            return shape

    block = Block(name="block")
    head = [k.layers.Dense(6, activation="relu"), k.layers.Dense(2)]
    model = k.Sequential([k.Input((4,)), block, *head])
    block.first.trainable = False
    return model


def _reopened(k):
    """A model with a frozen model inside, whose last layer is not."""
    inner = k.Sequential([k.Input((4,)), k.layers.Dense(6, activation="relu"), k.layers.Dense(4)])
    inner.trainable = False
    inner.layers[-1].trainable = True
    x = k.Input((4,))
    return k.Model(x, k.layers.Dense(2)(inner(x)))


@pytest.mark.parametrize("make", [_with_block, _reopened])
def test_layers_inside_of_others_stay_frozen(flavor, make, randomize):
    model = randomize(make(flavor))
    model.compile("sgd", "mse")
    small = sft_keras.shrink(model, sft_keras.plan(model))
    assert small.count_params() < model.count_params()
    for copy in (small, compiled_copy(model)):
        flags = [[x.trainable for x in flavors.with_all_inside(m)] for m in (model, copy)]
        assert flags[0] == flags[1]
        assert len(copy.trainable_weights) == len(model.trainable_weights)
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    assert np.array_equal(compiled_copy(model).predict(x), model.predict(x))


def test_a_loss_of_the_model_itself_is_refused():
    for add in (
        lambda model: model.add_loss(lambda: tf.reduce_sum(model.layers[-1].kernel)),
        lambda model: model.add_loss(tf.reduce_sum(model.output)),
        lambda model: model.add_metric(tf.reduce_sum(model.output), name="sum"),
    ):
        model = _net(tf_keras)
        add(model)
        with pytest.raises(UnsupportedError, match=r"add_loss\(\).*Model\(model.inputs"):
            sft_keras.shrink(model, sft_keras.plan(model))
        found = [str(x) for x in sft_keras.quantization.problems(model)]
        assert any("add_loss()" in x for x in found)
        without = tf_keras.Model(model.inputs, model.outputs)
        assert sft_keras.shrink(without, sft_keras.plan(without)).count_params()
