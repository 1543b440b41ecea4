"""Element-wise operators, merges and reductions: masked and shrunk model agree, in both Kerases."""

import numpy as np
import pytest
from test_operators_shape import C, H, W, conv, network

import sft_keras

ARRAY = np.linspace(-1.0, 2.0, C).astype("float32")


def _unary(name, *args):
    def body(k, o, y):
        return conv(k, getattr(o, name)(y, *args), 3)

    body.__name__ = "_".join([name, *map(str, args)])
    return body


UNARY = {
    _unary(*case): 3
    for case in (
        *(("relu",), ("relu6",), ("gelu",), ("elu",), ("silu",), ("sigmoid",), ("tanh",)),
        *(("softplus",), ("leaky_relu", 0.1), ("abs",), ("exp",), ("square",), ("sqrt",)),
        *(("clip", -0.5, 0.4), ("cast", "float16"), ("maximum", 0.2)),
    )
}


def hard_swish(k, o, y):
    return conv(k, y * (o.relu6(y + 3.0) * (1.0 / 6.0)), 3)


def polynomial(k, o, y):
    return conv(k, (3.0 - y) / 2 - (-y) ** 2 + abs(y) * 0.5, 3)


def comparison(k, o, y):
    return conv(k, o.cast(y > 0.1, "float32"), 3)


def choice(k, o, y):
    return conv(k, o.where(y > 0.1, y, 0.25), 3)


def one_number_a_channel(k, o, y):
    return conv(k, y * ARRAY + ARRAY[::-1].copy(), 3)


def array_first(k, o, y):
    return conv(k, o.subtract(ARRAY.reshape(1, 1, 1, C), y), 3)


def array_of_positions(k, o, y):
    return y + np.arange(W, dtype="float32").reshape(W, 1)


def array_of_all_positions(k, o, y):
    return y * np.arange(H * W * C, dtype="float32").reshape(1, H, W, C)


def array_of_size_one(k, o, y):
    return conv(k, y + np.ones((1, 1), "float32"), 3)


def residual(k, o, y):
    return conv(k, o.relu(y + conv(k, y, C, activation="tanh")), 3)


def all_merges(k, o, y):
    a, b = conv(k, y, C, activation="elu"), conv(k, y, C)
    y = o.maximum(o.subtract(y, a), o.multiply(a, b)) - o.minimum(a, b)
    return conv(k, y, 3)


def division(k, o, y):
    return conv(k, y / (1.0 + o.exp(conv(k, y, C))), 3)


def square_of_itself(k, o, y):
    return conv(k, y * y + y, 3)


def squeeze_and_excite(k, o, y):
    gate = o.mean(y, axis=(1, 2), keepdims=True)
    return conv(k, y * o.sigmoid(conv(k, gate, C)), 3)


def squeeze_and_excite_by_reshape(k, o, y):
    gate = k.layers.Dense(C)(o.mean(y, axis=[1, 2]))
    return conv(k, y * o.sigmoid(o.reshape(gate, (-1, 1, 1, C))), 3)


def spatial_gate(k, o, y):
    return conv(k, o.multiply(y, o.sigmoid(conv(k, y, 1))), 3)


def spatial_bias(k, o, y):
    return conv(k, y + o.mean(y[..., :2], axis=-1, keepdims=True), 3)


def normalized_by_hand(k, o, y):
    return conv(k, y / o.sqrt(o.sum(y * y, axis=-1, keepdims=True) + 1.0), 3)


def merge_with_the_input(k, o, y):
    x = y[..., :3]
    return x + conv(k, y, 3)


def concatenated(k, o, y):
    return conv(k, o.concatenate([y, conv(k, y, 4), y], axis=3), 3)


def concatenated_rows(k, o, y):
    return conv(k, o.concatenate([y, conv(k, y, C, activation="relu")], axis=1), 3)


def concatenated_along_two_axes(k, o, y):
    a = o.reshape(y, (-1, H, W, 2, 3))
    b = o.reshape(conv(k, y, 4), (-1, H, W, 2, 2))
    return o.concatenate([a, b], axis=-1)


# function: prunable classes where pruned filters emit 0, and where they emit 0.5
ELEMENTWISE = {
    **dict.fromkeys(UNARY, (C + 3, C + 3)),
    hard_swish: (C + 3, C + 3),
    polynomial: (C + 3, C + 3),
    comparison: (C + 3, C + 3),
    choice: (C + 3, C + 3),
    one_number_a_channel: (C + 3, C + 3),
    array_first: (C + 3, C + 3),
    array_of_positions: (0, 0),
    array_of_all_positions: (C, 0),
    array_of_size_one: (C + 3, C + 3),
    residual: (C + 3, C + 3),
    all_merges: (C + 3, C + 3),
    division: (C + 3, C + 3),
    square_of_itself: (C + 3, C + 3),
    squeeze_and_excite: (C + 3, C + 3),
    squeeze_and_excite_by_reshape: (C + 3, C + 3),
    spatial_gate: (C + 3, 3),
    spatial_bias: (3, 3),
    normalized_by_hand: (C + 3, 3),
    merge_with_the_input: (C, C),
    concatenated: (C + 4 + 3, C + 4 + 3),
    concatenated_rows: (C + 3, 3),
    concatenated_along_two_axes: (3 + 2, 3 + 2),
}


def _reduced(name, **kwargs):
    def body(k, o, y):
        return getattr(o, name)(y, **kwargs)

    body.__name__ = "_".join([name, *(f"{key}{value}" for key, value in kwargs.items())])
    return body


def moments(k, o, y):
    return o.concatenate([o.var(y, axis=[1, -2]), o.std(y, axis=(1, 2))], axis=-1)


def any_over_positions(k, o, y):
    return o.cast(o.any(y > 0.2, axis=1), "float32")


def sum_over_channels_read_by_a_conv(k, o, y):
    return conv(k, o.sum(y, axis=3, keepdims=True), 3)


def pooled(k, o, y):
    return conv(k, o.average_pool(o.max_pool(y)), 3)


def resized(k, o, y):
    return conv(k, o.resize(y, (H + 3, W - 1)), 3)


REDUCED = {
    _reduced("mean", axis=1): (C, C),
    _reduced("mean", axis=-2, keepdims=True): (C, C),
    _reduced("mean", axis=-1): (0, 0),
    _reduced("sum", axis=(1, 2)): (C, C),
    _reduced("sum", axis=-1): (C, 0),
    _reduced("sum", axis=(2, 3), keepdims=True): (C, 0),
    _reduced("max", axis=[1]): (C, C),
    _reduced("max", axis=-1): (0, 0),
    _reduced("min", axis=2): (C, C),
    _reduced("prod", axis=1): (C, C),
    _reduced("logsumexp", axis=1): (C, C),
    _reduced("softmax", axis=1): (C, C),
    _reduced("softmax", axis=-1): (0, 0),
    _reduced("cumsum", axis=1): (C, 0),
    _reduced("cumsum", axis=-1): (0, 0),
    _reduced("sort", axis=1): (C, C),
    _reduced("sort", axis=-1): (0, 0),
    moments: (C, C),
    any_over_positions: (C, C),
    sum_over_channels_read_by_a_conv: (C + 3, 3),
    pooled: (C + 3, C + 3),
    resized: (C + 3, C + 3),
}
NETWORKS = {**ELEMENTWISE, **REDUCED}


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("body", NETWORKS, ids=lambda f: f.__name__)
def test_shrunk_network_equals_masked(flavor, body, activation, shrink_and_compare):
    model = network(flavor, body, activation)
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == NETWORKS[body][activation == "sigmoid"], str(groups)
    shrink_and_compare(model)
