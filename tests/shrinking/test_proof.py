"""The proof fires, and names the layer, when a rule is wrong."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import sft_keras
from sft_keras import flavors
from sft_keras.channels import mask as mask_module
from sft_keras.channels.rules import activation
from sft_keras.channels.trace import Trace
from sft_keras.cloning import assign, clone
from sft_keras.errors import ShrinkError, UnsupportedError
from sft_keras.flavors import sampling
from sft_keras.shrinking import proof
from sft_keras.shrinking.cut import Cuts

LOG = {"keras": keras.ops.log, "tf_keras": tf.math.log}


@pytest.fixture
def model(flavor, masked):
    """A masked network whose pruned filters emit 0.5 into a Dense layer."""
    layers = flavor.layers
    model = flavor.Sequential(
        [
            flavor.Input((8, 8, 3)),
            layers.Conv2D(6, 3, activation="sigmoid", name="conv"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(5, activation="tanh", name="hidden"),
            layers.Dense(2, name="logits"),
        ]
    )
    masked(model)
    return model


def test_a_forgotten_constant_is_found(model, monkeypatch):
    monkeypatch.setattr(activation, "mapped", lambda layer, x, *args, **kwargs: x)
    with pytest.raises(ShrinkError, match="at layer 'hidden'"):
        sft_keras.shrink(model)


def test_a_constant_folded_wrongly_is_found(model, monkeypatch):
    def wrong(walk, layer, kernel, axis, output_axis, ids, dead, exact):
        fold(walk, layer, kernel, axis, output_axis, ids, dead * 1.01, exact)

    fold = Trace.fold
    monkeypatch.setattr(Trace, "fold", wrong)
    with pytest.raises(ShrinkError, match="at layer 'hidden'"):
        sft_keras.shrink(model)


def test_cutting_the_wrong_rows_is_found(model, monkeypatch):
    part = Cuts.part

    def reversed_rows(self, variable, value):
        rows_cut = value.ndim == 2 and part(self, variable, value).shape[0] < value.shape[0]
        return part(self, variable, value[::-1] if rows_cut else value)

    monkeypatch.setattr(Cuts, "part", reversed_rows)
    with pytest.raises(ShrinkError, match="at layer 'hidden'"):
        sft_keras.shrink(model)


def test_removing_filters_that_are_not_zero_is_found(model):
    groups = sft_keras.channel_groups(model)
    mask = mask_module.read_mask(groups)
    mask[np.flatnonzero(groups.prunable & ~mask)[0]] = True
    cuts = Cuts(groups, mask)
    small = flavors.rebuild(model, lambda layer: clone(layer, cuts.config))
    assign(small, map(cuts.value, flavors.weights(model)), model)
    with pytest.raises(ShrinkError, match="at layer 'hidden'"):
        proof.prove_equal(groups, small, mask, cuts)


def test_a_layer_that_computes_differently_is_found_where_float64_agrees(model, monkeypatch):
    # As if a layer kept a stale copy of its weights: both float64 copies are wrong alike.
    groups = sft_keras.channel_groups(model)
    mask = mask_module.read_mask(groups)
    stale, fresh = sft_keras.shrink(model), sft_keras.shrink(model)
    stale.get_layer("logits").kernel.assign(-stale.get_layer("logits").kernel)
    in_precision = proof.in_precision
    changed = lambda dtype, x, *w: in_precision(dtype, fresh if w else x, *w)  # noqa: E731
    monkeypatch.setattr(proof, "in_precision", changed)
    with pytest.raises(ShrinkError, match="at layer 'logits'"):
        proof.prove_equal(groups, stale, mask, Cuts(groups, mask))


def test_a_layer_whose_config_leaves_something_out_is_named(flavor, forgetful_layer):
    hidden = [flavor.layers.Dense(6, activation="relu") for _ in range(2)]
    stack = [hidden[0], forgetful_layer(flavor, 1.001), hidden[1], flavor.layers.Dense(3)]
    model = flavor.Sequential([flavor.Input((4,)), *stack])
    with pytest.raises(UnsupportedError, match=r"'scaled' \(Scaled\).*get_config\(\) leaves"):
        sft_keras.shrink(model, sft_keras.plan(model))
    with pytest.raises(UnsupportedError, match="'scaled'"):
        proof.require_faithful_copy(model)


def test_statistics_that_are_not_yet_those_of_the_weights_are_named(flavor):
    layers = flavor.layers
    norm = layers.Normalization(name="norm")
    hidden = layers.Dense(6, activation="relu")
    model = flavor.Sequential([flavor.Input((4,)), norm, hidden, layers.Dense(3)])
    for variable, value in zip(norm.weights, norm.get_weights(), strict=True):
        variable.assign(np.full(value.shape, 2, value.dtype))
    with pytest.raises(UnsupportedError, match=r"'norm' \(Normalization\).*finalize_state\(\)"):
        sft_keras.shrink(model, sft_keras.plan(model))
    norm.finalize_state()
    sft_keras.shrink(model, sft_keras.plan(model))


def test_differences_that_the_output_hides_are_found(flavor, masked, monkeypatch):
    model = flavor.Sequential(
        [
            flavor.Input((4,)),
            flavor.layers.Dense(6, activation="sigmoid"),
            flavor.layers.Dense(4, name="hidden"),
            flavor.layers.ReLU(max_value=0.0),
        ]
    )
    masked(model)
    monkeypatch.setattr(activation, "mapped", lambda layer, x, *args, **kwargs: x)
    with pytest.raises(ShrinkError, match="at layer 'hidden'"):
        sft_keras.shrink(model)


def test_difference_is_relative_and_never_hides_nan():
    big = [np.array([[1e6, -1e6]])]
    assert proof.relative_difference(big, [big[0] + 1.0]) == pytest.approx(1e-6)
    assert proof.relative_difference(big, [np.array([[1e6, np.nan]])]) == np.inf
    assert proof.relative_difference(big, [np.zeros((1, 3))]) == np.inf
    assert proof.relative_difference([np.zeros(2)], [np.full(2, 0.5)]) == 0.5


def test_random_inputs_have_the_structure_and_types_of_the_model(flavor):
    image, ids = flavor.Input((None, 4)), flavor.Input((5,), dtype="int32")
    merged = [flavor.layers.Dense(2)(image), flavor.layers.Embedding(2, 3)(ids)]
    model = flavor.Model({"image": image, "ids": ids}, merged)
    inputs = proof.random_inputs(model, batch=3)
    assert inputs["image"].shape == (3, sampling.UNKNOWN_SIZE, 4)
    assert inputs["ids"].dtype == np.int32
    assert set(np.unique(inputs["ids"])) <= {0, 1}
    assert [x.shape for x in proof.outputs(model, inputs)] == [(3, 64, 2), (3, 5, 3)]


def test_a_model_of_positive_numbers_is_proved_on_such(flavor, forgetful_layer):
    x = flavor.Input((4,))
    h = flavor.layers.Dense(6, activation="relu")(LOG[flavor.__name__](x + 1e-3))
    stack = [forgetful_layer(flavor, 3.0), flavor.layers.Dense(6), flavor.layers.Dense(3)]
    for layer in stack:
        h = layer(h)
    model = flavor.Model(x, h)
    with pytest.raises(UnsupportedError, match=r"'scaled' \(Scaled\).*get_config\(\) leaves"):
        sft_keras.shrink(model, sft_keras.plan(model))


def test_nothing_but_nan_proves_nothing(flavor):
    x = flavor.Input((4,))
    log = LOG[flavor.__name__](-1.0 - x * x)
    model = flavor.Model(x, flavor.layers.Dense(3)(flavor.layers.Dense(6)(log)))
    with pytest.raises(UnsupportedError, match=r"makes NaN of any random input.*begin the model"):
        sft_keras.shrink(model, sft_keras.plan(model))


def test_a_layer_that_is_random_in_use_is_named(flavor):
    class Noise(flavor.layers.Layer):
        def call(self, x):
            return x + np.random.default_rng().normal()

        def compute_output_shape(self, shape):
            return shape

    layers = [flavor.layers.Dense(6), Noise(name="noise"), flavor.layers.Dense(3)]
    model = flavor.Sequential([flavor.Input((4,)), *layers])
    # Run as they are written, for a traced call would keep the first of the numbers.
    with pytest.raises(UnsupportedError, match=r"'noise' \(Noise\).*other numbers at each call"):
        proof.require_faithful_copy(model)


def test_the_proof_leaves_moving_statistics_alone(flavor, randomize):
    x = flavor.Input((4,))
    norm = flavor.layers.BatchNormalization()
    h = norm(flavor.layers.Dense(6)(x), training=True)
    model = randomize(flavor.Model(x, flavor.layers.Dense(3)(h)))
    before = model.get_weights()
    sft_keras.shrink(model, sft_keras.plan(model))
    assert all(map(np.array_equal, before, model.get_weights()))


def test_infinite_numbers_are_compared_by_their_signs():
    assert proof.relative_difference([np.array([np.inf, 1])], [np.array([-np.inf, 1])]) == np.inf
    assert proof.relative_difference([np.array([-np.inf, 1])], [np.array([-np.inf, 1])]) == 0


@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("rows", [1, 50])
def test_random_indices_are_rows_of_the_embedding(flavor, dtype, rows):
    inner = flavor.Sequential([flavor.Input((5,), dtype=dtype), flavor.layers.Embedding(rows, 3)])
    ids = flavor.Input((5,), dtype=dtype)
    inputs = proof.random_inputs(flavor.Model(ids, inner(ids)))
    assert str(inputs.dtype) == dtype
    assert set(np.unique(inputs)) <= set(range(min(rows, 2)))


def test_an_open_size_is_as_large_as_the_layers_need(flavor, randomize):
    layers = flavor.layers
    convolutions = [layers.Conv1D(4, 80, strides=4), layers.Conv1D(4, 3, activation="relu")]
    pool = layers.GlobalAveragePooling1D()
    stack = [flavor.Input((None, 1)), *convolutions, pool, layers.Dense(2)]
    model = randomize(flavor.Sequential(stack))
    assert proof.random_inputs(model).shape == (2, sampling.LARGER_SIZES[0], 1)
    small = sft_keras.shrink(model, sft_keras.plan(model))
    assert small.count_params() < model.count_params()


def test_strings_are_refused_in_a_sentence(flavor):
    layers = flavor.layers
    reads = layers.TextVectorization(vocabulary=["a", "b"], output_sequence_length=4)
    stack = [reads, layers.Embedding(4, 3), layers.Flatten(), layers.Dense(4), layers.Dense(2)]
    model = flavor.Sequential([flavor.Input((1,), dtype="string", name="text"), *stack])
    with pytest.raises(UnsupportedError, match=r"Input 'text' takes strings.*begin the model"):
        sft_keras.shrink(model, sft_keras.plan(model))
