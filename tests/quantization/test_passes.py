"""Each pass: outputs stay equal, and what it is there to remove is gone."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_keras import layers

from sft_keras import flavors
from sft_keras.errors import UnsupportedError
from sft_keras.quantization import passes
from sft_keras.quantization.affine import Affine
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import rewrite
from sft_keras.shrinking import proof


@pytest.fixture(autouse=True)
def _fresh_names():
    tf_keras.backend.clear_session()


def model_of(*stack, shape=(8, 8, 3)):
    x = y = tf_keras.Input(shape)
    for layer in stack:
        y = layer(y)
    return tf_keras.Model(x, y)


def kinds(model):
    return [type(call.layer).__name__ for call in flavors.calls(model)][1:]


def difference(model, other):
    inputs = proof.random_inputs(model, seed=3)
    return proof.relative_difference(proof.outputs(model, inputs), proof.outputs(other, inputs))


def applied(model, *names):
    result = model
    for name in names:
        result = getattr(passes, name)(result)
    assert difference(model, result) <= 1e-5
    return result


ACTIVE = {
    "Conv1D": ((8, 3), lambda: layers.Conv1D(2, 3, activation="relu")),
    "Conv2D": ((8, 8, 3), lambda: layers.Conv2D(2, 3, activation="swish")),
    "DepthwiseConv1D": ((8, 3), lambda: layers.DepthwiseConv1D(3, activation="relu")),
    "DepthwiseConv2D": ((8, 8, 3), lambda: layers.DepthwiseConv2D(3, activation="relu6")),
    "SeparableConv2D": ((8, 8, 3), lambda: layers.SeparableConv2D(2, 3, activation="relu")),
    "Conv2DTranspose": ((8, 8, 3), lambda: layers.Conv2DTranspose(2, 3, activation="tanh")),
    "Dense": ((3,), lambda: layers.Dense(2, activation="softmax")),
}


@pytest.mark.parametrize("kind", ACTIVE)
def test_activations_become_layers(kind, randomize):
    shape, make = ACTIVE[kind]
    model = randomize(model_of(make(), shape=shape))
    split = applied(model, "split_activations")
    assert kinds(split) == [kind, "Activation"]
    assert split.output_names == model.output_names


def test_a_shared_layer_stays_shared_when_its_activation_is_split(randomize):
    shared = layers.Dense(3, activation="relu")
    split = applied(randomize(model_of(shared, shared, shape=(3,))), "split_activations")
    assert kinds(split) == ["Dense", "Activation"] * 2
    assert len(split.layers) == 3


@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((8, 8, 3), lambda: layers.SeparableConv2D(4, 3, strides=2, depth_multiplier=2)),
        ((8, 8, 3), lambda: layers.SeparableConv2D(4, 3, dilation_rate=2, use_bias=False)),
        ((8, 3), lambda: layers.SeparableConv1D(4, 3, padding="same")),
    ],
)
def test_separable_convolutions_become_two(shape, layer, randomize):
    split = applied(randomize(model_of(layer(), shape=shape)), "split_separable")
    rank = len(shape) - 1
    assert kinds(split) == [f"DepthwiseConv{rank}D", f"Conv{rank}D"]


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        (layers.Add, ["Add", "Add"]),
        (layers.Multiply, ["Multiply", "Multiply"]),
        (layers.Maximum, ["Maximum", "Maximum"]),
        (layers.Average, ["Add", "Add", "Rescaling"]),
        (layers.Concatenate, ["Concatenate"]),
    ],
)
def test_merges_of_three(merge, expected):
    inputs = [tf_keras.Input((4,)) for _ in range(3)]
    split = applied(tf_keras.Model(inputs, merge()(inputs)), "split_merges")
    assert [kind for kind in kinds(split) if kind != "InputLayer"] == expected


AFFINE = {
    "batch norm": lambda: layers.BatchNormalization(),
    "no scale": lambda: layers.BatchNormalization(scale=False),
    "no center": lambda: layers.BatchNormalization(center=False),
    "rescaling": lambda: layers.Rescaling(1 / 255, offset=-1),
    "rescaling of channels": lambda: layers.Rescaling([1.0, 2, 3], offset=[3.0, 2, 1]),
    "normalization": lambda: layers.Normalization(mean=[1.0, 2, 3], variance=[4.0, 0, 6]),
    "inverse": lambda: layers.Normalization(mean=[1.0, 2, 3], variance=[4.0, 5, 6], invert=True),
    "one for all": lambda: layers.Normalization(axis=None, mean=1.0, variance=4.0),
}


@pytest.mark.parametrize("make", AFFINE.values(), ids=AFFINE)
@pytest.mark.parametrize("shape", [(8, 8, 3), (8, 3), (3,)])
def test_normalizations_become_affine_and_then_convolutions(make, shape, randomize):
    model = randomize(model_of(make(), shape=shape))
    affine = applied(model, "to_affine")
    assert kinds(affine) == ["Affine"]
    assert "Affine" not in kinds(applied(affine, "affine_to_depthwise"))


@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.BatchNormalization(axis=1),
        lambda: layers.Normalization(axis=(1, 3), mean=np.ones((8, 3)), variance=np.ones((8, 3))),
    ],
)
def test_another_axis_stays_as_it_is(layer):
    model = model_of(layer())
    assert kinds(applied(model, "to_affine")) == kinds(model)


@pytest.mark.parametrize("axis", [-1, None], ids=["a sample", "a batch"])
def test_one_number_has_no_channels_to_rescale(axis):
    total = layers.Lambda(lambda x: tf.reduce_sum(x, axis))
    model = model_of(total, layers.Rescaling(2.0), shape=(3,))
    assert kinds(passes.to_affine(model)) == kinds(model)


BEFORE = {
    "conv": ((8, 8, 3), lambda: layers.Conv2D(4, 3)),
    "conv without bias": ((8, 8, 3), lambda: layers.Conv2D(4, 3, use_bias=False)),
    "one filter": ((8, 8, 3), lambda: layers.Conv2D(1, 3)),
    "dilated": ((8, 8, 3), lambda: layers.Conv2D(4, 3, dilation_rate=2, padding="same")),
    "grouped": ((8, 8, 4), lambda: layers.Conv2D(4, 3, groups=2)),
    "transposed": ((8, 8, 3), lambda: layers.Conv2DTranspose(4, 3, strides=2)),
    "depthwise": ((8, 8, 3), lambda: layers.DepthwiseConv2D(3, depth_multiplier=2)),
    "conv 1d": ((8, 3), lambda: layers.Conv1D(4, 3)),
    "depthwise 1d": ((8, 3), lambda: layers.DepthwiseConv1D(3, depth_multiplier=2)),
    "dense": ((3,), lambda: layers.Dense(4)),
    "dense on images": ((8, 8, 3), lambda: layers.Dense(4)),
}


@pytest.mark.parametrize("zero_gamma", [False, True])
@pytest.mark.parametrize("case", BEFORE)
def test_batch_norm_folds_backward(case, zero_gamma, randomize):
    shape, make = BEFORE[case]
    model = randomize(model_of(make(), layers.BatchNormalization(), shape=shape))
    if zero_gamma:
        gamma = model.layers[-1].gamma
        gamma.assign(np.r_[0, gamma.numpy()[1:]])
    folded = applied(model, "to_affine", "fold_backward")
    assert kinds(folded) == kinds(model)[:1]


def test_penalties_of_a_folded_kernel_go(randomize):
    penalties = {"kernel_regularizer": "l2", "kernel_constraint": "max_norm"}
    model = randomize(model_of(layers.Conv2D(2, 3, **penalties), layers.BatchNormalization()))
    (layer,) = applied(model, "to_affine", "fold_backward").layers[1:]
    assert layer.kernel_regularizer is None
    assert layer.kernel_constraint is None


def test_what_someone_else_reads_is_not_folded(randomize):
    x = tf_keras.Input((8, 8, 3))
    conv = layers.Conv2D(4, 3)(x)
    both = layers.Add()([conv, layers.BatchNormalization()(conv)])
    model = randomize(tf_keras.Model(x, both))
    assert "Affine" in kinds(applied(model, "to_affine", "fold_backward", "fold_forward"))


def test_an_output_is_not_folded(randomize):
    x = tf_keras.Input((8, 8, 3))
    conv = layers.Conv2D(4, 3)(x)
    model = randomize(tf_keras.Model(x, [conv, layers.BatchNormalization()(conv)]))
    assert "Affine" in kinds(applied(model, "to_affine", "fold_backward"))


def test_a_layer_called_twice_is_not_folded(randomize):
    conv = layers.Conv2D(3, 1)
    model = randomize(model_of(conv, conv, layers.BatchNormalization()))
    assert "Affine" in kinds(applied(model, "to_affine", "fold_backward"))


FORWARD = {
    "valid": ((8, 8, 3), lambda: layers.Conv2D(4, 3), True),
    "1x1 same": ((8, 8, 3), lambda: layers.Conv2D(4, 1, padding="same"), True),
    "strided": ((8, 8, 3), lambda: layers.Conv2D(4, 3, strides=2, use_bias=False), True),
    "depthwise": ((8, 8, 3), lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), True),
    "dense": ((3,), lambda: layers.Dense(4), True),
    "conv 1d": ((8, 3), lambda: layers.Conv1D(4, 3), True),
    "same": ((8, 8, 3), lambda: layers.Conv2D(4, 3, padding="same"), False),
    "causal": ((8, 3), lambda: layers.Conv1D(4, 3, padding="causal"), False),
    "grouped": ((8, 8, 3), lambda: layers.Conv2D(3, 3, groups=3), False),
    "transposed": ((8, 8, 3), lambda: layers.Conv2DTranspose(4, 3), False),
}


@pytest.mark.parametrize("case", FORWARD)
def test_batch_norm_folds_forward_where_that_is_exact(case, randomize):
    shape, make, exact = FORWARD[case]
    model = randomize(model_of(layers.BatchNormalization(), make(), shape=shape))
    folded = applied(model, "to_affine", "fold_forward")
    assert ("Affine" not in kinds(folded)) == exact


def test_a_scale_alone_folds_into_a_padded_convolution(randomize):
    model = randomize(model_of(layers.Rescaling(0.5), layers.Conv2D(4, 3, padding="same")))
    assert kinds(applied(model, "to_affine", "fold_forward")) == ["Conv2D"]


def test_the_scale_of_pixels_goes_into_the_kernel(randomize):
    model = randomize(model_of(layers.Rescaling(1 / 255), layers.Conv2D(4, 3, padding="same")))
    assert kinds(applied(model, "to_affine", "fold_forward")) == ["Conv2D"]
    assert kinds(applied(model, "scalings_to_affine", "fold_forward")) == ["Conv2D"]


def test_channels_of_very_different_scales_stay_apart_from_the_kernel(randomize):
    scales = layers.Rescaling([1.0, 0.01, 0.01])
    model = randomize(model_of(scales, layers.Conv2D(4, 3), shape=(8, 8, 3)))
    assert kinds(applied(model, "to_affine", "fold_forward")) == ["Affine", "Conv2D"]


def test_sequences_become_images_with_one_reshape_at_each_end(randomize):
    model = randomize(
        model_of(
            layers.Conv1D(4, 3, padding="causal", dilation_rate=2),
            layers.ReLU(),
            layers.MaxPooling1D(),
            layers.DepthwiseConv1D(3, padding="same", strides=2),
            layers.Activation("sigmoid"),
            layers.UpSampling1D(2),
            layers.ZeroPadding1D((1, 2)),
            layers.Cropping1D((0, 1)),
            layers.AveragePooling1D(2, strides=1),
            layers.GlobalAveragePooling1D(),
            shape=(16, 3),
        )
    )
    lifted = kinds(applied(model, "lift_sequences"))
    assert lifted.count("Reshape") == 2
    assert not [kind for kind in lifted[:-1] if "1D" in kind]


def test_sequences_of_open_length(randomize):
    model = randomize(model_of(layers.Conv1D(4, 3), layers.ReLU(), shape=(None, 3)))
    assert "Conv2D" in kinds(applied(model, "lift_sequences"))


@pytest.mark.parametrize("rewrite_pass", passes.PASSES, ids=lambda p: p.__name__)
def test_a_pass_leaves_alone_what_is_not_its_own(rewrite_pass):
    model = model_of(layers.MaxPooling2D(), layers.Flatten())
    assert kinds(rewrite_pass(model)) == kinds(model)


def test_a_wrong_pass_is_caught():
    @proven
    def double(model):
        return rewrite(model, lambda layer, *args: layer(*args) * 2)

    with pytest.raises(UnsupportedError, match=r"Step 'double' changed the outputs"):
        double(model_of(layers.ReLU()))


def test_affine_scales_and_shifts_channels():
    affine = Affine()
    model = model_of(affine, shape=(2,))
    affine.set_weights(np.array([[2, 3], [1, 1]]))
    assert np.array_equal(model(np.ones((1, 2))), [[3, 4]])


SHARED = {
    "separable": ((8, 8, 3), lambda: layers.SeparableConv2D(3, 1, activation="relu")),
    "batch norm": ((8, 8, 3), lambda: layers.BatchNormalization()),
    "vectors": ((3,), lambda: layers.BatchNormalization()),
    "sequences": ((8, 3), lambda: layers.Conv1D(3, 3, padding="causal")),
}


@pytest.mark.parametrize("case", SHARED)
def test_a_layer_called_twice_stays_one(case, randomize):
    shape, make = SHARED[case]
    layer = make()
    model = randomize(model_of(layer, layer, shape=shape))
    rewritten = applied(model, *(rewrite_pass.__name__ for rewrite_pass in passes.PASSES))
    assert rewritten.count_params() <= model.count_params()


OUTPUTS = {
    "average": lambda x: layers.Average(name="out")([x, x, x]),
    "sum": lambda x: layers.Add(name="out")([x, x, x]),
    "folded": lambda x: layers.BatchNormalization(name="out")(layers.Dense(2)(x)),
    "left over": lambda x: layers.BatchNormalization(name="out")(x),
    "activation": lambda x: layers.Dense(2, activation="relu", name="out")(x),
    "sequence": lambda x: layers.Conv1D(2, 1, activation="tanh", name="out")(x[:, None]),
    "separable": lambda x: layers.SeparableConv1D(2, 1, name="out")(x[:, None]),
}


@pytest.mark.parametrize("case", OUTPUTS)
def test_outputs_keep_their_names(case, randomize):
    x = tf_keras.Input((3,))
    model = randomize(tf_keras.Model(x, OUTPUTS[case](x)))
    rewritten = applied(model, *(rewrite_pass.__name__ for rewrite_pass in passes.PASSES))
    assert rewritten.output_names == ["out"]


GROUPS = {
    "two": ({"groups": 2}, (4, 4, 6)),
    "each channel": ({"groups": -1}, (5, 4)),
    "one": ({"groups": 1, "scale": False}, (6,)),
    "without shift": ({"groups": 3, "center": False, "epsilon": 0.1}, (2, 3, 2, 6)),
}


@pytest.mark.parametrize(("options", "shape"), GROUPS.values(), ids=GROUPS)
def test_group_normalization_becomes_layer_normalization(options, shape, randomize):
    model = randomize(model_of(layers.GroupNormalization(**options), shape=shape))
    kept = kinds(applied(model, "group_norm_to_layer_norm"))
    assert "LayerNormalization" in kept
    assert "GroupNormalization" not in kept


def test_group_normalization_of_another_axis_stays(randomize):
    model = randomize(model_of(layers.GroupNormalization(2, axis=1), shape=(4, 6)))
    assert kinds(applied(model, "group_norm_to_layer_norm")) == ["GroupNormalization"]


def test_a_vector_is_repeated_by_upsampling():
    model = model_of(layers.RepeatVector(5), shape=(3,))
    assert kinds(applied(model, "repeat_by_upsampling")) == ["Reshape", "UpSampling2D", "Reshape"]


def test_elu_takes_no_minimum_of_what_else_is_read():
    for activation in ("elu", "selu"):
        result = applied(model_of(layers.Activation(activation)), "expand_elu")
        names = [layer.name for layer in result.layers]
        assert any("exp" in name for name in names)
        assert not any("minimum" in name for name in names)


def read_twice(function, count=1):
    """What a function makes of tensors, beside those tensors themselves."""
    inputs = [tf_keras.Input((8, 8, 3)) for _ in range(count)]
    y = function(*inputs)
    return tf_keras.Model(inputs, layers.Concatenate()([*inputs, y]))


EXTREMES = {
    "minimum": (lambda x: tf.minimum(x, 0.3), 1),
    "constant first": (lambda x: tf.maximum(0.3, x), 1),
    "clip": (lambda x: tf.clip_by_value(x, -0.5, 0.5), 1),
    "Minimum": (lambda *x: layers.Minimum()(x), 2),
    "Maximum of three": (lambda *x: layers.Maximum()(x), 3),
}


@pytest.mark.parametrize(("function", "count"), EXTREMES.values(), ids=EXTREMES)
def test_extremes_of_what_others_read_become_relu(function, count):
    result = applied(read_twice(function, count), "free_extremes")
    names = [layer.name for layer in result.layers if type(layer).__name__ != "Activation"]
    assert any("relu" in name for name in names)
    assert not any(word in name for name in names for word in ("min", "max", "clip"))


def test_extremes_of_what_they_alone_read_stay():
    x = tf_keras.Input((8, 8, 3))
    model = tf_keras.Model(x, tf.clip_by_value(layers.Conv2D(3, 1)(x), -0.5, 0.5))
    assert passes.free_extremes(model) is model


SPLITS = {
    "even": lambda x: tf.split(x, 4, axis=1),
    "by sizes": lambda x: tf.split(x, [1, 4, 3], 1),
    "last axis, by keyword": lambda x: tf.split(value=x, num_or_size_splits=3, axis=-1),
    "unstack": lambda x: tf.unstack(x, axis=2),
}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
def test_a_split_with_a_part_that_nobody_reads_becomes_slices(split):
    x = tf_keras.Input((8, 8, 3))
    _, *read = split(x)
    model = tf_keras.Model(x, [layers.Activation("relu")(read[0]), read[1]])
    result = applied(model, "slice_splits")
    assert sorted(kinds(result)) == ["Activation", "SlicingOpLambda", "SlicingOpLambda"]


@pytest.mark.parametrize("read", [0, 1])
def test_the_slice_that_makes_the_output_keeps_the_name(read):
    x = tf_keras.Input((8, 3))
    model = tf_keras.Model(x, tf.split(x, 2, axis=1)[read])
    assert applied(model, "slice_splits").output_names == model.output_names


def test_a_split_all_of_whose_parts_are_read_stays():
    x = tf_keras.Input((8, 3))
    first, second = tf.split(x, 2, axis=1)
    model = tf_keras.Model(x, [layers.Activation("relu")(first), second])
    assert passes.slice_splits(model) is model


@pytest.mark.parametrize(("count", "joins"), [(10, 1), (11, 2), (101, 12)])
def test_concatenations_join_ten_at_a_time(count, joins):
    x = tf_keras.Input((2,))
    model = tf_keras.Model(x, layers.Concatenate()([layers.Dense(1)(x) for _ in range(count)]))
    result = applied(model, "split_concatenations")
    calls = [c for c in flavors.calls(result) if isinstance(c.layer, layers.Concatenate)]
    assert len(calls) == joins
    assert max(len(call.inputs) for call in calls) == 10


def test_upsampled_sequences_become_images():
    result = applied(model_of(layers.UpSampling1D(2), shape=(12, 3)), "upsample_as_images")
    assert kinds(result) == ["Reshape", "UpSampling2D", "Reshape"]


@pytest.mark.parametrize(
    ("layer", "shape", "size"),
    [
        (layers.Conv2D(3, 2, padding="same"), (2, 2, 3), (3, 3)),
        (layers.Conv2D(3, (2, 1), padding="same", use_bias=False), (2, 1, 3), (3, 1)),
        (layers.Conv1D(4, 2, padding="same", groups=2), (2, 4), (3,)),
        (layers.Conv2D(3, 2, padding="same"), (3, 3, 3), (2, 2)),
        (layers.Conv2D(3, 2, padding="same", strides=2), (2, 2, 3), (2, 2)),
        (layers.Conv2D(3, 2, padding="valid"), (2, 2, 3), (2, 2)),
        (layers.Conv2D(3, 1, padding="same"), (1, 1, 3), (1, 1)),
    ],
)
def test_padded_kernels_as_large_as_the_image_grow(layer, shape, size):
    model = model_of(layer, shape=shape)
    result = passes.grow_kernels(model)
    assert result.layers[-1].kernel_size == size
    assert difference(model, result) <= 1e-6


def test_a_kernel_that_grows_is_shared_by_images_of_other_sizes():
    shared = layers.Conv2D(3, 2, padding="same")
    small, large = tf_keras.Input((2, 2, 3)), tf_keras.Input((5, 4, 3))
    model = tf_keras.Model([small, large], [shared(small), shared(large)])
    result = passes.grow_kernels(model)
    assert difference(model, result) <= 1e-6
    assert result.count_params() == 3 * 3 * 3 * 3 + 3
