"""ConvLSTM: filters go from every gate; only constants at a border keep those before."""

import inspect

import pytest

import sft_keras

F = 4


def _model(k, *layers, shape=(3, 5, 5, 2)):
    x = y = k.Input(shape)
    for layer in layers:
        y = layer(y)
    return k.Model(x, k.layers.Dense(2, name="logits")(k.layers.Flatten()(y)))


def conv_lstm_2d(k):
    return _model(k, k.layers.ConvLSTM2D(F, 2)), F


def conv_lstm_1d_and_3d(k):
    x, z = k.Input((3, 5, 2)), k.Input((2, 3, 3, 3, 1))
    y = k.layers.Flatten()(k.layers.ConvLSTM1D(F, 2, padding="same")(x))
    z_read = k.layers.Flatten()(k.layers.ConvLSTM3D(3, 2)(z))
    y = k.layers.Concatenate()([y, z_read])
    return k.Model([x, z], k.layers.Dense(2)(y)), F + 3


def stacked_with_strides(k):
    layers = [k.layers.ConvLSTM2D(F, 2, strides=2, padding="same", return_sequences=True)]
    return _model(k, *layers, k.layers.ConvLSTM2D(3, 3, padding="same", use_bias=False)), F + 3


def with_dropout(k):
    x = k.Input(batch_shape=(3, 3, 5, 5, 2))  # tf_keras keeps its noise, and with it the batch size
    y = k.layers.ConvLSTM2D(F, 2, dropout=0.2, recurrent_dropout=0.2)(x)
    return k.Model(x, k.layers.Dense(2)(k.layers.Flatten()(y))), F


def before_a_convolution(k):
    layers = [k.layers.ConvLSTM2D(F, 2), k.layers.Conv2D(3, 2), k.layers.BatchNormalization()]
    return _model(k, *layers), F + 3


def of_images_step_by_step(k):
    conv = k.layers.TimeDistributed(k.layers.Conv2D(3, 2, activation="relu"))
    return _model(k, conv, k.layers.ConvLSTM2D(F, 2, padding="same")), 3 + F


def constants_where_there_is_no_border(k):
    conv = k.layers.TimeDistributed(k.layers.Conv2D(3, 2, activation="sigmoid"))
    return _model(k, conv, k.layers.ConvLSTM2D(F, 2)), 3 + F


def constants_read_at_single_positions(k):
    conv = k.layers.TimeDistributed(k.layers.Conv2D(3, 2, activation="sigmoid"))
    return _model(k, conv, k.layers.ConvLSTM2D(F, 1, padding="same")), 3 + F


def constants_at_a_border(k):
    conv = k.layers.TimeDistributed(k.layers.Conv2D(3, 2, activation="sigmoid"), name="each")
    return _model(k, conv, k.layers.ConvLSTM2D(F, 2, padding="same", name="memory")), F


def states_from_another(k):
    x, z = k.Input((3, 4, 4, 2)), k.Input((2, 4, 4, 1))
    encoder = k.layers.ConvLSTM2D(F, 2, padding="same", return_state=True)
    decoder = k.layers.ConvLSTM2D(F, 3, padding="same")
    _, *states = encoder(x)
    y = k.layers.Flatten()(decoder(z, initial_state=states))
    return k.Model([x, z], k.layers.Dense(2)(y)), F


def one_filter(k):
    return _model(k, k.layers.ConvLSTM2D(1, 2)), 1


def stateful(k):
    x = k.Input(batch_shape=(3, 2, 4, 4, 2))
    y = k.layers.ConvLSTM2D(F, 2, stateful=True, return_sequences=True)(x)
    return k.Model(x, k.layers.Dense(2)(k.layers.Flatten()(y))), F


def both_directions(k):
    layer = k.layers.Bidirectional(k.layers.ConvLSTM2D(F, 2), merge_mode="sum")
    return _model(k, layer), F


NETWORKS = {
    name: function
    for name, function in list(globals().items())
    if inspect.isfunction(function) and function.__module__ == __name__ and name[0] != "_"
}


@pytest.mark.parametrize("name", NETWORKS)
def test_shrunk_conv_lstm_equals_masked(flavor, name, shrink_and_compare):
    model, prunable = NETWORKS[name](flavor)
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == prunable, str(groups)
    shrink_and_compare(model)


def test_constants_at_a_border_have_a_reason(flavor):
    model, _ = constants_at_a_border(flavor)
    reasons = {name: g.reason for g in sft_keras.channel_groups(model) for name in g.layers}
    assert reasons["memory"] == ""
    assert reasons["each"] == "emits a constant when pruned, which 'memory' cannot take up exactly"
