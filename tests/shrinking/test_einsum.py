"""EinsumDense, Embedding and GroupNormalization: masked and shrunk model agree."""

import keras
import numpy as np
import pytest

import sft_keras
from sft_keras import equations

SERIES = (5, 4)


def _dense(k, *args, **kwargs):
    return k.layers.EinsumDense(*args, name="einsum", **kwargs)


# name: (filters that can be pruned, layers given `keras` or `tf_keras`)
CHAINS = {
    "sequence": (6, lambda k: [_dense(k, "abc,cd->abd", (5, 6), bias_axes="d")]),
    "elided_before": (6, lambda k: [_dense(k, "...x,xy->...y", 6, bias_axes="y")]),
    "elided_after": (6, lambda k: [_dense(k, "ab...,bc->ac...", 6)]),
    "without_bias": (6, lambda k: [_dense(k, "abc,cd->abd", (5, 6), activation="sigmoid")]),
    "kernel_transposed": (6, lambda k: [_dense(k, "abc,dc->abd", (5, 6), bias_axes="d")]),
    "filters_first": (6, lambda k: [_dense(k, "abc,cd->adb", (6, 5), bias_axes="d")]),
    "kernel_for_each_step": (6, lambda k: [_dense(k, "abc,bcd->abd", (5, 6), bias_axes="bd")]),
    "both_axes_summed": (6, lambda k: [_dense(k, "abc,bcd->ad", 6, bias_axes="d")]),
    "steps_summed": (6, lambda k: [_dense(k, "abc,cd->ad", 6, bias_axes="d")]),
    "one_filter": (1, lambda k: [_dense(k, "abc,cd->abd", (5, 1), bias_axes="d")]),
    "bias_shared": (0, lambda k: [_dense(k, "abc,cd->abd", (5, 6), bias_axes="b")]),
    "two_new_axes": (0, lambda k: [_dense(k, "abc,cde->abde", (5, 2, 3), bias_axes="de")]),
    "reads_filters": (
        13,
        lambda k: [
            k.layers.Dense(7, activation="relu"),
            _dense(k, "abc,cd->abd", (5, 6), bias_axes="d", activation="gelu"),
        ],
    ),
    "reads_constants": (
        13,
        lambda k: [
            k.layers.Dense(7, activation="sigmoid"),
            _dense(k, "abc,cd->abd", (5, 6), bias_axes="d"),
        ],
    ),
    "reads_constants_at_each_step": (
        13,
        lambda k: [
            k.layers.Dense(7, activation="sigmoid"),
            _dense(k, "abc,bcd->abd", (5, 6), bias_axes="bd"),
        ],
    ),
    "reads_constants_over_two_axes": (
        13,
        lambda k: [
            k.layers.Dense(7, activation="sigmoid"),
            _dense(k, "abc,dbc->ad", 6, bias_axes="d"),
        ],
    ),
    "reads_constants_where_the_bias_is_one": (
        6,
        lambda k: [
            k.layers.Dense(7, activation="sigmoid"),
            _dense(k, "abc,bcd->abd", (5, 6), bias_axes="d"),
        ],
    ),
    "reads_constants_and_sums_steps": (
        6,
        lambda k: [
            k.layers.Dense(7, activation="sigmoid"),
            _dense(k, "abc,cd->ad", 6, bias_axes="d"),
        ],
    ),
    "reads_filters_into_two_axes": (
        7,
        lambda k: [k.layers.Dense(7), _dense(k, "abc,cde->abde", (5, 2, 3))],
    ),
    "filters_on_a_passing_axis": (
        6,
        lambda k: [k.layers.Dense(7), _dense(k, "abc,bd->adc", (6, 7), bias_axes="d")],
    ),
    "scales_each_filter": (
        7,
        lambda k: [
            k.layers.Dense(7, activation="sigmoid"),
            _dense(k, "abc,c->abc", (5, 7), bias_axes="c", activation="sigmoid"),
        ],
    ),
    "mixes_steps_of_each_filter": (
        7,
        lambda k: [k.layers.Dense(7), _dense(k, "abc,bc->ac", 7, bias_axes="c")],
    ),
    "scales_each_filter_with_one_bias": (
        0,
        lambda k: [k.layers.Dense(7), _dense(k, "abc,c->abc", (5, 7), bias_axes="b")],
    ),
    "group_norm_of_each_channel": (
        7,
        lambda k: [
            k.layers.Dense(7, activation="sigmoid"),
            k.layers.GroupNormalization(7),
        ],
    ),
    "instance_norm": (
        7,
        lambda k: [k.layers.Dense(7), k.layers.GroupNormalization(-1, scale=False)],
    ),
    "group_norm_of_constants_without_scale": (
        0,
        lambda k: [
            k.layers.Dense(7, activation="sigmoid"),
            k.layers.GroupNormalization(-1, scale=False, center=False),
        ],
    ),
    "group_norm_of_several": (
        0,
        lambda k: [k.layers.Dense(8), k.layers.GroupNormalization(4, name="norm")],
    ),
}


@pytest.mark.parametrize("name", CHAINS)
def test_shrunk_chain_equals_masked_chain(flavor, name, shrink_and_compare):
    prunable, layers = CHAINS[name]
    head = [flavor.layers.Flatten(), flavor.layers.Dense(2)]
    model = flavor.Sequential([flavor.Input(SERIES), *layers(flavor), *head])
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == prunable, str(groups)
    shrink_and_compare(model)


def test_elided_axes_may_be_many_or_none(flavor, shrink_and_compare):
    for shape in ((4,), (2, 3, 4)):
        x = flavor.Input(shape)
        y = flavor.layers.EinsumDense("...x,xy->...y", 6, bias_axes="y")(x)
        model = flavor.Model(x, flavor.layers.Dense(2)(y))
        assert sft_keras.channel_groups(model).prunable.sum() == 6
        shrink_and_compare(model)


def test_einsum_followed_by_batch_normalization(flavor, shrink_and_compare):
    x = flavor.Input((None, 4))
    y = flavor.layers.EinsumDense("abc,cd->abd", (None, 6))(x)
    y = flavor.layers.ReLU()(flavor.layers.BatchNormalization()(y))
    model = flavor.Model(x, flavor.layers.Dense(2)(y))
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == 6
    assert groups.trace.norms
    shrink_and_compare(model)


def test_shared_einsum(flavor, shrink_and_compare):
    x, z = flavor.Input(SERIES), flavor.Input(SERIES)
    dense = [flavor.layers.Dense(7)(t) for t in (x, z)]
    shared = flavor.layers.EinsumDense("abc,cd->abd", (None, 6), bias_axes="d")
    model = flavor.Model([x, z], [flavor.layers.Dense(2)(shared(t)) for t in dense])
    assert sft_keras.channel_groups(model).prunable.sum() == 7 + 6
    shrink_and_compare(model)


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        ("two_new_axes", "is one of several axes that 'einsum' (EinsumDense) adds"),
        ("bias_shared", "gets a bias from 'einsum' that all its filters share"),
        ("filters_on_a_passing_axis", "enters 'einsum' (EinsumDense) along an axis it does not"),
        ("group_norm_of_several", "enters 'norm' (GroupNormalization), which mixes channels"),
    ],
)
def test_reasons_can_be_read(flavor, chain, reason):
    layers = CHAINS[chain][1](flavor)
    model = flavor.Sequential([flavor.Input(SERIES), *layers, flavor.layers.Flatten()])
    model.add(flavor.layers.Dense(2))
    assert reason in str(sft_keras.channel_groups(model))


def test_equation_that_mixes_samples_is_frozen():
    x = keras.Input((4,), batch_size=3)
    y = keras.layers.EinsumDense("ab,acb->ac", 5, name="einsum")(keras.layers.Dense(6)(x))
    groups = sft_keras.channel_groups(keras.Model(x, keras.layers.Dense(2)(y)))
    assert not groups.prunable.any()
    assert "enters 'einsum' (EinsumDense), which mixes samples" in str(groups)


@pytest.mark.parametrize(
    ("equation", "bias_axes", "rank", "bias", "place"),
    [
        ("abc,cd->abd", "d", 3, ("d",), 1),
        ("abc,cd->abd", "bd", 3, ("b", "d"), 1),
        ("abc,cd->adb", "d", 3, ("d", "1"), 0),
        ("...x,xd->...d", "d", 4, ("d",), 0),
        ("...x,xd->...d", None, 1, (), 0),
        ("ab...,bd->ad...", "d", 4, ("d", "1", "1"), 0),
    ],
)
def test_equations_are_read_as_keras_does(flavor, equation, bias_axes, rank, bias, place):
    parsed = equations.parse(equation, bias_axes, rank)
    assert parsed.bias == bias
    if rank > 1:
        sizes = dict(zip(parsed.inputs, range(2, 9), strict=False)) | {"d": 9, "1": 1}
        shape = [sizes[name] for name in parsed.outputs[1:] if not name.startswith(".")]
        assert shape[place] == 9
        layer = flavor.layers.EinsumDense(equation, shape, bias_axes=bias_axes)
        layer.build((None, *(sizes[name] for name in parsed.inputs[1:])))
        assert tuple(layer.kernel.shape) == tuple(sizes[name] for name in parsed.kernel)
        assert tuple(layer.bias.shape) == tuple(sizes[name] for name in parsed.bias)


def embedding(k):
    x = k.Input((5,), dtype="int32")
    y = k.layers.Embedding(9, 8, name="embedding")(x)
    return k.Model(x, k.layers.Dense(2)(k.layers.Conv1D(6, 3)(y))), 8 + 6


def embedding_of_one(k):
    x = k.Input((5,), dtype="int32")
    y = k.layers.Dense(4)(k.layers.Embedding(2, 1)(x))
    return k.Model(x, k.layers.Dense(2)(y)), 1 + 4


def embedding_with_mask(k):
    x = k.Input((None,), dtype="int32")
    y = k.layers.Embedding(9, 8, mask_zero=True)(x)
    y = k.layers.GlobalAveragePooling1D()(k.layers.Dense(6)(y))
    return k.Model(x, k.layers.Dense(2)(y)), 8 + 6


def embedding_of_two_axes(k):
    x = k.Input((3, 4), dtype="int32")
    return k.Model(x, k.layers.Dense(2)(k.layers.Embedding(9, 8)(x))), 8


def embeddings_added(k):
    x, positions = k.Input((5,), dtype="int32"), k.Input((5,), dtype="int32")
    y = k.layers.Embedding(9, 8)(x) + k.layers.Embedding(5, 8)(positions)
    return k.Model([x, positions], k.layers.Dense(2)(y)), 8


def embedding_shared(k):
    x, z = k.Input((5,), dtype="int32"), k.Input((5,), dtype="int32")
    embedding = k.layers.Embedding(9, 8)
    ends = [k.layers.Dense(2)(embedding(t)) for t in (x, z)]
    return k.Model([x, z], ends), 8


def embedding_as_an_output(k):
    x = k.Input((5,), dtype="int32")
    return k.Model(x, k.layers.Embedding(9, 8)(x)), 0


def embedding_of_filters(k):
    x = k.Input((4,))
    y = k.layers.Embedding(2, 8)(k.layers.Dense(3, activation="sigmoid")(x))
    return k.Model(x, k.layers.Dense(2)(y)), 8


EMBEDDINGS = [f for f in list(globals().values()) if getattr(f, "__name__", "")[:9] == "embedding"]


@pytest.mark.parametrize("network", EMBEDDINGS, ids=lambda f: f.__name__)
def test_shrunk_embedding_equals_masked(flavor, network, shrink_and_compare, randomize):
    model, prunable = network(flavor)
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == prunable, str(groups)
    if network is not embedding_of_filters:  # looks up one row only
        shrink_and_compare(model)


def test_embedding_loses_columns(flavor, masked):
    model, _ = embedding(flavor)
    masked(model)
    small = sft_keras.shrink(model).get_layer("embedding")
    assert small.input_dim == 9
    assert small.output_dim == small.get_weights()[0].shape[1] < 8
    assert np.all(small.get_weights()[0] != 0)
