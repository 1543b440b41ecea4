import importlib

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers, ops

import sft_keras
from sft_keras import flavors
from sft_keras.errors import UnsupportedError
from sft_keras.quantization import problems, to_tf_keras
from sft_keras.shrinking import proof


def same(model, port):
    inputs = proof.random_inputs(model, seed=7)
    return proof.relative_difference(proof.outputs(model, inputs), proof.outputs(port, inputs))


def on_images(*stack, shape=(8, 8, 3)):
    return keras.Sequential([keras.Input(shape), *stack])


LAYERS = {
    "conv": lambda: layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
    "dilated": lambda: layers.Conv2D(4, 3, dilation_rate=2),
    "grouped": lambda: layers.Conv2D(6, 3, groups=3),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
    "separable": lambda: layers.SeparableConv2D(4, 3, activation="swish"),
    "transposed": lambda: layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
    "dense": lambda: layers.Dense(5, activation="softmax"),
    "batch norm": lambda: layers.BatchNormalization(epsilon=0.1),
    "batch norm, no scale": lambda: layers.BatchNormalization(scale=False, center=False),
    "leaky": lambda: layers.LeakyReLU(negative_slope=0.2),
    "relu6": lambda: layers.ReLU(6.0),
    "activation": lambda: layers.Activation("leaky_relu"),
    "average pooling": lambda: layers.AveragePooling2D(2, padding="same"),
    "global pooling": lambda: layers.GlobalAveragePooling2D(keepdims=True),
    "padding": lambda: layers.ZeroPadding2D(((1, 0), (2, 3))),
    "cropping": lambda: layers.Cropping2D(1),
    "up sampling": lambda: layers.UpSampling2D(2, interpolation="bilinear"),
    "reshape": lambda: layers.Reshape((-1, 6)),
    "permute": lambda: layers.Permute((2, 3, 1)),
    "dropout": lambda: layers.Dropout(0.5, seed=1),
    "rescaling": lambda: layers.Rescaling([1.0, 2.0, 3.0], offset=-1.0),
    "normalization": lambda: layers.Normalization(mean=[1.0, 2, 3], variance=[4.0, 5, 6]),
    "layer norm": lambda: layers.LayerNormalization(),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_layer_keeps_its_outputs_and_name(make, randomize):
    model = randomize(on_images(make()))
    port = to_tf_keras(model)
    assert flavors.is_tf_keras(port)
    assert same(model, port) <= 1e-5
    assert port.layers[1].name == model.layers[0].name


IMAGE, VOLUME, SEQUENCE, VECTOR = (8, 8, 3), (4, 4, 4, 2), (6, 4), (4,)


def stacked():
    return [layers.LSTMCell(3), layers.GRUCell(2, reset_after=False), layers.SimpleRNNCell(2)]


def inner_model():
    stack = [layers.Dense(3), layers.BatchNormalization(), layers.Dense(2)]
    return keras.Sequential([keras.Input((4,)), *stack])


def hard_lstm():
    return layers.LSTM(3, recurrent_activation="hard_sigmoid", activation="hard_silu")


# Most of what either family computes in one network; each layer is looked at in turn.
FAMILIES = {
    "1-D": (
        SEQUENCE,
        lambda x: [
            layers.Conv1D(3, 3, padding="causal")(x),
            layers.Conv1DTranspose(3, 3, strides=2)(x),
            layers.DepthwiseConv1D(3)(x),
            layers.SeparableConv1D(3, 3)(x),
            layers.MaxPooling1D(2)(layers.AveragePooling1D(2)(x)),
            layers.GlobalMaxPooling1D()(x),
            layers.GlobalAveragePooling1D(keepdims=True)(x),
            layers.Cropping1D(1)(layers.ZeroPadding1D(2)(layers.UpSampling1D(2)(x))),
        ],
    ),
    "3-D": (
        VOLUME,
        lambda x: [
            layers.Conv3D(3, 2)(x),
            layers.Conv3DTranspose(3, 2)(x),
            layers.MaxPooling3D(2)(layers.AveragePooling3D(2, 1)(x)),
            layers.GlobalMaxPooling3D()(x),
            layers.GlobalAveragePooling3D()(x),
            layers.Cropping3D(1)(layers.ZeroPadding3D(2)(layers.UpSampling3D(2)(x))),
            layers.SpatialDropout3D(0.1)(x),
        ],
    ),
    "images": (
        IMAGE,
        lambda x: [
            layers.Resizing(4, 4)(x),
            layers.Resizing(4, 4, crop_to_aspect_ratio=True, interpolation="nearest")(x),
            layers.CenterCrop(4, 4)(x),
            layers.RandomFlip()(layers.RandomRotation(0.1)(layers.RandomZoom(0.1)(x))),
            layers.RandomTranslation(0.1, 0.1)(layers.RandomContrast(0.1)(x)),
        ],
    ),
    "recurrent": (
        SEQUENCE,
        lambda x: [
            layers.LSTM(3, return_sequences=True, go_backwards=True)(x),
            layers.LSTM(3, return_state=True, use_bias=False)(x),
            layers.GRU(3)(x),
            layers.GRU(3, reset_after=False, unroll=True)(x),
            layers.GRU(3, use_bias=False)(x),
            layers.SimpleRNN(3, return_sequences=True, activation="relu")(x),
            hard_lstm()(x),
        ],
    ),
    "cells": (
        SEQUENCE,
        lambda x: [
            layers.RNN(stacked(), return_state=True)(x),
            layers.RNN(layers.StackedRNNCells(stacked()), return_sequences=True)(x),
            layers.Bidirectional(layers.RNN(stacked()))(x),
        ],
    ),
    "bidirectional": (
        SEQUENCE,
        lambda x: [
            layers.Bidirectional(layers.LSTM(3, return_sequences=True))(x),
            layers.Bidirectional(layers.GRU(3, return_state=True), merge_mode="mul")(x),
            layers.Bidirectional(
                layers.GRU(3), "sum", backward_layer=layers.LSTM(3, go_backwards=True)
            )(x),
            layers.Bidirectional(layers.SimpleRNN(3), merge_mode=None)(x),
        ],
    ),
    "initial states": (
        SEQUENCE,
        lambda x: [
            layers.LSTM(3)(x, initial_state=layers.LSTM(3, return_state=True)(x)[1:]),
            layers.GRU(3)(x, initial_state=layers.GRU(3)(x)),
            layers.Bidirectional(layers.GRU(3))(x, initial_state=[layers.GRU(3)(x)] * 2),
        ],
    ),
    "by step": (
        SEQUENCE,
        lambda x: [
            layers.TimeDistributed(layers.Dense(3, activation="hard_silu"))(x),
            layers.TimeDistributed(layers.BatchNormalization())(x),
            layers.TimeDistributed(inner_model())(x),
        ],
    ),
    "convolutional recurrent": (
        (3, 5, 5, 2),
        lambda x: layers.ConvLSTM2D(3, 3, padding="same", return_sequences=True)(x),
    ),
    "convolutional recurrent 1-D": ((3, 5, 2), lambda x: layers.ConvLSTM1D(3, 3)(x)),
    "convolutional recurrent 3-D": ((2, 3, 3, 3, 2), lambda x: layers.ConvLSTM3D(2, 2)(x)),
    "attention": (
        SEQUENCE,
        lambda x: [
            layers.MultiHeadAttention(2, 3, dropout=0.1)(x, x, return_attention_scores=True),
            layers.MultiHeadAttention(2, 3, value_dim=2, output_shape=5, use_bias=False)(
                x, x, key=x, use_causal_mask=True
            ),
            layers.Attention(use_scale=True)([x, x]),
            layers.Attention(score_mode="concat")([x, x, x], use_causal_mask=True),
            layers.AdditiveAttention()([x, x]),
        ],
    ),
    "attention over positions": (
        (3, 4, 5),
        lambda x: layers.MultiHeadAttention(2, 3, attention_axes=(1, 2))(x, x),
    ),
    "normalizations": (
        SEQUENCE,
        lambda x: [
            layers.LayerNormalization(axis=[1, 2], epsilon=0.1, center=False)(x),
            layers.GroupNormalization(2)(x),
            layers.UnitNormalization()(x),
            layers.RMSNormalization()(x),
        ],
    ),
    "activations": (
        SEQUENCE,
        lambda x: [
            layers.PReLU(shared_axes=[1])(x),
            layers.ELU(0.5)(x),
            layers.ReLU(3.0, 0.1, 0.2)(x),
            layers.Softmax(1)(x),
            layers.Softmax([1, 2])(x),
            layers.Dense(3, activation=layers.LeakyReLU(0.1))(x),
        ],
    ),
    "others": (
        SEQUENCE,
        lambda x: [
            layers.EinsumDense("abc,cd->abd", (None, 3), bias_axes="d", activation="relu")(x),
            layers.RepeatVector(3)(layers.Flatten()(x)),
            layers.Dot(2, normalize=True)([x, x]),
            layers.Average()([x, x]),
            layers.Concatenate(1)([layers.Maximum()([x, x]), layers.Minimum()([x, x])]),
            layers.ActivityRegularization(0.1)(layers.Dense(3, activity_regularizer="l2")(x)),
            layers.GaussianNoise(0.1)(layers.GaussianDropout(0.1)(layers.AlphaDropout(0.1)(x))),
            layers.Identity()(layers.SpatialDropout1D(0.1)(x)),
            layers.Discretization([0.0, 0.5])(x),
        ],
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_all_layers_that_both_kerases_have(family, randomize):
    shape, network = FAMILIES[family]
    x = keras.Input(shape)
    outputs = keras.tree.flatten(network(x))
    model = randomize(keras.Model(x, outputs))
    assert same(model, to_tf_keras(model)) <= 1e-5


def test_output_padding_is_ported_or_refused(randomize):
    model = randomize(on_images(layers.Conv2DTranspose(3, 3, strides=2, output_padding=1)))
    if "output_padding" in model.layers[0].get_config():
        assert same(model, to_tf_keras(model)) <= 1e-5
    else:  # before Keras 3.13
        with pytest.raises(UnsupportedError, match=r"get_config\(\) leaves something out"):
            to_tf_keras(model)


MASKED = {
    "recurrent": lambda x: layers.Bidirectional(layers.LSTM(3))(layers.Dropout(0.1)(x)),
    "stacked": lambda x: layers.GRU(3)(layers.LSTM(3, return_sequences=True)(x)),
    "attention": lambda x: layers.MultiHeadAttention(2, 2)(x, x),
    "dot attention": lambda x: layers.Attention()([x, x]),
    "pooled": lambda x: layers.GlobalAveragePooling1D()(x),
    "by step": lambda x: layers.LSTM(3)(layers.TimeDistributed(layers.Dense(3))(x)),
    "merged": lambda x: layers.LSTM(3)(layers.Concatenate()([x, layers.Add()([x, x])])),
    "operators drop masks": lambda x: layers.LSTM(3)(x * 2.0 + x),
    "mean without mask": lambda x: ops.mean(x, axis=1),
    "active": lambda x: layers.LSTM(3)(layers.Activation("hard_silu")(x)),
}


@pytest.mark.parametrize("case", MASKED)
def test_masks_do_the_same(case, randomize):
    x = keras.Input((6,), dtype="int32")
    model = randomize(keras.Model(x, MASKED[case](layers.Embedding(5, 3, mask_zero=True)(x))))
    port = to_tf_keras(model)
    data = np.array([[1, 2, 0, 0, 0, 0], [3, 4, 1, 0, 2, 0]])
    expected, got = (proof.outputs(m, data) for m in (model, port))
    assert proof.relative_difference(expected, got) <= 1e-5


def test_a_mask_that_only_one_keras_hands_on_is_refused():
    x = keras.Input(SEQUENCE)
    y = layers.Rescaling(2.0, name="twice")(layers.Masking()(x))
    with pytest.raises(UnsupportedError, match="'twice' is a Rescaling on a masked tensor"):
        to_tf_keras(keras.Model(x, layers.LSTM(2)(y)))


def test_dropout_follows_the_mode_of_the_call(randomize):
    x = keras.Input(SEQUENCE)
    port = to_tf_keras(randomize(keras.Model(x, layers.LSTM(3, dropout=0.5)(x))))
    data = np.ones((2, *SEQUENCE))
    assert not np.allclose(port(data, training=True), port(data, training=False))


def test_states_are_carried_and_left_alone(randomize):
    x = keras.Input(batch_shape=(2, *SEQUENCE))
    model = randomize(keras.Model(x, layers.LSTM(3, stateful=True)(x)))
    model(np.ones((2, *SEQUENCE)))
    before = [flavors.to_numpy(s).copy() for s in flavors.states(model)]
    port = to_tf_keras(model)
    for states in (flavors.states(model), flavors.states(port)):
        assert all(
            np.array_equal(a, flavors.to_numpy(b)) for a, b in zip(before, states, strict=True)
        )


NOT_FUNCTIONS = ("deserialize", "get", "serialize", "threshold")
NAMES = [x for x in dir(keras.activations) if x[0] != "_" and x not in NOT_FUNCTIONS]


def test_every_activation_is_ported_or_refused_by_name(randomize):
    x = keras.Input(SEQUENCE)
    refused = {"sparsemax"} & set(NAMES)
    outputs = [layers.Dense(4, activation=name)(x) for name in NAMES if name not in refused]
    model = randomize(keras.Model(x, outputs))
    assert same(model, to_tf_keras(model)) <= 1e-5
    for name in refused:
        with pytest.raises(UnsupportedError, match=f"has activation '{name}'"):
            to_tf_keras(keras.Model(x, layers.Dense(4, activation=name)(x)))


@pytest.mark.parametrize("function", ["hard_sigmoid", "hard_silu"])
def test_hard_functions_become_layers_with_int8_forms(function, flavor, randomize):
    if function not in dir(flavor.activations):
        pytest.skip("tf_keras has none")
    stack = [flavor.layers.Dense(3, activation=function, name="gate"), flavor.layers.Dense(2)]
    model = randomize(flavor.Sequential([flavor.Input((4,)), *stack]))
    port = to_tf_keras(model)
    assert same(model, port) <= 1e-5
    assert problems(model) == []
    assert "gate" in [layer.name for layer in port.layers]


def test_ported_activations_are_saved_and_ported_again(tmp_path, randomize):
    x = keras.Input(SEQUENCE)
    port = to_tf_keras(randomize(keras.Model(x, hard_lstm()(layers.Dense(4, "celu")(x)))))
    port.save(tmp_path / "port.keras")
    loaded = tf_keras.models.load_model(tmp_path / "port.keras")
    assert same(port, loaded) == 0
    assert same(port, to_tf_keras(loaded)) <= 1e-5


def test_layers_of_tf_keras_alone_stay(randomize):
    stack = [tf_keras.layers.LocallyConnected1D(3, 2), tf_keras.layers.ThresholdedReLU(0.5)]
    model = randomize(tf_keras.Sequential([tf_keras.Input(SEQUENCE), *stack]))
    assert same(model, to_tf_keras(model)) <= 1e-5


def test_recurrent_layers_of_tf_keras(randomize):
    x, h = tf_keras.Input(SEQUENCE), tf_keras.Input((3,))
    y = tf_keras.layers.Bidirectional(tf_keras.layers.GRU(3))(x, initial_state=[h, h])
    z = tf_keras.layers.LSTM(3, recurrent_activation="hard_sigmoid")(x)
    model = randomize(tf_keras.Model([x, h], [y, z]))
    assert same(model, to_tf_keras(model)) <= 1e-5


def test_blocks_of_convnext(flavor, randomize):
    convnext = importlib.import_module(f"{flavor.__name__}.src.applications.convnext")
    x = flavor.Input(IMAGE)
    y = convnext.LayerScale(1e-6, 3, name="scale")(x)
    y = convnext.StochasticDepth(0.2, name="depth")(y)
    model = randomize(flavor.Model(x, y))
    port = to_tf_keras(model)
    assert [type(layer).__name__ for layer in port.layers[1:]] == ["Rescaling", "Dropout"]
    assert same(model, port) <= 1e-5


def test_blocks_of_inception_resnet(flavor):
    module = importlib.import_module(f"{flavor.__name__}.src.applications.inception_resnet_v2")
    x, branch = flavor.Input(IMAGE), flavor.Input(IMAGE)
    model = flavor.Model([x, branch], module.CustomScaleLayer(0.17, name="sum")([x, branch]))
    port = to_tf_keras(model)
    assert [layer.name for layer in port.layers[2:]] == ["sum_scale", "sum"]
    assert same(model, port) <= 1e-5
    assert problems(model) == []


REFUSED = {
    "GroupQueryAttention": (
        lambda x: layers.GroupQueryAttention(2, 4, 2, name="it")(x, x),
        "use MultiHeadAttention",
    ),
    "SpectralNormalization": (
        lambda x: layers.SpectralNormalization(layers.Dense(2), name="it")(x),
        "call the layer inside",
    ),
    "Lambda": (lambda x: layers.Lambda(lambda t: t, name="it")(x), "write it with layers"),
}
if hasattr(layers, "AdaptiveAveragePooling1D"):
    REFUSED["AdaptiveAveragePooling1D"] = (
        lambda x: layers.AdaptiveAveragePooling1D(2, name="it")(x),
        "use AveragePooling",
    )


@pytest.mark.parametrize("kind", REFUSED)
def test_layers_of_keras_3_alone_are_named_with_the_way_out(kind):
    network, way_out = REFUSED[kind]
    x = keras.Input(SEQUENCE)
    with pytest.raises(UnsupportedError, match=f"'it' is a .*; {way_out}"):
        to_tf_keras(keras.Model(x, network(x)))


def test_arguments_that_tf_keras_has_not_are_refused():
    x = keras.Input(SEQUENCE)
    model = keras.Model(x, layers.Dense(2, name="d")(x))
    model.layers[1].enable_lora(1)
    with pytest.raises(UnsupportedError, match="'d' "):
        to_tf_keras(model)


@pytest.mark.slow
def test_a_small_mobilenet_has_no_problems():
    model = keras.applications.MobileNetV3Small(input_shape=(32, 32, 3), weights=None, alpha=0.35)
    assert problems(model) == []


def test_adapted_normalization():
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(3, 2, (64, 3)))
    model = keras.Sequential([keras.Input((3,)), normalization])
    assert same(model, to_tf_keras(model)) <= 1e-5


def test_regularizers_stay_but_those_of_pruning(randomize):
    from sft_keras.regularizers import FilterL1

    model = randomize(
        on_images(
            layers.Conv2D(2, 3, kernel_regularizer=keras.regularizers.L2(0.3)),
            layers.Conv2D(2, 3, kernel_regularizer=FilterL1(0.1)),
        )
    )
    port = to_tf_keras(model)
    assert port.layers[1].kernel_regularizer.l2 == pytest.approx(0.3)
    assert port.layers[2].kernel_regularizer is None


def test_operators_become_layers(flavor):
    x = flavor.Input((4, 4, 2))
    y = flavor.layers.Conv2D(2, 3, padding="same")(x)
    out = 2.0 - ((x + y) * y - x * 3.0) / 4.0 + 1.0
    model = flavor.Model(x, out)
    port = to_tf_keras(model)
    kinds = [type(layer).__name__ for layer in port.layers]
    assert sorted(kinds[2:]) == ["Add", "Multiply", *["Rescaling"] * 4, "Subtract"]
    assert same(model, port) <= 1e-5


def test_activation_operators():
    x = keras.Input((4,))
    model = keras.Model(x, ops.relu6(ops.sigmoid(keras.activations.relu(x))))
    assert same(model, to_tf_keras(model)) <= 1e-5


def test_nested_models_are_flattened_and_stay_shared(flavor, randomize):
    inner = flavor.Sequential([flavor.Input((6, 6, 2)), flavor.layers.Conv2D(2, 1, name="conv")])
    x = flavor.Input((6, 6, 2))
    y = inner(inner(flavor.layers.Conv2D(2, 3, padding="same", name="conv")(x)))
    model = randomize(flavor.Model(x, y))
    port = to_tf_keras(model)
    assert [layer.name for layer in port.layers[1:]] == ["conv", f"{inner.name}_conv"]
    assert same(model, port) <= 1e-5


def test_dictionaries_of_inputs_and_outputs_stay(randomize):
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    y = layers.Dense(2)(layers.Concatenate()([a, b]))
    model = randomize(keras.Model({"a": a, "b": b}, {"y": y, "same": a}))
    data = {"a": np.ones((1, 3)), "b": np.zeros((1, 3))}
    assert set(to_tf_keras(model)(data)) == {"y", "same"}


def test_integer_images_and_half_precision(randomize):
    x = keras.Input((4, 4, 1), dtype="uint8")
    y = layers.Rescaling(1 / 255)(x)
    y = layers.Conv2D(2, 3, dtype="mixed_float16")(y)
    port = to_tf_keras(randomize(keras.Model(x, y)))
    assert {layer.compute_dtype for layer in port.layers} == {"float32"}


def test_the_original_does_not_change(flavor, randomize):
    model = randomize(flavor.Sequential([flavor.Input((4,)), flavor.layers.Dense(2)]))
    before = model.get_weights()
    port = to_tf_keras(model)
    port.layers[1].kernel.assign_add(np.ones((4, 2)))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


class Doubling(layers.Layer):
    def call(self, x):
        return 2 * x


def test_all_that_cannot_be_ported_is_named_at_once():
    x = keras.Input((8, 8, 2))
    y = Doubling(name="custom")(x)
    y = layers.Lambda(lambda t: t + 1, name="lambda")(y)
    y = layers.Conv2D(2, 3, name="fine")(y)
    y = layers.Activation("sparsemax", name="sparse")(y)
    y = layers.SpectralNormalization(layers.Conv2D(2, 1), name="spectral")(y)
    model = keras.Model(x, ops.median(ops.fft((y, y))[0], axis=1))
    with pytest.raises(UnsupportedError) as e:
        to_tf_keras(model)
    for name in ("custom", "lambda", "sparse", "spectral", "fft", "median"):
        assert f"'{name}" in str(e.value) or f" '{name}'" in str(e.value)
    assert "'fine'" not in str(e.value)


def test_a_custom_activation_is_refused_by_name():
    model = on_images(layers.Conv2D(2, 3, activation=lambda x: 2 * x, name="own"))
    with pytest.raises(UnsupportedError, match="'own' has activation"):
        to_tf_keras(model)


def test_nan_weights_are_refused_by_name():
    model = on_images(layers.Conv2D(2, 3, name="broken"))
    model.layers[0].bias.assign([np.nan, 0])
    with pytest.raises(UnsupportedError, match=r"'broken' has NaN or infinite weights"):
        to_tf_keras(model)


def test_channels_first_is_refused():
    model = keras.Sequential(
        [keras.Input((2, 6, 6)), layers.MaxPooling2D(data_format="channels_first", name="pool")]
    )
    with pytest.raises(UnsupportedError, match=r"'pool' is channels_first"):
        to_tf_keras(model)


def test_a_port_that_computes_something_else_is_refused(monkeypatch):
    model = on_images(layers.Conv2D(2, 3))
    monkeypatch.setattr(tf_keras.layers.Conv2D, "call", lambda self, x: x[:, 1:-1, 1:-1, :2])
    with pytest.raises(UnsupportedError, match="changed the outputs"):
        to_tf_keras(model)


@pytest.mark.parametrize("thing", ["text", layers.Dense(1)])
def test_what_is_no_model_is_refused(thing):
    with pytest.raises(UnsupportedError, match=r"Expected a keras.Model"):
        to_tf_keras(thing)


def test_the_mode_of_a_nested_model_goes_for_its_layers(randomize):
    layers = tf_keras.layers
    inner_layers = [layers.Dense(8), layers.BatchNormalization(), layers.Dropout(0.5)]
    inner = tf_keras.Sequential([tf_keras.Input((8,)), *inner_layers])
    x = tf_keras.Input((8,))
    model = randomize(tf_keras.Model(x, layers.Dense(2)(inner(x, training=False))))
    port, data = to_tf_keras(model), np.ones((4, 8), "float32")
    assert np.array_equal(port(data, training=True), port(data, training=False))
    qat = sft_keras.quantize(model)
    qat(data, training=True)  # finds the ranges
    assert np.array_equal(qat(data, training=True), qat(data, training=False))
