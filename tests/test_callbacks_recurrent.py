"""SoftFilterPrune on recurrent networks: units are softened in every gate, and go for good."""

import keras
import numpy as np
import pytest

import sft_keras
from sft_keras import SoftFilterPrune, criteria, flavors, shrink
from sft_keras.channels.mask import owned, pruned_positions, read_mask
from sft_keras.regularizers import FilterL1
from sft_keras.schedules import Phases

T, E, U = 4, 3, 6


def _lstm(k):
    return [k.layers.LSTM(U, name="units")]


def _gru(k):
    return [k.layers.GRU(U, return_sequences=True), k.layers.GRU(4, reset_after=False)]


def _bidirectional(k):
    first = k.layers.Bidirectional(k.layers.LSTM(U, return_sequences=True), name="both")
    return [first, k.layers.BatchNormalization(), k.layers.SimpleRNN(4)]


def _cells_and_steps(k):
    each = k.layers.TimeDistributed(k.layers.Dense(5, activation="relu"))
    return [each, k.layers.RNN([k.layers.LSTMCell(U), k.layers.GRUCell(4)])]


def _data(count=48, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, T, E)).astype("float32")
    return x, (x.mean(axis=(1, 2)) > 0).astype("int32")


def _compiled(k, layers, eagerly=True):
    """A classifier; tracing takes longer than its few steps do."""
    out = k.layers.Dense(2, activation="softmax", name="out")
    model = k.Sequential([k.Input((T, E)), *layers, out])
    optimizer, loss = k.optimizers.Adam(0.01), "sparse_categorical_crossentropy"
    model.compile(optimizer, loss, metrics=["accuracy"], run_eagerly=eagerly)
    return model


@pytest.mark.parametrize("layers", [_lstm, _gru, _bidirectional, _cells_and_steps])
def test_recurrent_networks_are_pruned_and_shrunk(flavor, layers):
    model = _compiled(flavor, layers(flavor), eagerly=layers is not _lstm)
    (x, y), val = _data(), _data(32, seed=1)
    prune = SoftFilterPrune(phases=Phases(soft_share=0.6))
    history = model.fit(x, y, epochs=5, validation_data=val, verbose=0, callbacks=[prune]).history
    assert history["phase"] == [0, 1, 0, 2, 2]
    groups = sft_keras.channel_groups(model)
    mask = read_mask(groups)
    assert mask.sum() == history["pruned_filters"][-1] == groups.prunable.sum() // 2
    for part in owned(groups):
        value = np.moveaxis(flavors.to_numpy(part.variable), part.axis, 0)
        assert not value[pruned_positions(groups, part, mask)].any()
    small = shrink(model)
    assert small.count_params() < model.count_params()
    assert small.predict(x, verbose=0) == pytest.approx(model.predict(x, verbose=0), abs=1e-5)
    for name, value in small.evaluate(*val, verbose=0, return_dict=True).items():
        assert history[f"val_{name}"][-1] == pytest.approx(value, rel=1e-4)


def test_a_unit_is_ranked_by_the_weights_of_all_its_gates(flavor):
    model = _compiled(flavor, _lstm(flavor))
    groups = sft_keras.channel_groups(model)
    kernels = model.get_layer("units").get_weights()[:2]
    of_kernels = [np.abs(w).reshape(len(w), 4, U).mean(axis=(0, 1)) for w in kernels]
    expected = sum(scores / scores.mean() for scores in of_kernels)
    scores = criteria.scores(groups, criteria.l1, np.random.default_rng(0))
    assert scores[dict(groups.producers)["units"]] == pytest.approx(expected, rel=1e-5)


def test_validation_sees_what_the_shrunk_model_gives_in_every_epoch(flavor):
    model, (x, y), val = _compiled(flavor, _gru(flavor)), _data(), _data(32, seed=1)
    seen = []

    class Probe(flavor.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(shrink(self.model).evaluate(*val, verbose=0))

    prune = SoftFilterPrune(phases=Phases(soft_share=0.8))
    callbacks = [prune, Probe()]
    history = model.fit(x, y, epochs=4, validation_data=val, verbose=0, callbacks=callbacks).history
    assert history["val_loss"] == pytest.approx([loss for loss, _ in seen], rel=1e-4)


def test_soft_units_are_small_in_every_gate_but_not_zero(flavor):
    model, (x, y) = _compiled(flavor, _lstm(flavor)), _data()
    prune = SoftFilterPrune(schedule="constant", phases=Phases(prune_epochs=1, soft_share=0.9))
    norms = []

    class Probe(flavor.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 0 and prune.mask.any() and prune.phase == 1:
                kernels = self.model.get_layer("units").get_weights()[:2]
                units = dict(prune.groups.producers)["units"]
                pruned = np.tile(prune.mask[units], 4)
                norms.extend((np.abs(w[:, pruned]).mean(), np.abs(w).mean()) for w in kernels)

    model.fit(x, y, epochs=4, verbose=0, callbacks=[prune, Probe()])
    assert len(norms) == 2
    assert all(0 < soft < all_of_them for soft, all_of_them in norms)


@pytest.mark.parametrize("layers", [_lstm, _bidirectional, _cells_and_steps])
def test_penalty_reaches_the_kernels_of_every_cell(flavor, layers):
    model, (x, y) = _compiled(flavor, layers(flavor)), _data(16)
    losses = []

    class Probe(flavor.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            losses.append(len(self.model.losses))

    model.fit(x, y, epochs=1, verbose=0, callbacks=[SoftFilterPrune(), Probe()])
    kernels = [w for w in flavors.weights(model) if "kernel" in w.name]
    # One for each kernel but the output's, which cannot be pruned.
    assert losses == [len(kernels) - 1]
    assert model.losses == []


def test_a_users_penalty_on_a_recurrent_kernel_is_used_and_given_back(flavor):
    penalty = FilterL1(0.25)
    layer = flavor.layers.GRU(U, recurrent_regularizer=penalty)
    model, (x, y) = _compiled(flavor, [layer]), _data(16)
    seen = []

    class Probe(flavor.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((penalty.l1, len(self.model.losses)))

    model.fit(x, y, epochs=2, verbose=0, callbacks=[SoftFilterPrune(), Probe()])
    assert seen == [(0.25, 2), (0.0, 2)]
    assert penalty.l1 == 0.25
    assert "sft_keras" not in str([part.get_config() for part in shrink(model).layers])


def test_a_users_penalty_inside_a_wrapper_is_used_and_not_kept():
    penalty = FilterL1(0.125)
    layer = keras.layers.Bidirectional(keras.layers.GRU(U, kernel_regularizer=penalty))
    model, (x, y) = _compiled(keras, [layer]), _data(16)
    inside = layer.backward_layer.kernel_regularizer  # Bidirectional makes its layers anew
    seen = []

    class Probe(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append((inside.l1, len(self.model.losses)))

    model.fit(x, y, epochs=2, verbose=0, callbacks=[SoftFilterPrune(), Probe()])
    assert seen == [(0.125, 4), (0.0, 4)]
    assert inside.l1 == 0.125
    assert "sft_keras" not in str([part.get_config() for part in shrink(model).layers])
