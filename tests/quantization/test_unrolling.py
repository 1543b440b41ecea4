"""Recurrent layers step by step: equal outputs, plain layers only."""

import pytest
import tf_keras
from tf_keras import layers

from sft_keras import flavors
from sft_keras.quantization.passes import unroll_recurrent, unroll_unfused
from sft_keras.shrinking import proof


@pytest.fixture(autouse=True)
def _fresh_names():
    tf_keras.backend.clear_session()


def difference(model, other):
    inputs = proof.random_inputs(model, seed=3)
    return proof.relative_difference(proof.outputs(model, inputs), proof.outputs(other, inputs))


def is_plain(model):
    return not any(hasattr(x, "cell") or hasattr(x, "forward_layer") for x in model.layers)


def sequences(*stack, shape=(5, 3)):
    x = y = tf_keras.Input(shape)
    for layer in stack:
        y = layer(y)
    return tf_keras.Model(x, y)


LAYERS = {
    "SimpleRNN": lambda **kw: layers.SimpleRNN(4, **kw),
    "SimpleRNN relu": lambda **kw: layers.SimpleRNN(4, "relu", use_bias=False, **kw),
    "LSTM": lambda **kw: layers.LSTM(4, **kw),
    "LSTM without bias": lambda **kw: layers.LSTM(4, use_bias=False, **kw),
    "GRU": lambda **kw: layers.GRU(4, **kw),
    "GRU without bias": lambda **kw: layers.GRU(4, use_bias=False, **kw),
    "GRU, reset before": lambda **kw: layers.GRU(4, reset_after=False, **kw),
    "cells": lambda **kw: layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)], **kw),
    "one cell": lambda **kw: layers.RNN(layers.GRUCell(4), **kw),
}
ARGUMENTS = {
    "last": {},
    "sequences": {"return_sequences": True},
    "backwards": {"return_sequences": True, "go_backwards": True},
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_unrolled_layer_keeps_its_outputs_and_name(make, arguments, randomize):
    model = randomize(sequences(make(name="rnn", **arguments)))
    plain = unroll_recurrent(model)
    assert is_plain(plain)
    assert difference(model, plain) <= 1e-5
    assert plain.output_names == ["rnn"]


@pytest.mark.parametrize("mode", ["concat", "sum", "mul", "ave"])
@pytest.mark.parametrize("sequence", [False, True])
def test_both_directions(mode, sequence, randomize):
    inner = layers.GRU(3, return_sequences=sequence)
    model = randomize(sequences(layers.Bidirectional(inner, merge_mode=mode)))
    plain = unroll_recurrent(model)
    assert is_plain(plain)
    assert difference(model, plain) <= 1e-5


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_encoder_decoder(kind, randomize):
    x = tf_keras.Input((4, 3))
    make = getattr(layers, kind)
    y, *states = make(3, return_state=True)(x)
    model = randomize(tf_keras.Model(x, [make(3)(x, initial_state=states), y, *states]))
    plain = unroll_recurrent(model)
    assert is_plain(plain)
    assert difference(model, plain) <= 1e-5


def test_both_directions_with_states(randomize):
    x = tf_keras.Input((4, 3))
    y, *states = layers.Bidirectional(layers.LSTM(2, return_state=True))(x)
    z = layers.Bidirectional(layers.LSTM(2, return_sequences=True))(x, initial_state=states)
    model = randomize(tf_keras.Model(x, [y, z, *states]))
    plain = unroll_recurrent(model)
    assert is_plain(plain)
    assert difference(model, plain) <= 1e-5


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("sequence", [False, True])
def test_convolutional_lstm(rank, sequence, randomize):
    kind = getattr(layers, f"ConvLSTM{rank}D")
    layer = kind(2, 3, strides=2, return_sequences=sequence, recurrent_activation="sigmoid")
    model = randomize(sequences(layer, shape=(3, *[7] * rank, 2)))
    plain = unroll_recurrent(model)
    assert is_plain(plain)
    assert difference(model, plain) <= 1e-5


def test_shared_layer_has_one_set_of_weights(randomize):
    one, other = tf_keras.Input((4, 3)), tf_keras.Input((4, 3))
    shared = layers.GRU(3)
    model = randomize(tf_keras.Model([one, other], layers.Add()([shared(one), shared(other)])))
    plain = unroll_recurrent(model)
    assert difference(model, plain) <= 1e-5
    assert plain.count_params() == model.count_params() - 2 * 3  # two gates' biases are one


def test_one_step(randomize):
    model = randomize(sequences(layers.LSTM(3, return_sequences=True), shape=(1, 2)))
    plain = unroll_recurrent(model)
    assert is_plain(plain)
    assert difference(model, plain) <= 1e-5


STAYS = {
    "masked": lambda: [layers.Masking(), layers.GRU(3)],
    "stateful": lambda: [layers.GRU(3, stateful=True)],
    "apart": lambda: [layers.Bidirectional(layers.GRU(3), merge_mode=None)],
}


@pytest.mark.parametrize("stack", STAYS.values(), ids=STAYS)
def test_what_depends_on_more_than_the_sequence_stays(stack):
    x = tf_keras.Input((5, 3), batch_size=1)
    y = x
    for layer in stack():
        y = layer(y)
    model = unroll_recurrent(tf_keras.Model(x, y))
    assert not is_plain(model)


def test_too_long_a_sequence_stays():
    assert not is_plain(unroll_recurrent(sequences(layers.GRU(3), shape=(257, 3))))


def test_lstm_with_an_operator_of_its_own_stays(randomize):
    fused = randomize(sequences(layers.LSTM(3, return_sequences=True), layers.LSTM(2)))
    kinds = [type(call.layer).__name__ for call in flavors.calls(unroll_unfused(fused))]
    assert kinds == ["InputLayer", "LSTM", "LSTM"]
    tanh = randomize(
        sequences(layers.LSTM(3, recurrent_activation="hard_sigmoid"), layers.Dense(2))
    )
    assert is_plain(unroll_unfused(tanh))
