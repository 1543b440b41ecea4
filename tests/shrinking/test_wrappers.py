"""TimeDistributed and Bidirectional: what is inside is cut by its own rule."""

import inspect

import keras
import numpy as np
import pytest

import sft_keras

T, E, U = 4, 4, 5


def _end(k, y):
    return k.layers.Dense(2, name="logits")(y)


def _model(k, *layers, shape=(T, E)):
    x = y = k.Input(shape)
    for layer in layers:
        y = layer(y)
    return k.Model(x, _end(k, y))


def _each(k, layer, **kwargs):
    return k.layers.TimeDistributed(layer, **kwargs)


def _both(k, layer, *args, **kwargs):
    return k.layers.Bidirectional(layer, *args, **kwargs)


def each_dense(k):
    return _model(k, _each(k, k.layers.Dense(U, "relu")), _each(k, k.layers.Dense(3))), U + 3


def each_dense_of_constants(k):
    layers = [_each(k, k.layers.Dense(U, "sigmoid")), _each(k, k.layers.Dense(3, "sigmoid"))]
    return _model(k, *layers, k.layers.LSTM(4)), U + 3 + 4


def each_dense_of_a_fixed_batch(k):
    """Where tf_keras may repeat an output at masked steps, which is then no constant."""
    x = k.Input(batch_shape=(3, T, E))
    y = _each(k, k.layers.Dense(U, "relu"))(x)
    y = k.layers.LSTM(3)(_each(k, k.layers.Dense(4, "sigmoid"))(y))
    return k.Model(x, _end(k, y)), U + 3 + (0 if k.__name__ == "tf_keras" else 4)


def each_image(k):
    layers = [k.layers.Conv2D(U, 2, use_bias=False), k.layers.BatchNormalization()]
    layers += [k.layers.ReLU(), k.layers.MaxPooling2D(), k.layers.Flatten()]
    each = [_each(k, layer) for layer in layers]
    return _model(k, *each, k.layers.GRU(3), shape=(3, 5, 5, 2)), U + 3


def each_sequential(k):
    layers = [k.Input((5, 5, 2)), k.layers.Conv2D(U, 2), k.layers.ReLU()]
    layers += [k.layers.Conv2D(3, 2, activation="sigmoid"), k.layers.GlobalAveragePooling2D()]
    each = _each(k, k.Sequential(layers), name="each")
    return _model(k, each, k.layers.LSTM(4), shape=(3, 5, 5, 2)), U + 3 + 4


def each_functional_behind_filters(k):
    x = k.Input((6,))
    y = k.layers.Dense(U, "relu")(x)
    inner = k.Model(x, k.layers.Add()([y, k.layers.Dense(U)(x)]))
    return _model(k, _each(k, k.layers.Dense(6)), _each(k, inner)), 6 + U


def each_recurrent_layer(k):
    return _model(k, _each(k, k.layers.GRU(U)), k.layers.LSTM(3), shape=(3, T, E)), U + 3


def each_of_each(k):
    layer = _each(k, _each(k, k.layers.Dense(U, "relu")))
    return _model(k, layer, k.layers.Flatten(), shape=(2, T, E)), U


def each_depthwise(k):
    layers = [k.layers.Conv2D(U, 1), k.layers.DepthwiseConv2D(2, depth_multiplier=2)]
    each = [_each(k, layer) for layer in (*layers, k.layers.GlobalMaxPooling2D())]
    return _model(k, *each, shape=(2, 4, 4, 2)), U


def each_with_unknown_length(k):
    each = _each(k, k.layers.Dense(U, "relu"))
    return _model(k, each, k.layers.GRU(3), shape=(None, E)), U + 3


def each_step_differs(k):
    layers = [k.layers.Dense(U), k.layers.Permute((2, 1)), _each(k, k.layers.Dense(3))]
    return _model(k, *layers), 3


def each_layer_without_a_rule(k):
    return _model(k, k.layers.Dense(U), _each(k, k.layers.LayerNormalization())), 0


def each_masked(k):
    x = k.Input((T,), dtype="int32")
    y = k.layers.Embedding(7, E, mask_zero=True)(x)
    y = k.layers.LSTM(3)(_each(k, k.layers.Dense(U, "sigmoid"))(y))
    return k.Model(x, _end(k, y)), E + U + 3


def each_shared(k):
    x, z = k.Input((T, 3)), k.Input((2, 3))
    layer = _each(k, k.layers.Dense(U, "relu"))
    y = k.layers.Concatenate(axis=1)([layer(x), layer(z)])
    return k.Model([x, z], _end(k, y)), U


def each_shared_on_constants(k):
    x = k.Input((T, 3))
    layer = _each(k, k.layers.Dense(U, "relu"))
    read = [layer(k.layers.Dense(E, f)(x)) for f in ("sigmoid", "softplus")]
    return k.Model(x, _end(k, k.layers.Concatenate()(read))), U


def dense_used_for_steps_and_alone(k):
    x = k.Input((T, 3))
    y = k.layers.Dense(E, "sigmoid")(x)
    dense = k.layers.Dense(U, "relu")
    read = [_each(k, dense)(y), dense(k.layers.GRU(E, return_sequences=True)(x))]
    return k.Model(x, _end(k, k.layers.Concatenate()(read))), U


def both_side_by_side(k):
    layer = _both(k, k.layers.LSTM(U, return_sequences=True))
    return _model(k, layer, _both(k, k.layers.GRU(3))), U + 3


def both_added(k):
    return _model(k, _both(k, k.layers.LSTM(U, return_sequences=True), "sum")), U


def both_multiplied(k):
    return _model(k, _both(k, k.layers.GRU(U), "mul")), U


def both_averaged(k):
    return _model(k, _both(k, k.layers.SimpleRNN(U), "ave")), U


def both_apart(k):
    x = k.Input((T, E))
    a, b = _both(k, k.layers.LSTM(U, return_sequences=True), None)(x)
    y = k.layers.Concatenate()([k.layers.GRU(3)(a), k.layers.GRU(3)(b)])
    return k.Model(x, _end(k, y)), U + 6


def both_with_a_layer_of_its_own(k):
    back = k.layers.GRU(U, go_backwards=True, use_bias=False, reset_after=False, name="back")
    return _model(k, _both(k, k.layers.LSTM(U), backward_layer=back)), U


def both_with_the_first_backwards(k):
    back = k.layers.LSTM(U, go_backwards=True)
    return _model(k, _both(k, back, backward_layer=k.layers.LSTM(U))), U


def both_read_constants(k):
    layers = [k.layers.Dense(4, "sigmoid"), _both(k, k.layers.GRU(U))]
    return _model(k, *layers), 4 + U


def both_with_states(k):
    x, z = k.Input((T, E)), k.Input((3, E))
    _, *states = _both(k, k.layers.LSTM(U, return_state=True))(x)
    y = _both(k, k.layers.LSTM(U, return_sequences=True), "sum")(z, initial_state=states)
    return k.Model([x, z], _end(k, y)), U


def both_from_an_input(k):
    x, h = k.Input((T, E)), k.Input((U,))
    y = _both(k, k.layers.GRU(U))(x, initial_state=[h, k.layers.Dense(U, "relu")(h)])
    # The forward layer starts from an input, and holds the backward one.
    return k.Model([x, h], _end(k, y)), 0


def both_masked(k):
    x = k.Input((T,), dtype="int32")
    y = k.layers.Embedding(7, E, mask_zero=True)(x)
    y = _both(k, k.layers.LSTM(U, return_sequences=True))(y)
    return k.Model(x, _end(k, k.layers.GRU(3)(y))), E + U + 3


def both_over_cells(k):
    layer = k.layers.RNN([k.layers.LSTMCell(3), k.layers.GRUCell(U)])
    # Only the last cell's units are an output.
    return _model(k, _both(k, layer)), 2 * 3 + U


def both_in_a_nested_model(k):
    inner = k.Sequential([k.Input((T, E)), _both(k, k.layers.GRU(U))])
    return _model(k, inner), U


def both_as_an_output(k):
    x = k.Input((T, E))
    return k.Model(x, _both(k, k.layers.GRU(U))(k.layers.Dense(3)(x))), 3


def both_stateful(k):
    x = k.Input(batch_shape=(3, T, E))
    return k.Model(x, _end(k, _both(k, k.layers.LSTM(U, stateful=True))(x))), U


NETWORKS = {
    name: function
    for name, function in list(globals().items())
    if inspect.isfunction(function) and function.__module__ == __name__ and name[0] != "_"
}


@pytest.mark.parametrize("name", NETWORKS)
def test_shrunk_wrapper_equals_masked(flavor, name, shrink_and_compare):
    model, prunable = NETWORKS[name](flavor)
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == prunable, str(groups)
    shrink_and_compare(model)


def test_each_direction_has_a_name(flavor):
    layer = flavor.layers.RNN([flavor.layers.LSTMCell(3), flavor.layers.GRUCell(U)])
    model = _model(flavor, _both(flavor, layer, name="both"), shape=(T, E))
    names = [name for name, _ in sft_keras.channel_groups(model).producers]
    cells = ["both/forward/0", "both/forward/1", "both/backward/0", "both/backward/1"]
    assert names == [*cells, "logits"]


def test_the_layer_inside_goes_by_the_wrappers_name(flavor):
    inner = flavor.Sequential([flavor.Input((E,)), flavor.layers.Dense(U, name="fc")], name="seq")
    layers = [_each(flavor, flavor.layers.Dense(E), name="one"), _each(flavor, inner, name="two")]
    model = _model(flavor, *layers)
    names = [name for name, _ in sft_keras.channel_groups(model).producers]
    assert names == ["one", "two/fc", "logits"]


def test_directions_lose_units_in_pairs(flavor, randomize):
    model = _model(flavor, _both(flavor, flavor.layers.LSTM(U), name="both"))
    randomize(model)
    plan = sft_keras.Plan.of({"both/forward": [0, 3]})
    layer = sft_keras.shrink(model, plan).get_layer("both")
    assert layer.forward_layer.units == layer.backward_layer.units == U - 2
    assert layer.merge_mode == "concat"
    assert layer.backward_layer.go_backwards


def test_a_shrunk_wrapper_can_be_saved_and_keeps_its_names(flavor, masked, tmp_path):
    x = flavor.Input((T, E))
    y = _both(flavor, flavor.layers.LSTM(U, return_sequences=True, name="memory"), name="both")(x)
    y = _each(flavor, flavor.layers.Dense(4, name="fc"), name="each")(y)
    y = flavor.layers.RNN([flavor.layers.GRUCell(3), flavor.layers.LSTMCell(2)], name="stack")(y)
    model = flavor.Model(x, _end(flavor, y))
    masked(model)
    small = sft_keras.shrink(model)
    small.save(tmp_path / "small.keras")
    loaded = flavor.models.load_model(tmp_path / "small.keras")
    sample = np.random.default_rng(0).normal(size=(2, T, E)).astype("float32")
    a, b = (m.predict(sample, verbose=0) for m in (small, loaded))
    np.testing.assert_allclose(a, b, atol=1e-6)
    for old, new in ((model, small), (small, sft_keras.shrink(small))):
        pair = [m.get_layer("both") for m in (old, new)]
        assert pair[0].forward_layer.name == pair[1].forward_layer.name == "forward_memory"
        assert pair[0].backward_layer.name == pair[1].backward_layer.name == "backward_memory"
        assert new.get_layer("each").layer.name == "fc"


def test_an_unknown_layer_inside_a_wrapper_is_named(flavor, shrink_and_compare):
    layers = [flavor.layers.Dense(U), _each(flavor, flavor.layers.Softmax(name="soft"))]
    model = _model(flavor, *layers, _both(flavor, flavor.layers.GRU(3)))
    groups = sft_keras.channel_groups(model)
    assert "enters 'soft' (Softmax)" in str(groups)
    shrink_and_compare(model)


def test_keras_3_shapes_each_direction_by_the_forward_one():
    """What `flavors.directions_may_differ` rests on: with another width the shape is wrong."""
    back = keras.layers.LSTM(2, go_backwards=True)
    y = keras.layers.Bidirectional(keras.layers.LSTM(3), backward_layer=back)(keras.Input((T, E)))
    assert y.shape[-1] == 6


def _reason(model, layer):
    return {n: g.reason for g in sft_keras.channel_groups(model) for n in g.layers}[layer]


def test_directions_of_different_widths(flavor, shrink_and_compare):
    back = flavor.layers.GRU(3, go_backwards=True)
    layer = _both(flavor, flavor.layers.LSTM(U), backward_layer=back, name="both")
    model = _model(flavor, flavor.layers.Dense(4, name="before"), layer)
    groups = sft_keras.channel_groups(model)
    if flavor.__name__ == "tf_keras":
        assert groups.prunable.sum() == 4 + U + 3
        shrink_and_compare(model)
    else:  # where such a model cannot run
        assert not groups.prunable.any()
        assert "enters 'both' (Bidirectional), whose directions differ" in _reason(model, "before")


def test_a_direction_without_a_rule_is_named(flavor, shrink_and_compare):
    class Mine(flavor.layers.GRU):
        """A subclass, which may compute anything."""

    with flavor.utils.custom_object_scope({"Mine": Mine}):
        both = _both(flavor, Mine(3, name="mine"))
    model = _model(flavor, flavor.layers.Dense(4, name="before"), both)
    reason = "enters 'forward_mine' (Mine), which has no channel rule"
    assert _reason(model, "before") == reason
    assert not sft_keras.channel_groups(model).prunable.any()
    shrink_and_compare(model)
