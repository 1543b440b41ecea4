"""Operators in whole networks: nested, shared, saved, of unknown sizes; and what stays frozen."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from both_operators import operators
from test_operators_shape import C, H, W, conv, network

import sft_keras
from sft_keras import flavors
from sft_keras.cloning import in_precision
from sft_keras.shrinking.proof import outputs, random_inputs, relative_difference


def unet(k, o):
    x = k.Input((8, 8, 3))
    skips, y = [], x
    for filters in (4, 6):
        y = k.layers.Conv2D(filters, 3, padding="same", activation="relu")(y)
        skips.append(y)
        y = o.max_pool(y)
    y = k.layers.Conv2D(8, 3, padding="same", activation="relu")(y)
    for filters, skip in ((6, skips[1]), (4, skips[0])):
        y = o.concatenate([o.repeat(o.repeat(y, 2, axis=1), 2, axis=2), skip], axis=-1)
        y = k.layers.BatchNormalization()(k.layers.Conv2D(filters, 3, padding="same")(y))
        y = o.relu(y)
    return k.Model(x, k.layers.Conv2D(2, 1)(y)), 4 + 6 + 8 + 6 + 4


def option_a_resnet(k, o):
    x = k.Input((8, 8, 3))
    y = k.layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    for filters, stride in ((4, 1), (8, 2)):
        z = k.layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(y)
        z = o.relu(k.layers.BatchNormalization()(z))
        z = k.layers.BatchNormalization()(k.layers.Conv2D(filters, 3, padding="same")(z))
        wider = filters - y.shape[-1]
        if stride > 1:
            pads = [[0, 0], [0, 0], [0, 0], [wider // 2, wider - wider // 2]]
            y = o.pad(y[:, ::2, ::2], pads)
        y = o.relu(y + z)
    y = o.mean(y, axis=(1, 2))
    # Behind the shortcut's zeros the last block's first and last two channels stand alone.
    return k.Model(x, k.layers.Dense(2)(y)), 4 + 4 + 8


def shuffle_unit(k, o):
    x = k.Input((4, 4, 3))
    y = k.layers.Conv2D(8, 1)(x)
    a, b = o.split(y, 2, axis=-1)
    b = k.layers.BatchNormalization()(k.layers.Conv2D(4, 1)(b))
    b = k.layers.DepthwiseConv2D(3, padding="same")(o.relu(b))
    y = o.concatenate([a, o.relu(k.layers.Conv2D(4, 1)(b))], axis=-1)
    y = o.reshape(o.transpose(o.reshape(y, (-1, 4, 4, 2, 4)), (0, 1, 2, 4, 3)), (-1, 4, 4, 8))
    a, b = o.split(y, 2, axis=-1)
    y = o.concatenate([a, k.layers.Conv2D(4, 1)(b)], axis=-1)
    return k.Model(x, k.layers.Dense(2)(k.layers.Flatten()(y))), 16


def patches(k, o):
    """Of the layers that mix tokens, filters are positions: an average over them counts them."""
    x = k.Input((8, 8, 3))
    y = k.layers.Conv2D(6, 4, 4)(x)
    y = o.reshape(y, (-1, 4, 6))
    y = k.layers.Dense(5, activation="relu")(y)
    y = o.transpose(k.layers.Dense(6)(o.transpose(y, (0, 2, 1))), (0, 2, 1))
    return k.Model(x, k.layers.Dense(2)(o.mean(y, axis=1))), 6


def nested_and_used_twice(k, o):
    inner = z = k.Input((4, 6, 5))
    y = o.relu(z[..., 1:] * 2.0)
    a, b = o.split(conv(k, y, 6), 2, axis=-1)
    inner = k.Model(inner, o.reshape(o.concatenate([b, a], axis=-1), (-1, 24, 6)), name="inner")
    x, w = k.Input((4, 6, 3)), k.Input((4, 6, 2))
    ends = [k.layers.Conv1D(2, 3)(inner(conv(k, t, 5))) for t in (x, w)]
    return k.Model([x, w], ends), 5 + 6


def unknown_sizes(k, o):
    x = k.Input((None, None, 3))
    y = k.layers.Conv2D(C, 1, activation="relu")(x)
    y = o.flip(y[:, 1:, ::-1, 1:5], 1) * o.mean(y, axis=(1, 2), keepdims=True)[..., 1:5]
    y = o.transpose(y, (0, 2, 1, 3))[:, None][..., None]
    return k.Model(x, k.layers.Dense(2)(o.max(o.squeeze(y, axis=1), axis=[1, 2, -1]))), C


def sequence_of_unknown_length(k, o):
    x = k.Input((None, 3))
    y = k.layers.Dense(C, activation="sigmoid")(x)
    y = o.concatenate([y, o.roll(y, 1, axis=1), o.flip(y, 1)[..., :2]], axis=-1)
    y = o.concatenate([y, o.max(y, axis=1, keepdims=True)], axis=1)
    return k.Model(x, k.layers.Dense(2)(y)), C


def gated_by_halves(k, o):
    x = k.Input((5, 3))
    a, b = o.split(k.layers.Dense(8)(x), 2, axis=-1)
    y = k.layers.BatchNormalization()(o.multiply(a, o.sigmoid(b)))
    return k.Model(x, k.layers.Dense(2)(y)), 4


def one_tensor_in_many_places(k, o):
    x = k.Input((5, 3))
    y = k.layers.Dense(4, activation="tanh")(x)
    y = o.concatenate([y, y[..., ::-1], o.stack([y, y], axis=2)[:, :, 1]], axis=-1)
    return k.Model(x, k.layers.Dense(2)(y + y)), 4


WHOLE = [
    *(unet, option_a_resnet, shuffle_unit, patches, nested_and_used_twice, unknown_sizes),
    *(gated_by_halves, one_tensor_in_many_places, sequence_of_unknown_length),
]


@pytest.mark.parametrize("make", WHOLE, ids=lambda f: f.__name__)
def test_shrunk_network_equals_masked(flavor, make, shrink_and_compare):
    model, prunable = make(flavor, operators(flavor))
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == prunable, str(groups)
    shrink_and_compare(model)


FROZEN = {
    "softmax": (lambda k, o, y: o.softmax(y), "which mixes channels"),
    "top_k": (lambda k, o, y: o.top_k(y, 2)[0], "which mixes channels"),
    "argmax": (lambda k, o, y: o.cast(o.argmax(y, -1), "float32"), "which mixes channels"),
    "mean": (lambda k, o, y: o.mean(y, axis=3), "whose divisor is their number"),
    "matmul": (
        lambda k, o, y: o.matmul(y, o.transpose(y, (0, 1, 3, 2))),
        "which multiplies tensors over their channels",
    ),
    "unstack": (
        lambda k, o, y: o.stack(o.unstack(y, axis=3)[:2], axis=3),
        "which takes the channels apart",
    ),
    "samples": (lambda k, o, y: y[::-1, :] + y, "which picks samples"),
    "samples_by_reshape": (
        lambda k, o, y: o.reshape(o.reshape(y, (-1, 2 * H * W * C)), (-1, H, W, C)),
        "which mixes samples",
    ),
    "samples_by_mean": (
        lambda k, o, y: y - o.mean(y, axis=0, keepdims=True),
        "which mixes samples",
    ),
    "samples_by_flip": (lambda k, o, y: o.flip(y, 0), "which mixes samples"),
    "samples_by_transpose": (
        lambda k, o, y: o.transpose(o.transpose(y, (1, 0, 2, 3)), (1, 0, 2, 3)),
        "which mixes samples",
    ),
    "samples_by_stack": (lambda k, o, y: o.stack([y, y], axis=0)[0], "which mixes samples"),
    "samples_by_tile": (lambda k, o, y: o.tile(y, (2, 1, 1, 1)), "which mixes samples"),
    "everything": (lambda k, o, y: y / o.max(y), "which mixes samples"),
    "infinite": (lambda k, o, y: 1.0 / y, "emits no finite constant behind"),
    "logarithm": (lambda k, o, y: o.log(y), "emits no finite constant behind"),
    "another_rank": (
        lambda k, o, y: y + o.max(y, axis=(1, 2))[:, :1] * 0.0,
        "which merges tensors of different rank",
    ),
    "mirrored": (
        lambda k, o, y: o.pad(y, [[0, 0], [0, 0], [0, 0], [1, 1]], "reflect"),
        "which repeats channels at a border",
    ),
    "repeated_unevenly": (
        lambda k, o, y: o.repeat(y, [1, 2, 1, 1, 1, 1], axis=3),
        "which repeats some channels more often than others",
    ),
    "sorted": (lambda k, o, y: o.sort(y, axis=-1), "which mixes channels"),
    "array_of_samples": (
        lambda k, o, y: y * np.ones((2, 1, 1, 1), "float32"),
        "which mixes samples",
    ),
    "taken_samples": (lambda k, o, y: o.take(y, [0], axis=0), "which"),
    "taken_in_two_axes": (
        lambda k, o, y: o.take(y, [[0, 1], [2, 3]], axis=3),
        "which takes channels along several axes",
    ),
}


@pytest.mark.parametrize("name", FROZEN)
def test_what_is_frozen_says_why(flavor, name):
    body, reason = FROZEN[name]
    x = flavor.Input((H, W, 3))
    y = flavor.layers.Conv2D(C, 1, activation="relu", name="conv")(x)
    model = flavor.Model(x, body(flavor, operators(flavor), y))
    group = sft_keras.channel_groups(model).groups[0]
    assert (group.layers, group.prunable) == (("conv",), False)
    reasons = [why for ids, why in sft_keras.channel_groups(model).trace.frozen]
    assert any(reason in why for why in reasons), reasons


def test_an_unknown_operator_is_frozen_by_name(flavor, shrink_and_compare):
    unknown = tf.math.bessel_i0 if flavor is tf_keras else keras.ops.i0
    name = "besseli0" if flavor is tf_keras else "i0"
    model = network(flavor, lambda k, o, y: conv(k, unknown(y), 3))
    assert sft_keras.channel_groups(model).prunable.sum() == 3
    reason = sft_keras.channel_groups(model).groups[0].reason
    assert reason.endswith(f"({name}), which has no channel rule")
    shrink_and_compare(model)


def _every_operator(k, o):
    """A network of operators whose arguments change with the filters."""
    x = k.Input((4, 6, 3))
    y = k.layers.Conv2D(C, 1, activation="sigmoid")(x)
    a, b = o.split(y, 2, axis=-1)
    y = o.concatenate([b * 2.0, o.take(a, [2, 0, 1], axis=-1)], axis=-1)[:, ::2, :, 5:0:-1]
    y = o.pad(y, [[0, 0], [0, 0], [0, 0], [0, 1]])
    y = o.reshape(o.roll(y, 2, axis=3), (-1, 12, 6))
    y = k.layers.Conv1D(4, 1)(y)
    y = y * np.arange(4, dtype="float32")
    return k.Model(x, k.layers.Dense(2)(o.reshape(y, (-1, 48))))


@pytest.mark.parametrize("when", ["before", "behind"])
def test_saved_and_loaded_operators_shrink(flavor, when, shrink_and_compare, tmp_path):
    model = _every_operator(flavor, operators(flavor))
    if when == "behind":
        model = shrink_and_compare(model)
    path = tmp_path / ("model.keras" if flavor is keras else "model.h5")
    model.save(path)
    loaded = flavor.models.load_model(path)
    inputs = random_inputs(model)
    assert relative_difference(outputs(model, inputs), outputs(loaded, inputs)) < 1e-6
    groups = sft_keras.channel_groups(loaded)
    assert groups.prunable.sum() == sft_keras.channel_groups(model).prunable.sum() > 0
    shrink_and_compare(loaded)


def test_arrays_and_dtypes_follow_the_precision_of_the_proof(flavor, randomize):
    o = operators(flavor)
    x = flavor.Input((4,))
    y = flavor.layers.Dense(C)(x) * np.linspace(0.1, 2.0, C).astype("float32")
    y = o.cast(o.cast(y > 0.0, "float32"), "float32") + tf.constant(0.1)
    model = randomize(flavor.Model(x, flavor.layers.Dense(2)(y)))
    exact = in_precision("float64", model)
    inputs = random_inputs(model)
    assert relative_difference(outputs(model, inputs), outputs(exact, inputs)) < 1e-6
    assert all(x.dtype in ("float64", tf.float64) for x in flavors.outputs(exact))


def test_an_operator_called_twice_ties_its_calls(shrink_and_compare):
    x = keras.Input((4, 3))
    a, b = (keras.layers.Dense(6)(x) for _ in range(2))
    split = flavors.producer(keras.ops.reshape(a, (-1, 4, 2, 3)))
    ends = [keras.layers.Dense(2)(split(t)) for t in (a, b)]
    model = keras.Model(x, ends)
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == 3, str(groups)
    shrink_and_compare(model)


def test_an_operator_called_on_unlike_tensors_keeps_them(shrink_and_compare):
    x = keras.Input((4, 3))
    a, b = keras.layers.Dense(6)(x), keras.layers.Dense(8)(x)
    split = flavors.producer(keras.ops.split(a, 2, axis=-1)[0])
    ends = [keras.layers.Dense(2)(part) for t in (a, b) for part in split(t)]
    groups = sft_keras.channel_groups(model := keras.Model(x, ends))
    assert groups.prunable.sum() == 0
    assert "is shared by unlike tensors" in str(groups)
    shrink_and_compare(model)


def test_sizes_may_be_numpy_integers(shrink_and_compare):
    x = keras.Input((4, 3))
    y = keras.ops.reshape(keras.layers.Dense(6)(x), (-1, np.int64(2), np.prod((2, 6))))
    model = keras.Model(x, keras.layers.Dense(2)(keras.layers.Flatten()(y)))
    assert sft_keras.channel_groups(model).prunable.sum() == 6
    shrink_and_compare(model)


def test_the_number_of_samples_may_come_from_the_graph(shrink_and_compare):
    x = tf_keras.Input((4, 6, 3))
    y = tf_keras.layers.Conv2D(C, 1, activation="sigmoid")(x)
    y = tf.reshape(y, tf.stack([tf.shape(y)[0], 12, 2 * C]))
    model = tf_keras.Model(x, tf_keras.layers.Dense(2)(y))
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == 0
    assert "which takes its shape from other tensors" in str(groups)
    y = tf_keras.layers.Conv2D(C, 1, activation="sigmoid")(x)
    y = tf.reshape(y, (tf.shape(y)[0], 24, C))
    model = tf_keras.Model(x, tf_keras.layers.Dense(2)(y))
    assert sft_keras.channel_groups(model).prunable.sum() == C
    shrink_and_compare(model)


def test_a_count_of_filters_freezes_them():
    x = tf_keras.Input((4, 6, 3))
    y = tf_keras.layers.Conv2D(C, 1)(x)
    y = y / tf.cast(tf.shape(y)[-1], "float32")
    groups = sft_keras.channel_groups(tf_keras.Model(x, tf_keras.layers.Conv2D(2, 1)(y)))
    assert groups.prunable.sum() == 0
    assert "(shape), which counts filters" in str(groups)


def test_a_variable_among_the_arguments_freezes(flavor):
    if flavor is keras:
        variable = keras.Variable(np.ones(C, "float32"))
    else:
        variable = tf.Variable(np.ones(C, "float32"))
    model = network(flavor, lambda k, o, y: y * variable)
    assert sft_keras.channel_groups(model).groups[0].reason.endswith("which reads a variable")


@pytest.mark.parametrize(
    "layer",
    [
        lambda x: x.Resizing(5, 3),
        lambda x: x.CenterCrop(2, 3),
        lambda x: x.UpSampling2D(2, interpolation="bilinear"),
        lambda x: x.GlobalMaxPooling2D(keepdims=True),
        lambda x: x.Reshape((4, 6, 3, 2)),
        lambda x: x.Reshape((3, -1, 4, 3)),
        lambda x: x.Reshape((48, 3)),
    ],
)
def test_layers_of_the_same_nature(flavor, layer, shrink_and_compare):
    model = network(flavor, lambda k, o, y: layer(k.layers)(y), "sigmoid")
    assert sft_keras.channel_groups(model).prunable.sum() in (3, C)
    shrink_and_compare(model)


@pytest.mark.parametrize("pooling", ["AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D"])
def test_adaptive_pooling(pooling, shrink_and_compare):
    layer = getattr(keras.layers, pooling)((2, 3))
    model = network(keras, lambda k, o, y: layer(y), "sigmoid")
    assert sft_keras.channel_groups(model).prunable.sum() == C
    shrink_and_compare(model)


def test_a_border_of_images_differs_from_a_constant():
    layer = keras.layers.Resizing(8, 8, pad_to_aspect_ratio=True)
    model = network(keras, lambda k, o, y: layer(y), "sigmoid")
    assert "adds a border" in sft_keras.channel_groups(model).groups[0].reason
    model = network(keras, lambda k, o, y: layer(y))
    assert sft_keras.channel_groups(model).prunable.sum() == C


def test_dot_is_frozen(flavor):
    model = network(flavor, lambda k, o, y: k.layers.Dot(3, name="d")([y, y]))
    reason = "enters 'd' (Dot), which multiplies tensors over their channels"
    assert sft_keras.channel_groups(model).groups[0].reason == reason
