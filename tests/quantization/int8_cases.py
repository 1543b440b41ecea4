"""A small model for every kind of layer, for the table of what becomes int8 and how."""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers, ops

from sft_keras.quantization import pixels

IMAGE, SEQUENCE, VECTOR, VOLUME, VIDEO = (6, 6, 4), (6, 4), (5,), (4, 4, 4, 2), (3, 5, 5, 2)


def ended(inputs, x):
    """A model that ends in a Dense, as classifiers do."""
    x = layers.Flatten()(x) if len(x.shape) > 2 else x
    return keras.Model(inputs, layers.Dense(3)(x))


def stack(shape: tuple, *chain: Callable) -> Callable:
    """A function that makes a model of some layers one after the other."""

    def make():
        x = inputs = keras.Input(shape)
        for layer in chain:
            x = layer()(x)
        return ended(inputs, x)

    return make


def function(shape: tuple, call: Callable) -> Callable:
    """A function that makes a model around a function of tensors."""

    def make():
        inputs = keras.Input(shape)
        return ended(inputs, call(inputs))

    return make


def tokens(*chain: Callable) -> Callable:
    """A model over six tokens of ten."""

    def make():
        x = inputs = keras.Input((6,), dtype="int32")
        for layer in chain:
            x = layer()(x)
        return ended(inputs, x)

    return make


def conv(activation=None):
    """The convolution that what is tested stands behind."""
    return lambda: layers.Conv2D(4, 3, activation=activation)


def active(name):
    """A convolution with an activation."""
    return stack(IMAGE, conv(name))


def behind(make):
    """A layer behind a convolution."""
    return stack(IMAGE, conv(), make)


def encoder_decoder(kind):
    """A recurrent layer that starts from another one's state."""

    def call(x):
        _, *states = kind(3, return_state=True)(x)
        return kind(3)(x, initial_state=states)

    return function(SEQUENCE, call)


def merged(make):
    """A merge of two convolutions."""
    return function(IMAGE, lambda x: make()([layers.Conv2D(4, 3)(x), layers.Conv2D(4, 3)(x)]))


def nested():
    """A model in a model."""
    inner = keras.Sequential([keras.Input(IMAGE), layers.Conv2D(4, 3), layers.ReLU()])
    x = keras.Input(IMAGE)
    return ended(x, inner(x))


@keras.saving.register_keras_serializable("tests")
class Custom(layers.Layer):
    """A layer that nobody knows."""

    def call(self, x):
        """Twice the input."""
        return x * 2


CASES: dict[str, Callable] = {
    "Conv1D": stack(SEQUENCE, lambda: layers.Conv1D(4, 3)),
    "Conv1D causal": stack(SEQUENCE, lambda: layers.Conv1D(4, 3, padding="causal")),
    "Conv2D": stack(IMAGE, conv()),
    "Conv2D dilated": stack(IMAGE, lambda: layers.Conv2D(4, 3, dilation_rate=2)),
    "Conv2D grouped": stack(IMAGE, lambda: layers.Conv2D(4, 3, groups=2)),
    "Conv3D": stack(VOLUME, lambda: layers.Conv3D(3, 2)),
    "Conv1DTranspose": stack(SEQUENCE, lambda: layers.Conv1DTranspose(3, 2)),
    "Conv2DTranspose": stack(IMAGE, lambda: layers.Conv2DTranspose(3, 3, strides=2)),
    "DepthwiseConv1D": stack(SEQUENCE, lambda: layers.DepthwiseConv1D(3)),
    "DepthwiseConv2D": stack(IMAGE, lambda: layers.DepthwiseConv2D(3, depth_multiplier=2)),
    "SeparableConv1D": stack(SEQUENCE, lambda: layers.SeparableConv1D(4, 3)),
    "SeparableConv2D": stack(IMAGE, lambda: layers.SeparableConv2D(4, 3)),
    "Dense": stack(VECTOR, lambda: layers.Dense(4)),
    "Dense of a sequence": stack(SEQUENCE, lambda: layers.Dense(4)),
    "EinsumDense": stack(SEQUENCE, lambda: layers.EinsumDense("abc,cd->abd", (6, 5))),
    "Embedding": tokens(lambda: layers.Embedding(10, 4)),
    "Embedding masked": tokens(lambda: layers.Embedding(10, 4, mask_zero=True), layers.Flatten),
    "BatchNormalization": behind(layers.BatchNormalization),
    "BatchNormalization first": stack(IMAGE, layers.BatchNormalization),
    "BatchNormalization behind ReLU": stack(IMAGE, conv("relu"), layers.BatchNormalization),
    "BatchNormalization behind Dense": stack(
        VECTOR, lambda: layers.Dense(4), layers.BatchNormalization
    ),
    "LayerNormalization": stack(SEQUENCE, layers.LayerNormalization),
    "GroupNormalization": behind(lambda: layers.GroupNormalization(2)),
    "UnitNormalization": stack(VECTOR, layers.UnitNormalization),
    "RMSNormalization": stack(SEQUENCE, lambda: layers.RMSNormalization()),
    "Rescaling": stack(IMAGE, lambda: layers.Rescaling(1 / 255), conv()),
    "Normalization": stack(
        IMAGE, lambda: layers.Normalization(mean=[0, 1, 2, 3], variance=[1, 2, 3, 4]), conv()
    ),
    "ReLU": behind(layers.ReLU),
    "ReLU 6": behind(lambda: layers.ReLU(6)),
    "LeakyReLU": behind(layers.LeakyReLU),
    "PReLU": behind(lambda: layers.PReLU(shared_axes=[1, 2])),
    "ELU": behind(layers.ELU),
    "Softmax": stack(VECTOR, layers.Softmax),
    **{
        f"activation {name}": active(name)
        for name in (
            *("relu", "relu6", "leaky_relu", "silu", "sigmoid", "tanh", "hard_sigmoid"),
            *("hard_silu", "gelu", "elu", "selu", "softplus", "softsign", "exponential", "mish"),
        )
    },
    "MaxPooling1D": stack(SEQUENCE, layers.MaxPooling1D),
    "MaxPooling2D": behind(layers.MaxPooling2D),
    "MaxPooling3D": stack(VOLUME, layers.MaxPooling3D),
    "AveragePooling1D": stack(SEQUENCE, lambda: layers.AveragePooling1D(2)),
    "AveragePooling2D": behind(lambda: layers.AveragePooling2D(2)),
    "GlobalAveragePooling1D": stack(SEQUENCE, layers.GlobalAveragePooling1D),
    "GlobalAveragePooling2D": behind(layers.GlobalAveragePooling2D),
    "GlobalMaxPooling1D": stack(SEQUENCE, layers.GlobalMaxPooling1D),
    "GlobalMaxPooling2D": behind(layers.GlobalMaxPooling2D),
    "UpSampling1D": stack(SEQUENCE, layers.UpSampling1D),
    "UpSampling2D": behind(layers.UpSampling2D),
    "UpSampling2D bilinear": behind(lambda: layers.UpSampling2D(2, interpolation="bilinear")),
    "ZeroPadding2D": behind(layers.ZeroPadding2D),
    "Cropping2D": behind(lambda: layers.Cropping2D(1)),
    "Reshape": behind(lambda: layers.Reshape((2, 32))),
    "Permute": behind(lambda: layers.Permute((3, 1, 2))),
    "Flatten": behind(layers.Flatten),
    "RepeatVector": stack(VECTOR, lambda: layers.RepeatVector(3)),
    "Dropout": behind(lambda: layers.Dropout(0.5)),
    "SpatialDropout2D": behind(lambda: layers.SpatialDropout2D(0.5)),
    "GaussianNoise": behind(lambda: layers.GaussianNoise(0.1)),
    "RandomFlip": behind(layers.RandomFlip),
    "Resizing": stack(IMAGE, lambda: layers.Resizing(4, 4), conv()),
    **{
        name: merged(getattr(layers, name))
        for name in (
            *("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate"),
        )
    },
    "Dot": function(SEQUENCE, lambda x: layers.Dot(2)([x, x])),
    "Masking": stack(SEQUENCE, layers.Masking, lambda: layers.LSTM(4)),
    "SimpleRNN": stack(SEQUENCE, lambda: layers.SimpleRNN(4)),
    "LSTM": stack(SEQUENCE, lambda: layers.LSTM(4)),
    "LSTM sequences": stack(SEQUENCE, lambda: layers.LSTM(4, return_sequences=True)),
    "LSTM encoder-decoder": encoder_decoder(layers.LSTM),
    "GRU": stack(SEQUENCE, lambda: layers.GRU(4)),
    "GRU reset before": stack(SEQUENCE, lambda: layers.GRU(4, reset_after=False)),
    "GRU encoder-decoder": encoder_decoder(layers.GRU),
    "Bidirectional LSTM": stack(SEQUENCE, lambda: layers.Bidirectional(layers.LSTM(3))),
    "Bidirectional GRU": stack(SEQUENCE, lambda: layers.Bidirectional(layers.GRU(3))),
    "RNN of two cells": stack(
        SEQUENCE, lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(3)])
    ),
    "ConvLSTM1D": stack((3, 6, 2), lambda: layers.ConvLSTM1D(2, 3)),
    "ConvLSTM2D": stack(VIDEO, lambda: layers.ConvLSTM2D(2, 3)),
    "TimeDistributed": stack(VIDEO, lambda: layers.TimeDistributed(layers.Conv2D(2, 3))),
    "MultiHeadAttention": function(SEQUENCE, lambda x: layers.MultiHeadAttention(2, 4)(x, x)),
    "GroupQueryAttention": function(SEQUENCE, lambda x: layers.GroupQueryAttention(4, 2, 1)(x, x)),
    "Attention": function(SEQUENCE, lambda x: layers.Attention()([x, x])),
    "AdditiveAttention": function(SEQUENCE, lambda x: layers.AdditiveAttention()([x, x])),
    "nested model": nested,
    "custom layer": stack(IMAGE, conv(), Custom),
    "x + y": function(IMAGE, lambda x: layers.Conv2D(4, 1)(x) + x),
    "x * 2 + 1": function(IMAGE, lambda x: layers.Conv2D(4, 3)(x * 2 + 1)),
    "ops.relu": function(IMAGE, lambda x: ops.relu(layers.Conv2D(4, 3)(x))),
    "ops.reshape": function(IMAGE, lambda x: ops.reshape(layers.Conv2D(4, 3)(x), (-1, 4, 16))),
    "ops.transpose": function(IMAGE, lambda x: ops.transpose(x, (0, 3, 1, 2))),
    "ops.concatenate": function(IMAGE, lambda x: ops.concatenate([layers.Conv2D(2, 1)(x), x], -1)),
    "ops.mean": function(IMAGE, lambda x: ops.mean(layers.Conv2D(4, 3)(x), (1, 2))),
    "ops.split": function(IMAGE, lambda x: ops.add(*ops.split(layers.Conv2D(4, 1)(x), 2, -1))),
    "slice": function(IMAGE, lambda x: layers.Conv2D(4, 3)(x)[:, 1:, :2]),
    "ops.pad": function(IMAGE, lambda x: ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])),
    "ops.matmul": function(SEQUENCE, lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1)))),
    "space to depth": function(
        IMAGE,
        lambda x: ops.reshape(
            ops.transpose(ops.reshape(x, (-1, 3, 2, 3, 2, 4)), (0, 1, 3, 2, 4, 5)), (-1, 3, 3, 16)
        ),
    ),
}


def data_for(model, samples: int = 8, seed: int = 0) -> np.ndarray:
    """Random inputs for a case."""
    rng = np.random.default_rng(seed)
    (x,) = model.inputs
    shape = (samples, *x.shape[1:])
    if x.dtype == "int32":
        return rng.integers(1, 10, shape).astype("int32")
    if pixels.pixel_inputs(model):
        return rng.integers(0, 256, shape).astype("float32")
    return rng.normal(size=shape).astype("float32")
