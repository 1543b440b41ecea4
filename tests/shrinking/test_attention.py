"""Attention: heads, sizes of heads and outputs go; masked and shrunk model agree."""

import inspect

import keras
import numpy as np
import pytest

import sft_keras
from sft_keras import flavors
from sft_keras.channels.mask import apply_mask
from sft_keras.errors import ShrinkError

T, S, E = 5, 7, 6


def _mha(k, *args, **kwargs):
    return k.layers.MultiHeadAttention(*args, name="mha", **kwargs)


def _end(k, y):
    return k.layers.Dense(2, name="logits")(y)


def self_attention(k):
    x = k.Input((T, E))
    return k.Model(x, _end(k, _mha(k, 4, 3)(x, x))), 4 + 3 + 3 + E


def one_argument_by_name_without_bias(k):
    x = k.Input((T, E))
    y = _mha(k, 4, 3, value_dim=5, use_bias=False)(query=x, value=x, use_causal_mask=True)
    return k.Model(x, _end(k, y)), 4 + 3 + 5 + E


def query_key_and_value_of_their_own(k):
    q, v, m = k.Input((T, E)), k.Input((S, 4)), k.Input((S, 8))
    y = _mha(k, 3, 2)(q, v, key=m)
    return k.Model([q, v, m], _end(k, y)), 3 + 2 + 2 + E


def pruned_inputs(k):
    q, v, m = k.Input((T, E)), k.Input((S, 4)), k.Input((S, 8))
    dense = [k.layers.Dense(n, activation=f) for n, f in ((5, "relu"), (7, "tanh"), (6, "elu"))]
    y = _mha(k, 3, 2)(dense[0](q), key=dense[1](m), value=dense[2](v))
    return k.Model([q, v, m], _end(k, y)), 5 + 7 + 6 + 3 + 2 + 2 + 5


def inputs_that_emit_constants(k):
    x = k.Input((T, E))
    y = k.layers.Dense(5, activation="sigmoid")(x)
    return k.Model(x, _end(k, _mha(k, 3, 2)(y, y))), 5 + 3 + 2 + 2 + 5


def inputs_that_emit_constants_without_bias(k):
    x = k.Input((T, E))
    y = k.layers.Dense(5, activation="sigmoid")(x)
    return k.Model(x, _end(k, _mha(k, 3, 2, use_bias=False)(y, y))), 3 + 2 + 2 + 5


def masked_by_an_argument(k):
    x, mask = k.Input((T, E)), k.Input((T, T))
    y = _mha(k, 3, 2)(x, x, attention_mask=mask, use_causal_mask=True)
    return k.Model([x, mask], _end(k, y)), 3 + 2 + 2 + E


def masked_by_filters(k):
    x = k.Input((T, E))
    mask = k.layers.Dense(T, name="chooser")(x)
    y = _mha(k, 3, 2)(x, x, attention_mask=mask)
    return k.Model(x, _end(k, y)), 3 + 2 + 2 + E


def masked_by_an_embedding(k):
    x = k.Input((T,), dtype="int32")
    y = k.layers.Embedding(5, E, mask_zero=True)(x)
    return k.Model(x, _end(k, _mha(k, 3, 2)(y, y))), E + 3 + 2 + 2 + E


def scores_unused(k):
    x = k.Input((T, E))
    y, _ = _mha(k, 3, 2)(x, x, return_attention_scores=True)
    return k.Model(x, _end(k, y)), 3 + 2 + 2 + E


def scores_as_an_output(k):
    x = k.Input((T, E))
    y, scores = _mha(k, 3, 2)(x, x, return_attention_scores=True)
    return k.Model(x, [_end(k, y), scores]), 2 + 2 + E


def scores_read_by_a_dense(k):
    x = k.Input((T, E))
    y, scores = _mha(k, 3, 2)(x, x, return_attention_scores=True)
    scores = k.layers.Dense(4)(k.layers.Permute((2, 3, 1))(scores))
    return k.Model(x, [_end(k, y), k.layers.Dense(2)(scores)]), 2 + 2 + E + 4


def scores_behind_a_batch_norm(k):
    x = k.Input((T, E))
    y, scores = _mha(k, 3, 2)(x, x, return_attention_scores=True)
    scores = k.layers.BatchNormalization(axis=1)(scores)
    scores = k.layers.Dense(4)(k.layers.Permute((2, 3, 1))(scores))
    return k.Model(x, [_end(k, y), k.layers.Dense(2)(scores)]), 3 + 2 + 2 + E + 4


def over_two_axes(k):
    x = k.Input((3, 4, E))
    return k.Model(x, _end(k, _mha(k, 3, 2)(x, x))), 3 + 2 + 2 + E


def over_the_second_axis(k):
    x = k.Input((3, 4, E))
    y = _mha(k, 3, 2, attention_axes=(2,), output_shape=8)(x, x)
    return k.Model(x, _end(k, y)), 3 + 2 + 2 + 8


def two_output_axes(k):
    x = k.Input((T, E))
    return k.Model(x, _end(k, _mha(k, 3, 2, output_shape=(2, 4))(x, x))), 3 + 2 + 2 + 4


def one_head_of_size_one(k):
    x = k.Input((T, E))
    return k.Model(x, _end(k, _mha(k, 1, 1, output_shape=(1,))(x, x))), 1 + 1 + 1 + 1


def with_dropout(k):
    x = k.Input((T, E))
    return k.Model(x, _end(k, _mha(k, 3, 2, dropout=0.5)(x, x))), 3 + 2 + 2 + E


def tied_by_a_residual(k):
    x = k.Input((T, 3))
    y = k.layers.Dense(E)(x)
    y = k.layers.Add()([y, _mha(k, 3, 2)(y, y)])
    return k.Model(x, _end(k, y)), E + 3 + 2 + 2


def residual_of_the_input(k):
    x = k.Input((T, E))
    return k.Model(x, _end(k, k.layers.Add()([x, _mha(k, 3, 2)(x, x)]))), 3 + 2 + 2


def before_a_batch_norm(k):
    x = k.Input((T, E))
    return k.Model(x, _end(k, k.layers.BatchNormalization()(_mha(k, 3, 2)(x, x)))), 3 + 2 + 2 + E


def shared(k):
    x, z = k.Input((T, 3)), k.Input((T, 4))
    a, b = k.layers.Dense(E)(x), k.layers.Dense(E)(z)
    mha = _mha(k, 3, 2)
    return k.Model([x, z], [_end(k, mha(mha(a, a), b))]), E + 3 + 2 + 2


def unknown_length(k):
    x = k.Input((None, E))
    return k.Model(x, _end(k, _mha(k, 3, 2)(x, x))), 3 + 2 + 2 + E


def in_a_nested_model(k):
    inner = k.Input((T, 5))
    inner = k.Model(inner, _mha(k, 3, 2)(inner, inner), name="inner")
    x = k.Input((T, E))
    return k.Model(x, _end(k, inner(k.layers.Dense(5)(x)))), 5 + 3 + 2 + 2 + 5


def transformer(k):
    """A pre-norm block over an embedding of tokens and positions."""
    layers = k.layers
    tokens, positions = k.Input((T,), dtype="int32"), k.Input((T,), dtype="int32")
    x = layers.Embedding(9, E, name="tokens")(tokens)
    x = layers.Add(name="sum")([x, layers.Embedding(T, E, name="positions")(positions)])
    y = layers.LayerNormalization(name="norm")(x)
    x = layers.Add()([x, _mha(k, 3, 2, value_dim=4)(y, y)])
    y = layers.Dense(8, activation="gelu", name="ffn")(layers.LayerNormalization()(x))
    x = layers.Add()([x, layers.Dropout(0.1)(layers.Dense(E, name="back")(y))])
    y = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return k.Model([tokens, positions], _end(k, y)), 3 + 2 + 4 + 8


def transformer_without_norm(k):
    layers = k.layers
    tokens, positions = k.Input((T,), dtype="int32"), k.Input((T,), dtype="int32")
    x = layers.Embedding(9, E, mask_zero=True)(tokens)
    x = layers.Add()([x, layers.Embedding(T, E)(positions)])
    x = layers.Add()([x, _mha(k, 3, 2)(x, x, use_causal_mask=True)])
    x = layers.Add()([x, layers.Dense(E)(layers.Dense(8, activation="gelu")(x))])
    return k.Model([tokens, positions], _end(k, x)), E + 3 + 2 + 2 + 8


NETWORKS = {
    name: function
    for name, function in list(globals().items())
    if inspect.isfunction(function) and function.__module__ == __name__ and name[0] != "_"
}


@pytest.mark.parametrize("name", NETWORKS)
def test_shrunk_attention_equals_masked(flavor, name, shrink_and_compare):
    model, prunable = NETWORKS[name](flavor)
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == prunable, str(groups)
    shrink_and_compare(model)


GATES = {"gated": {"use_gate": True}, "windowed": {"sliding_window": 2}}


@pytest.mark.parametrize("name", GATES)
def test_options_of_keras_3_alone(name, shrink_and_compare):
    x = keras.Input((T, E))
    model = keras.Model(x, _end(keras, _mha(keras, 4, 3, value_dim=5, **GATES[name])(x, x)))
    assert sft_keras.channel_groups(model).prunable.sum() == 4 + 3 + 5 + E
    shrink_and_compare(model)


def _grouped(*args, **kwargs):
    return keras.layers.GroupQueryAttention(*args, name="gqa", **kwargs)


def grouped():
    x = keras.Input((T, E))
    return keras.Model(x, _end(keras, _grouped(4, 6, 3)(x, x))), 3 + 4


def grouped_with_options():
    q, v = keras.Input((T, E)), keras.Input((S, E))
    layer = _grouped(3, 4, 2, use_bias=False, use_gate=True, sliding_window=3, dropout=0.1)
    y = layer(q, value=v, key=v, use_causal_mask=True)
    return keras.Model([q, v], _end(keras, y)), 2 + 3


def grouped_multi_query():
    x = keras.Input((T, E))
    return keras.Model(x, _end(keras, _grouped(3, 4, 1)(x, x))), 1 + 3


def grouped_scores_as_an_output():
    x = keras.Input((T, E))
    y, scores = _grouped(3, 4, 2)(x, x, return_attention_scores=True)
    return keras.Model(x, [_end(keras, y), scores]), 3


def grouped_scores_unused():
    x = keras.Input((T, E))
    y, _ = _grouped(3, 4, 2)(x, x, return_attention_scores=True)
    return keras.Model(x, _end(keras, y)), 2 + 3


def grouped_in_a_residual_stream():
    x = keras.Input((T, 3))
    y = keras.layers.Dense(E, activation="relu")(x)
    y = y + _grouped(3, 4, 2)(y, y)
    return keras.Model(x, _end(keras, y)), E + 2 + 3


def grouped_behind_a_constant():
    x = keras.Input((T, 3))
    y = keras.layers.Dense(E, activation="sigmoid")(x)
    return keras.Model(x, _end(keras, _grouped(3, 4, 2)(y, y))), E + 2 + 3


def grouped_of_two_tensors():
    x, z = keras.Input((T, 3)), keras.Input((S, 3))
    dense = [keras.layers.Dense(n)(t) for n, t in ((E, x), (E, z), (8, z))]
    y = _grouped(3, 4, 2)(dense[0], dense[1], dense[2])
    return keras.Model([x, z], _end(keras, y)), E + 8 + 2 + 3


GROUPED = [f for name, f in list(globals().items()) if name.startswith("grouped")]


@pytest.mark.parametrize("network", GROUPED, ids=lambda f: f.__name__)
def test_shrunk_grouped_query_attention_equals_masked(network, shrink_and_compare):
    model, prunable = network()
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == prunable, str(groups)
    shrink_and_compare(model)


def _masked_alone(model, name, count, randomize):
    """Zeroes the first filters of one set; returns what is left of the model."""
    randomize(model)
    groups = sft_keras.channel_groups(model)
    mask = np.zeros(groups.count, bool)
    mask[dict(groups.producers)[name][:count]] = True
    apply_mask(groups, mask)
    return sft_keras.shrink(model).get_layer(name.partition("/")[0])


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("mha", {"num_heads": 2}),
        ("mha/key_dim", {"key_dim": 1}),
        ("mha/value_dim", {"value_dim": 3}),
        ("mha/output", {"output_shape": (4,)}),
    ],
)
def test_each_set_of_filters_is_cut_alone(flavor, part, changed, randomize):
    x = flavor.Input((T, E))
    model = flavor.Model(x, _end(flavor, _mha(flavor, 4, 3, value_dim=5)(x, x)))
    layer = _masked_alone(model, part, 2, randomize)
    expected = {"num_heads": 4, "key_dim": 3, "value_dim": 5, "output_shape": (E,), **changed}
    config = layer.get_config()
    assert {n: config[n] for n in expected if n != "output_shape"} == {
        n: value for n, value in expected.items() if n != "output_shape"
    }
    assert np.ravel(config["output_shape"]).tolist() == list(expected["output_shape"])


def test_query_takes_up_what_the_scale_gains(flavor, randomize):
    x = flavor.Input((T, E))
    model = flavor.Model(x, _end(flavor, _mha(flavor, 2, 4)(x, x)))
    layer = _masked_alone(model, "mha/key_dim", 3, randomize)
    before, after = (flavors.projections(m).query for m in (model.get_layer("mha"), layer))
    for name in ("kernel", "bias"):
        old, new = (flavors.to_numpy(getattr(x, name)) for x in (before, after))
        np.testing.assert_allclose(new, old[..., 3:] / 2, rtol=1e-6)  # √(1/4)


def test_heads_of_a_group_go_together(randomize):
    layer = _masked_alone(grouped()[0], "gqa", 1, randomize)
    assert (layer.num_query_heads, layer.num_key_value_heads, layer.head_dim) == (4, 2, 4)


def test_a_head_without_values_goes_whatever_it_attends_to(flavor, randomize):
    model, _ = self_attention(flavor)
    randomize(model)
    part = flavors.projections(model.get_layer("mha")).value
    for variable in (part.kernel, part.bias):
        value = flavors.to_numpy(variable).copy()
        value[..., 1, :] = 0
        variable.assign(value)
    assert sft_keras.shrink(model).get_layer("mha").get_config()["num_heads"] == 3


def test_reasons_can_be_read(flavor):
    model, _ = transformer(flavor)
    reasons = {name: g.reason for g in sft_keras.channel_groups(model) for name in g.layers}
    assert reasons["mha"] == reasons["mha/key_dim"] == reasons["ffn"] == ""
    stream = "enters 'norm' (LayerNormalization), which mixes channels: taking some away, "
    stream += "even zeros, changes its statistics"
    assert {reasons[x] for x in ("tokens", "positions", "mha/output", "back")} == {stream}
    model, _ = masked_by_filters(flavor)
    reasons = {name: g.reason for g in sft_keras.channel_groups(model) for name in g.layers}
    assert reasons["chooser"] == "is a mask of 'mha'"


@pytest.mark.parametrize("name", ["Attention", "AdditiveAttention"])
def test_attention_without_heads_is_frozen(flavor, name, shrink_and_compare):
    x = flavor.Input((T, E))
    y = flavor.layers.Dense(4)(flavor.layers.Dense(5)(x))
    y = getattr(flavor.layers, name)(name="a")([y, y])
    model = flavor.Model(x, _end(flavor, flavor.layers.Dense(3)(y)))
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == 5 + 3
    assert f"enters 'a' ({name}), which compares queries and keys" in str(groups)
    shrink_and_compare(model)


def test_constants_do_not_fit_attention_without_bias(flavor):
    groups = sft_keras.channel_groups(inputs_that_emit_constants_without_bias(flavor)[0])
    assert "emits a constant when pruned, which 'mha' cannot take up exactly" in str(groups)


def test_projection_with_lora_is_frozen():
    model, _ = pruned_inputs(keras)
    flavors.projections(model.get_layer("mha")).value.enable_lora(2)
    groups = sft_keras.channel_groups(model)
    assert not groups.prunable.any()
    assert "enters 'mha' (MultiHeadAttention), whose weights are quantized or have LoRA" in str(
        groups
    )


def test_a_shrunk_attention_is_saved_and_shrunk_again(flavor, shrink_and_compare, tmp_path):
    model, _ = pruned_inputs(flavor)
    small = shrink_and_compare(model)
    small.save(tmp_path / "small.keras")
    again = flavor.models.load_model(tmp_path / "small.keras")
    assert sft_keras.channel_groups(again).prunable.any()
    shrink_and_compare(again, seed=1)


def test_shrinks_in_mixed_precision(flavor, masked):
    flavor.mixed_precision.set_global_policy("mixed_float16")
    try:
        model, _ = transformer(flavor)
    finally:
        flavor.mixed_precision.set_global_policy("float32")
    masked(model)
    assert sft_keras.shrink(model).count_params() < model.count_params()


def test_the_users_own_penalty_and_mask_do_not_stay(flavor, randomize):
    x = flavor.Input((T, E))
    penalty, mask = sft_keras.regularizers.FilterL1(0.1), sft_keras.constraints.FilterMask([1] * 5)
    y = _mha(flavor, 4, 5, kernel_regularizer=penalty, kernel_constraint=mask)(x, x)
    layer = _masked_alone(flavor.Model(x, _end(flavor, y)), "mha/key_dim", 2, randomize)
    config = layer.get_config()
    assert config["kernel_regularizer"] is None
    assert config["kernel_constraint"] is None


def test_as_many_heads_of_one_number_as_steps_are_refused_where_keras_3_mixes_them_up(randomize):
    """Its `ops.add` takes a bias of shape (heads, 1) for one along the steps."""
    x, bias = np.zeros((1, 2, 2, 1), "float32"), np.array([[1.0], [2.0]], "float32")
    assert not np.array_equal(keras.ops.add(x, bias), x + bias), "mended: the refusal can go"
    inputs = keras.Input((2, E))
    model = randomize(keras.Model(inputs, _end(keras, _mha(keras, 3, 2)(inputs, inputs))))
    plan = sft_keras.Plan.of({"mha": [0], "mha/key_dim": [0]})
    with pytest.raises(ShrinkError, match="at layer 'mha'"):
        sft_keras.shrink(model, plan)
