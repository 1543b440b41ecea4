"""Recurrent layers: units go from every gate; masked and shrunk model agree, states included."""

import inspect

import numpy as np
import pytest

import sft_keras
from sft_keras import flavors
from sft_keras.channels.mask import apply_mask, read_mask
from sft_keras.shrinking.cut import Cuts

T, E, U = 4, 4, 6


def _end(k, y):
    return k.layers.Dense(2, name="logits")(y)


def _model(k, *layers, shape=(T, E)):
    x = y = k.Input(shape)
    for layer in layers:
        y = layer(y)
    return k.Model(x, _end(k, y))


def simple_rnn(k):
    return _model(k, k.layers.SimpleRNN(U)), U


def lstm(k):
    return _model(k, k.layers.LSTM(U)), U


def gru(k):
    return _model(k, k.layers.GRU(U)), U


def gru_with_reset_before(k):
    return _model(k, k.layers.GRU(U, reset_after=False)), U


def one_unit(k):
    return _model(k, k.layers.LSTM(1, return_sequences=True), k.layers.GRU(1)), 2


def stacked(k):
    layers = [k.layers.LSTM(U, return_sequences=True), k.layers.GRU(5, return_sequences=True)]
    return _model(k, *layers, k.layers.SimpleRNN(4)), U + 5 + 4


def without_bias(k):
    layers = [k.layers.GRU(U, use_bias=False, return_sequences=True)]
    layers += [k.layers.SimpleRNN(4, use_bias=False, return_sequences=True)]
    return _model(k, *layers, k.layers.LSTM(5, use_bias=False)), U + 4 + 5


def backwards_unrolled(k):
    return _model(k, k.layers.LSTM(U, go_backwards=True, unroll=True)), U


def with_dropout(k):
    layers = [k.layers.GRU(U, dropout=0.3, recurrent_dropout=0.3, return_sequences=True)]
    return _model(k, *layers, k.layers.LSTM(5, dropout=0.3, recurrent_dropout=0.2)), U + 5


def other_activations(k):
    layers = [k.layers.LSTM(U, activation="relu", return_sequences=True)]
    layers += [k.layers.GRU(5, activation="softsign", recurrent_activation="hard_sigmoid")]
    return _model(k, *layers), U + 5


def unknown_length(k):
    return _model(k, k.layers.LSTM(U, return_sequences=True), k.layers.GRU(5), shape=(None, E)), 11


def reads_constants(k):
    """A pruned sigmoid emits 0.5, which goes into the bias of the input's kernel."""
    x = k.Input((T, E))
    y = k.layers.Dense(5, activation="sigmoid")(x)
    kinds = [k.layers.LSTM, k.layers.GRU, k.layers.SimpleRNN]
    y = k.layers.Concatenate()([kind(3)(y) for kind in kinds])
    return k.Model(x, _end(k, y)), 5 + 9


def reads_constants_with_reset_before(k):
    return _model(k, k.layers.Dense(5, "sigmoid"), k.layers.GRU(3, reset_after=False)), 5 + 3


def reads_constants_without_bias(k):
    return _model(k, k.layers.Dense(5, "sigmoid"), k.layers.GRU(3, use_bias=False)), 3


def behind_a_convolution(k):
    layers = k.layers
    conv = [layers.Conv1D(5, 2, use_bias=False), layers.BatchNormalization(), layers.ReLU()]
    return _model(k, *conv, layers.GRU(U)), 5 + U


def before_a_batch_norm(k):
    layers = k.layers
    parts = [layers.LSTM(U, return_sequences=True), layers.BatchNormalization(), layers.ReLU()]
    return _model(k, *parts, layers.Conv1D(3, 2), layers.Flatten()), U + 3


def behind_a_layer_norm(k):
    return _model(k, k.layers.LSTM(U, return_sequences=True), k.layers.LayerNormalization()), 0


def states_as_outputs(k):
    x = k.Input((T, E))
    y, h, c = k.layers.LSTM(U, return_state=True)(x)
    return k.Model(x, [_end(k, y), h, c]), 0


def states_unused(k):
    x = k.Input((T, E))
    y, _ = k.layers.GRU(U, return_sequences=True, return_state=True)(x)
    return k.Model(x, _end(k, y)), U


def states_read(k):
    x = k.Input((T, E))
    y, h, c = k.layers.LSTM(U, return_state=True)(x)
    y = k.layers.Concatenate()([h, k.layers.Multiply()([c, y])])
    return k.Model(x, _end(k, y)), U


def encoder_and_decoder(k):
    x, z = k.Input((T, E)), k.Input((None, 3))
    _, *states = k.layers.LSTM(U, return_state=True, name="encoder")(x)
    y = k.layers.LSTM(U, return_sequences=True, name="decoder")(z, initial_state=states)
    return k.Model([x, z], _end(k, y)), U


def encoder_and_decoder_of_gru(k):
    x, z = k.Input((T, E)), k.Input((T, 3))
    _, state = k.layers.GRU(U, return_state=True)(x)
    y = k.layers.GRU(U)(z, initial_state=state)
    return k.Model([x, z], _end(k, y)), U


def state_from_a_dense(k):
    x, z = k.Input((T, E)), k.Input((3,))
    state = k.layers.Dense(U, activation="tanh")(z)
    return k.Model([x, z], _end(k, k.layers.SimpleRNN(U)(x, initial_state=[state]))), U


def state_that_is_a_constant(k):
    x, z = k.Input((T, E)), k.Input((3,))
    state = k.layers.Dense(U, activation="sigmoid", name="start")(z)
    return k.Model([x, z], _end(k, k.layers.GRU(U)(x, initial_state=state))), 0


def state_from_an_input(k):
    x, z = k.Input((T, E)), k.Input((U,))
    return k.Model([x, z], _end(k, k.layers.GRU(U, name="gru")(x, initial_state=z))), 0


def cell_state_from_an_input(k):
    x, h, c = k.Input((T, E)), k.Input((3,)), k.Input((U,))
    states = [k.layers.Dense(U)(h), c]
    return k.Model([x, h, c], _end(k, k.layers.LSTM(U)(x, initial_state=states))), 0


def state_from_an_array(k):
    x = k.Input(batch_shape=(3, T, E))
    state = flavors.to_tensor(np.ones((3, U), "float32"), k.layers.Layer())
    return k.Model(x, _end(k, k.layers.SimpleRNN(U)(x, initial_state=[state]))), 0


def masked_by_an_embedding(k):
    x = k.Input((T,), dtype="int32")
    y = k.layers.Embedding(7, E, mask_zero=True)(x)
    y = k.layers.LSTM(U, return_sequences=True)(k.layers.Dense(5, "sigmoid")(y))
    return k.Model(x, _end(k, k.layers.GRU(4)(y))), E + 5 + U + 4


def masked_by_an_argument(k):
    x, mask = k.Input((T, E)), k.Input((T,), dtype="bool")
    return k.Model([x, mask], _end(k, k.layers.GRU(U)(x, mask=mask))), U


def masking_of_the_input(k):
    return _model(k, k.layers.Masking(), k.layers.LSTM(U)), U


def masking_of_zeros(k):
    return _model(k, k.layers.Dense(5, "relu"), k.layers.Masking(), k.layers.LSTM(U)), 5 + U


def masking_of_another_value(k):
    return _model(k, k.layers.Dense(5, "relu"), k.layers.Masking(1.0), k.layers.LSTM(U)), U


def masking_of_constants(k):
    return _model(k, k.layers.Dense(5, "sigmoid"), k.layers.Masking(), k.layers.LSTM(U)), U


def masking_of_the_constant(k):
    return _model(k, k.layers.Dense(5, "sigmoid"), k.layers.Masking(0.5), k.layers.LSTM(U)), U


def shared(k):
    x, z = k.Input((T, E)), k.Input((3, E))
    layer = k.layers.LSTM(U)
    return k.Model([x, z], _end(k, k.layers.Concatenate()([layer(x), layer(z)]))), U


def shared_on_different_filters(k):
    x = k.Input((T, E))
    layer = k.layers.GRU(U)
    read = [layer(k.layers.Dense(5)(x)), layer(k.layers.Dense(5)(x))]
    return k.Model(x, _end(k, k.layers.Concatenate()(read))), 5 + U


def shared_on_the_input_too(k):
    x = k.Input((T, E))
    layer = k.layers.GRU(E, return_sequences=True)
    return k.Model(x, _end(k, layer(layer(x)))), 0


def in_a_nested_model(k):
    inner = k.Input((T, 5))
    inner = k.Model(inner, k.layers.LSTM(U, return_sequences=True)(inner), name="inner")
    return _model(k, k.layers.Dense(5), inner, k.layers.GRU(3)), 5 + U + 3


def tied_by_a_residual(k):
    x = k.Input((T, E))
    y = k.layers.LSTM(U, return_sequences=True)(x)
    y = k.layers.Add()([y, k.layers.GRU(U, return_sequences=True)(y), k.layers.Dense(U)(x)])
    return k.Model(x, _end(k, y)), U


def residual_of_the_input(k):
    x = k.Input((T, E))
    y = k.layers.Add()([x, k.layers.GRU(E, return_sequences=True, name="gru")(x)])
    return k.Model(x, _end(k, y)), 0


def activation_that_is_not_zero_at_zero(k):
    layers = [k.layers.Dense(5), k.layers.SimpleRNN(U, activation="sigmoid", name="rnn")]
    return _model(k, *layers), 5


def activation_that_mixes_units(k):
    layers = [k.layers.GRU(U, activation="softmax", return_sequences=True)]
    return _model(k, *layers, k.layers.LSTM(U, recurrent_activation="softmax")), 0


def over_a_cell(k):
    return _model(k, k.layers.RNN(k.layers.LSTMCell(U))), U


def over_other_cells(k):
    parts = [k.layers.RNN(k.layers.GRUCell(U, reset_after=False), return_sequences=True)]
    return _model(k, *parts, k.layers.RNN(k.layers.SimpleRNNCell(4, use_bias=False))), U + 4


def over_a_stack(k):
    cells = [k.layers.LSTMCell(U), k.layers.GRUCell(5), k.layers.SimpleRNNCell(4)]
    return _model(k, k.layers.Dense(3, "sigmoid"), k.layers.RNN(cells)), 3 + U + 5 + 4


def over_a_stack_of_one(k):
    cells = k.layers.StackedRNNCells([k.layers.LSTMCell(U)])
    return _model(k, k.layers.RNN(cells, return_sequences=True), k.layers.LSTM(3)), U + 3


def over_a_stack_with_states(k):
    x = k.Input((T, E))
    cells = [k.layers.LSTMCell(U), k.layers.LSTMCell(5)]
    y, *states = _flat(k.layers.RNN(cells, return_state=True)(x))
    return k.Model(x, _end(k, k.layers.Concatenate()([y, *states[:2]]))), U + 5


def _flat(value):
    return [x for v in value for x in _flat(v)] if isinstance(value, list | tuple) else [value]


def stateful(k):
    x = k.Input(batch_shape=(3, T, E))
    y = k.layers.LSTM(U, stateful=True, return_sequences=True)(x)
    y = k.layers.RNN([k.layers.GRUCell(5), k.layers.LSTMCell(4)], stateful=True)(y)
    return k.Model(x, _end(k, y)), U + 5 + 4


NETWORKS = {
    name: function
    for name, function in list(globals().items())
    if inspect.isfunction(function) and function.__module__ == __name__ and name[0] != "_"
}


@pytest.mark.parametrize("name", NETWORKS)
def test_shrunk_recurrent_layer_equals_masked(flavor, name, shrink_and_compare):
    model, prunable = NETWORKS[name](flavor)
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == prunable, str(groups)
    shrink_and_compare(model)


KINDS = {
    "simple": lambda k: k.layers.SimpleRNN(U, return_sequences=True, name="rnn"),
    "lstm": lambda k: k.layers.LSTM(U, return_sequences=True, name="rnn"),
    "gru": lambda k: k.layers.GRU(U, return_sequences=True, name="rnn"),
    "gru_before": lambda k: k.layers.GRU(U, reset_after=False, return_sequences=True, name="rnn"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_pruned_unit_stays_exactly_zero(flavor, kind, masked):
    model = _model(flavor, KINDS[kind](flavor))
    mask = masked(model)
    pruned = mask[dict(sft_keras.channel_groups(model).producers)["rnn"]]
    x = np.random.default_rng(0).normal(size=(2, T, E)).astype("float32")
    _, states, _ = flavors.with_all_outputs(model)(x)
    is_zero = (flavors.to_numpy(states) == 0).all(axis=(0, 1))
    assert pruned.any()
    assert is_zero.tolist() == pruned.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_a_pruned_unit_goes_from_kernels_and_biases(flavor, kind, masked):
    model = _model(flavor, KINDS[kind](flavor))
    left = U - masked(model)[:U].sum()
    small = sft_keras.shrink(model).get_layer("rnn")
    shapes = [w.shape for w in model.get_layer("rnn").get_weights()]
    expected = [tuple({U: left}.get(n, n if n < U else n // U * left) for n in s) for s in shapes]
    assert [w.shape for w in small.get_weights()] == expected
    assert small.units == left


def test_skipped_steps_stay_skipped(flavor, masked):
    """A step of zeros is one behind a convolution without bias too."""
    layers = flavor.layers
    conv = layers.Conv1D(U, 1, use_bias=False, activation="relu", name="conv")
    model = _model(flavor, conv, layers.Masking(), layers.LSTM(U, return_sequences=True))
    mask = masked(model)
    assert 0 < mask[:U].sum() < U
    small = sft_keras.shrink(model)
    x = np.abs(np.random.default_rng(0).normal(size=(2, T, E))).astype("float32")
    x[:, -2:] = 0
    a, b = (m.predict(x, verbose=0) for m in (model, small))
    np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_array_equal(b[:, -2:], np.repeat(b[:, -3:-2], 2, axis=1))


def test_padded_tokens_stay_skipped(flavor, shrink_and_compare):
    model, _ = masked_by_an_embedding(flavor)
    small = shrink_and_compare(model)
    tokens = np.array([[1, 2, 3, 0], [4, 0, 0, 0], [0, 5, 0, 6]])
    a, b = (m.predict(tokens, verbose=0) for m in (model, small))
    np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize(
    ("network", "layer", "reason"),
    [
        (state_from_an_input, "gru", "has an initial state in 'gru' that cannot go"),
        (states_as_outputs, "lstm", "is a model output"),
        (
            state_that_is_a_constant,
            "start",
            "is an initial state of 'gru', not zero when pruned",
        ),
        (
            activation_that_is_not_zero_at_zero,
            "rnn",
            "has a state other than zero when pruned, as activation 'sigmoid' of 'rnn' is not zero "
            "at zero",
        ),
        (
            activation_that_mixes_units,
            "gru",
            "passes 'gru', whose activation 'softmax' is not element-wise",
        ),
        (residual_of_the_input, "gru", "is merged by 'add' with channels that cannot go"),
        (
            masking_of_constants,
            "dense",
            "decides which steps 'masking' (Masking) masks",
        ),
        (
            reads_constants_without_bias,
            "dense",
            "emits a constant when pruned, which 'gru' cannot take up exactly",
        ),
    ],
)
def test_reasons_can_be_read(flavor, network, layer, reason):
    groups = sft_keras.channel_groups(network(flavor)[0])
    reasons = {name: group.reason for group in groups for name in group.layers}
    assert reasons[layer] == reason


def test_stacked_cells_are_told_apart_by_name(flavor):
    model, _ = over_a_stack(flavor)
    names = [name for name, _ in sft_keras.channel_groups(model).producers]
    assert names == ["dense", "rnn/0", "rnn/1", "rnn/2", "logits"]


def _custom_cell(k):
    class Minimal(k.layers.Layer):
        """The cell of Keras' own documentation."""

        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.units = self.state_size = self.output_size = units

        def build(self, shape):
            self.kernel = self.add_weight(shape=(shape[-1], self.units), name="kernel")
            self.built = True

        def call(self, inputs, states):
            output = states[0] + inputs @ self.kernel
            return output, [output]

        def get_config(self):
            return {**super().get_config(), "units": self.units}

    return Minimal(3, name="minimal")


def test_unknown_cells_are_frozen_by_name(flavor, shrink_and_compare):
    cells = [flavor.layers.LSTMCell(U), _custom_cell(flavor)]
    x = flavor.Input((T, E))
    y = flavor.layers.RNN(cells, name="stack")(flavor.layers.Dense(5, name="before")(x))
    y = flavor.layers.Dense(4)(y)
    model = flavor.Model(x, _end(flavor, y))
    groups = sft_keras.channel_groups(model)
    reason = "enters 'stack' (RNN), whose cell 'minimal' (Minimal) has no channel rule"
    assert {n: g.reason for g in groups for n in g.layers}["before"] == reason
    assert groups.prunable.sum() == 4
    shrink_and_compare(model)


def test_a_users_own_activation_is_frozen_by_name(flavor, shrink_and_compare):
    def twice(x):
        return 2 * x

    layer = flavor.layers.GRU(U, activation=twice, name="gru")
    model = _model(flavor, flavor.layers.Dense(5), layer)
    groups = sft_keras.channel_groups(model)
    assert "passes 'gru', whose activation 'twice' is not element-wise" in str(groups)
    assert groups.prunable.sum() == 5
    shrink_and_compare(model)


def test_constants_go_into_the_bias_of_the_input(flavor, randomize):
    model = _model(flavor, flavor.layers.Dense(5, "sigmoid"), flavor.layers.GRU(3, name="gru"))
    randomize(model)
    groups = sft_keras.channel_groups(model)
    mask = np.zeros(groups.count, bool)
    mask[:2] = True
    apply_mask(groups, mask)
    kernel, _, bias = model.get_layer("gru").get_weights()
    *_, new = sft_keras.shrink(model).get_layer("gru").get_weights()
    np.testing.assert_allclose(new[0], bias[0] + 0.5 * kernel[:2].sum(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(new[1], bias[1])


def test_states_are_carried_over_and_left_as_they_were(flavor, masked):
    model, _ = stateful(flavor)
    x = np.random.default_rng(0).normal(size=(3, T, E)).astype("float32")
    mask = masked(model)
    model.predict(x, verbose=0)
    before = [flavors.to_numpy(v).copy() for v in flavors.states(model)]
    small = sft_keras.shrink(model)
    assert mask.any()
    assert all(map(np.array_equal, before, map(flavors.to_numpy, flavors.states(model))))
    assert any(value.any() for value in before)
    for _ in range(2):
        a, b = (m.predict(x, verbose=0) for m in (model, small))
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_a_unit_whose_state_is_not_zero_is_not_pruned(flavor, masked):
    model, _ = stateful(flavor)
    masked(model)
    groups = sft_keras.channel_groups(model)
    state = flavors.states(model)[0]
    state.assign(np.ones(state.shape, "float32"))
    pruned = read_mask(groups)
    assert not pruned[dict(groups.producers)["lstm"]].any()
    assert pruned.any()


def test_next_steps_are_the_same(flavor, randomize):
    layers = flavor.layers
    first = layers.GRU(U, return_sequences=True, name="gru")
    model = _model(flavor, first, layers.Bidirectional(layers.LSTM(3), name="both"))
    model.compile(flavor.optimizers.Adam(1e-2), "mse", run_eagerly=True)
    randomize(model)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, T, E)).astype("float32"), rng.normal(size=(8, 2)).astype("float32")
    model.train_on_batch(x, y)
    groups = sft_keras.channel_groups(model)
    mask = np.zeros(groups.count, bool)
    for name, classes in groups.producers[:3]:
        mask[classes[::2]] = name != "logits"
    apply_mask(groups, mask)
    small = sft_keras.shrink(model)
    assert int(small.optimizer.iterations) == 1
    for _ in range(2):
        losses = [m.train_on_batch(x, y, return_dict=True)["loss"] for m in (model, small)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        apply_mask(groups, mask)  # as FilterMask does in every step
    cuts = Cuts(groups, mask)
    for old, new in zip(flavors.weights(model), flavors.weights(small), strict=True):
        np.testing.assert_allclose(cuts.value(old), flavors.to_numpy(new), rtol=2e-3, atol=2e-4)
