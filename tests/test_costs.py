"""Costs against numbers worked out by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import sft_keras

# name: (input shape, layer given `keras.layers`, parameters, multiply-accumulates)
LAYERS = {
    "conv1d": ((10, 3), lambda x: x.Conv1D(4, 5), 5 * 3 * 4 + 4, 6 * 5 * 3 * 4),
    "conv2d": ((8, 8, 3), lambda x: x.Conv2D(4, 3), 3 * 3 * 3 * 4 + 4, 6 * 6 * 27 * 4),
    "strided": (
        (8, 8, 3),
        lambda x: x.Conv2D(4, 3, strides=2, padding="same", use_bias=False),
        108,
        4 * 4 * 108,
    ),
    "grouped": ((8, 8, 4), lambda x: x.Conv2D(6, 3, groups=2), 9 * 2 * 6 + 6, 36 * 9 * 2 * 6),
    "conv3d": ((4, 4, 4, 2), lambda x: x.Conv3D(3, 2), 8 * 2 * 3 + 3, 27 * 8 * 2 * 3),
    "transpose": (
        (4, 4, 3),
        lambda x: x.Conv2DTranspose(5, 2, strides=2),
        2 * 2 * 3 * 5 + 5,
        4 * 4 * 2 * 2 * 3 * 5,
    ),
    "depthwise1d": ((8, 3), lambda x: x.DepthwiseConv1D(3), 3 * 3 + 3, 6 * 3 * 3),
    "depthwise": (
        (8, 8, 3),
        lambda x: x.DepthwiseConv2D(3, depth_multiplier=2),
        9 * 3 * 2 + 6,
        36 * 9 * 6,
    ),
    "separable": (
        (8, 8, 3),
        lambda x: x.SeparableConv2D(5, 3, depth_multiplier=2),
        9 * 6 + 6 * 5 + 5,
        36 * (9 * 6 + 6 * 5),
    ),
    "separable1d": ((8, 3), lambda x: x.SeparableConv1D(5, 3), 9 + 15 + 5, 6 * (9 + 15)),
    "dense": ((7,), lambda x: x.Dense(4), 7 * 4 + 4, 28),
    "dense_rank3": ((5, 7), lambda x: x.Dense(4), 32, 5 * 28),
    "einsum": ((5, 7), lambda x: x.EinsumDense("abc,cd->abd", (5, 4)), 28, 5 * 28),
    "einsum_by_step": ((5, 7), lambda x: x.EinsumDense("abc,bcd->abd", (5, 4)), 5 * 28, 5 * 28),
    "einsum_elided": ((5, 2, 7), lambda x: x.EinsumDense("...c,cd->...d", 4), 28, 10 * 28),
    "embedding": ((5,), lambda x: x.Embedding(9, 4), 36, 0),
    "simple_rnn": ((5, 4), lambda x: x.SimpleRNN(3), 12 + 9 + 3, 5 * (12 + 9)),
    "lstm": ((5, 4), lambda x: x.LSTM(3), 4 * (12 + 9 + 3), 5 * 4 * (12 + 9)),
    "gru": ((5, 4), lambda x: x.GRU(3), 3 * (12 + 9 + 6), 5 * 3 * (12 + 9)),
    "bidirectional": (
        (5, 4),
        lambda x: x.Bidirectional(x.LSTM(3, return_sequences=True)),
        2 * 4 * (12 + 9 + 3),
        2 * 5 * 4 * (12 + 9),
    ),
    "stacked_cells": (
        (5, 4),
        lambda x: x.RNN([x.SimpleRNNCell(3), x.SimpleRNNCell(2)]),
        (12 + 9 + 3) + (6 + 4 + 2),
        5 * (12 + 9 + 6 + 4),
    ),
    "conv_lstm": (
        (5, 8, 8, 2),
        lambda x: x.ConvLSTM2D(3, 3, return_sequences=True),
        9 * 2 * 12 + 9 * 3 * 12 + 12,
        5 * 36 * (9 * 2 * 12 + 9 * 3 * 12),
    ),
    "conv_lstm1d": (
        (5, 8, 2),
        lambda x: x.ConvLSTM1D(3, 3, padding="same"),
        3 * 2 * 12 + 3 * 3 * 12 + 12,
        5 * 8 * (3 * 2 * 12 + 3 * 3 * 12),
    ),
    "each_step": (
        (5, 8, 8, 3),
        lambda x: x.TimeDistributed(x.Conv2D(4, 3)),
        27 * 4 + 4,
        5 * 36 * 27 * 4,
    ),
    "batch_norm": ((8, 8, 3), lambda x: x.BatchNormalization(), 12, 0),
    "pooling": ((8, 8, 3), lambda x: x.MaxPooling2D(2), 0, 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_cost_of_one_layer(flavor, name):
    shape, layer, params, macs = LAYERS[name]
    cost = sft_keras.cost(flavor.Sequential([flavor.Input(shape), layer(flavor.layers)]))
    assert (cost.params, cost.macs) == (params, macs)
    assert cost.bytes == 4 * params


PROJECTIONS = 7 * 6 * (3 * 4) + 5 * 6 * (3 * 4) + 5 * 8 * (3 * 2) + 7 * (3 * 2) * 9


def test_multi_head_attention(flavor):
    q, v, m = flavor.Input((7, 6)), flavor.Input((5, 8)), flavor.Input((5, 6))
    layer = flavor.layers.MultiHeadAttention(3, 4, value_dim=2, output_shape=9)
    cost = sft_keras.cost(flavor.Model([q, v, m], layer(q, v, key=m)))
    assert cost.macs == PROJECTIONS + 7 * 5 * 3 * (4 + 2)


def test_attention_over_one_of_two_axes(flavor):
    x = flavor.Input((2, 5, 6))
    layer = flavor.layers.MultiHeadAttention(3, 4, attention_axes=(2,))
    cost = sft_keras.cost(flavor.Model(x, layer(x, x)))
    assert cost.macs == 4 * (2 * 5) * 6 * (3 * 4) + (2 * 5) * 5 * 3 * (4 + 4)


def test_grouped_query_attention():
    x = keras.Input((5, 6))
    cost = sft_keras.cost(keras.Model(x, keras.layers.GroupQueryAttention(3, 4, 2)(x, x)))
    projections = 5 * 6 * 3 * (4 + 2 + 2 + 4)
    assert cost.macs == projections + 5 * 5 * 4 * (3 + 3)


@pytest.mark.parametrize("kind", ["Attention", "AdditiveAttention"])
def test_attention_without_weights(flavor, kind):
    q, v, m = flavor.Input((7, 6)), flavor.Input((5, 6)), flavor.Input((5, 6))
    cost = sft_keras.cost(flavor.Model([q, v, m], getattr(flavor.layers, kind)()([q, v, m])))
    assert cost.macs == 7 * 5 * (6 + 6)


def test_dot_of_two_tensors(flavor):
    x, z = flavor.Input((5, 4)), flavor.Input((7, 4))
    for axes in (2, -1, (2, 2)):
        model = flavor.Model([x, z], flavor.layers.Dot(axes)([x, z]))
        assert sft_keras.cost(model).macs == 5 * 4 * 7


def test_matrix_products_by_operators(flavor):
    x, z, w = flavor.Input((5, 4)), flavor.Input((4, 7)), np.ones((4, 3), "float32")
    if flavor is keras:
        products = [x @ z, keras.ops.matmul(x, w), keras.ops.einsum("abc,acd->abd", x, z)]
    else:
        products = [x @ z, tf.matmul(z, x, transpose_a=True, transpose_b=True)]
        products = [products[0], tf.matmul(x, w), tf.einsum("abc,acd->abd", x, z), products[1]]
    costs = [sft_keras.cost(flavor.Model([x, z], product)).macs for product in products]
    assert costs == [5 * 4 * 7, 5 * 4 * 3, 5 * 4 * 7, 7 * 4 * 5][: len(costs)]


def test_each_step_of_a_nested_model(flavor):
    inner = flavor.Sequential([flavor.Input((4,)), flavor.layers.Dense(3), flavor.layers.Dense(2)])
    x = flavor.Input((5, 4))
    cost = sft_keras.cost(flavor.Model(x, flavor.layers.TimeDistributed(inner)(x)))
    assert cost.macs == 5 * (12 + 6)


def test_unknown_layer_counts_its_parameters_alone(flavor):
    class Own(flavor.layers.Layer):
        def build(self, shape):
            self.w = self.add_weight(shape=(3, 2), name="w")

        def call(self, x):
            return x

    x = flavor.Input((3,))
    cost = sft_keras.cost(flavor.Model(x, Own()(x)))
    assert (cost.params, cost.macs) == (6, 0)


def test_channels_first_costs_the_same():
    import tf_keras as k

    layers = [k.layers.SeparableConv2D(5, 3, data_format="channels_first")]
    cost = sft_keras.cost(k.Sequential([k.Input((3, 8, 8)), *layers]))
    assert cost.macs == 36 * (9 * 3 + 3 * 5)


def test_peak_counts_what_is_still_to_be_read(flavor):
    layers = flavor.layers
    x = flavor.Input((8, 8, 3), name="image")  # 192
    a = layers.Conv2D(4, 1, name="a")(x)  # 256, alive until the sum
    b = layers.Conv2D(10, 1, name="b")(a)  # 640
    c = layers.Conv2D(4, 1, name="c")(b)  # 256
    model = flavor.Model(x, layers.Add(name="sum")([a, c]))
    cost = sft_keras.cost(model)
    assert cost.peak_activations == 256 + 640 + 256
    assert {layer.name: layer.activations for layer in cost.layers} == {
        "image": 192,
        "a": 256,
        "b": 640,
        "c": 256,
        "sum": 256,
    }


def test_shared_layer_is_stored_once_and_computed_twice(flavor):
    shared = flavor.layers.Dense(4, name="shared")
    x, z = flavor.Input((3,)), flavor.Input((3,))
    cost = sft_keras.cost(flavor.Model([x, z], [shared(x), shared(z)]))
    assert (cost.params, cost.macs) == (16, 24)


def test_layer_that_nested_models_share_is_stored_once(flavor):
    shared = flavor.layers.Dense(4, name="shared")
    parts = []
    for name in ("left", "right"):
        x = flavor.Input((4,))
        parts.append(flavor.Model(x, shared(x), name=name))
    x = flavor.Input((4,))
    model = flavor.Model(x, shared(parts[0](parts[1](x))))
    cost = sft_keras.cost(model)
    assert cost.params == model.count_params() == 20
    assert (cost.bytes, cost.macs) == (80, 48)


@pytest.mark.parametrize("name", ["Attention", "MultiHeadAttention", "Dense", "Normalization"])
def test_users_class_that_is_named_like_one_of_keras_is_not_known(flavor, name):
    def build(self, shape):
        self.w = self.add_weight(shape=(4,), name="w")

    methods = {"build": build, "call": lambda self, x: x * self.w}
    methods["compute_output_shape"] = lambda self, shape: shape
    own = type(name, (flavor.layers.Layer,), methods)(name="own")
    model = flavor.Sequential([flavor.Input((4,)), own, flavor.layers.Dense(3)])
    found = {x.name: x for x in sft_keras.cost(model).layers}["own"]
    assert (found.params, found.macs) == (4, 0)
    hidden = flavor.layers.Dense(3, activation="relu")
    model = flavor.Sequential([flavor.Input((4,)), own, hidden, flavor.layers.Dense(2)])
    assert sft_keras.shrink(model, sft_keras.plan(model)).count_params() < model.count_params()


def test_nested_model_counts_with_each_call(flavor):
    inner = flavor.Sequential([flavor.Input((3,)), flavor.layers.Dense(3)], name="inner")
    x = flavor.Input((3,))
    cost = sft_keras.cost(flavor.Model(x, inner(inner(x))))
    assert (cost.params, cost.macs) == (12, 18)
    assert [x.name for x in cost.layers if x.kind == "Dense"] == [f"inner/{inner.layers[0].name}"]


def test_peak_of_activations_looks_into_a_nested_model(flavor):
    wide = flavor.Sequential([flavor.Input((3,)), flavor.layers.Dense(50), flavor.layers.Dense(2)])
    x = flavor.Input((3,))
    y = flavor.layers.Concatenate()([wide(x), x])
    assert sft_keras.cost(flavor.Model(x, y)).peak_activations == 3 + 50 + 2


def test_bytes_follow_the_dtype(flavor):
    layers = [flavor.layers.Dense(4, dtype="bfloat16"), flavor.layers.Dense(2, dtype="float32")]
    cost = sft_keras.cost(flavor.Sequential([flavor.Input((3,)), *layers]))
    assert cost.bytes == 2 * 16 + 4 * 10


def test_table_and_data(flavor):
    model = flavor.Sequential([flavor.Input((1000,)), flavor.layers.Dense(50, name="wide")])
    cost = sft_keras.cost(model)
    lines = str(cost).splitlines()
    assert lines[0].split() == ["layer", "params", "MACs", "activations"]
    assert lines[-2].split() == ["wide", "50,050", "50,000", "50"]
    assert lines[-1].split() == ["total", "50,050", "50,000", "1,050", "(peak)"]
    assert cost.to_dict()["layers"][-1] == {
        "name": "wide",
        "kind": "Dense",
        "params": 50050,
        "macs": 50000,
        "activations": 50,
    }
    assert cost.to_dict()["bytes"] == 200200


def test_model_without_a_graph_is_refused(flavor):
    with pytest.raises(sft_keras.errors.UnsupportedError, match="was never built"):
        sft_keras.cost(flavor.Sequential([flavor.layers.Dense(3)]))
