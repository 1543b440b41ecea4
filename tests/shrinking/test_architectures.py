"""Well-known architectures in small, as people write them: what can go goes, exactly."""

import inspect

import keras
import pytest
import tensorflow as tf

import sft_keras


def _ops(k):
    return keras.ops if k is keras else tf


def _conv_block(k, x, filters, size=3, strides=1, **kwargs):
    x = k.layers.Conv2D(filters, size, strides, padding="same", use_bias=False, **kwargs)(x)
    return k.layers.ReLU()(k.layers.BatchNormalization()(x))


def u_net(k):
    x = image = k.Input((16, 16, 3))
    skips = []
    for filters in (6, 8):
        x = _conv_block(k, x, filters)
        skips.append(x)
        x = k.layers.MaxPooling2D()(x)
    x = _conv_block(k, x, 10)
    for filters, skip in zip((8, 6), reversed(skips), strict=True):
        x = k.layers.Conv2DTranspose(filters, 2, strides=2, padding="same")(x)
        x = _conv_block(k, k.layers.Concatenate()([x, skip]), filters)
    return k.Model(image, k.layers.Conv2D(2, 1, activation="softmax")(x)), 6 + 8 + 10 + 2 * (8 + 6)


def crnn(k):
    """Convolutions over a line of text, its columns read by recurrent layers."""
    x = image = k.Input((8, 12, 1))
    x = k.layers.MaxPooling2D((2, 1))(_conv_block(k, x, 6))
    x = k.layers.Permute((2, 1, 3))(_conv_block(k, x, 5))
    x = k.layers.Reshape((12, 4 * 5))(x)
    x = k.layers.Bidirectional(k.layers.LSTM(4, return_sequences=True))(x)
    x = k.layers.Bidirectional(k.layers.GRU(3, return_sequences=True), merge_mode="sum")(x)
    return k.Model(image, k.layers.Dense(5, activation="softmax")(x)), 6 + 5 + 4 + 3


def seq2seq(k):
    """Translation: the decoder starts from the encoder's state, and attends to its outputs."""
    source, target = k.Input((7,), dtype="int32"), k.Input((5,), dtype="int32")
    x = k.layers.Embedding(9, 4)(source)
    encoded, *state = k.layers.LSTM(6, return_sequences=True, return_state=True)(x)
    y = k.layers.Embedding(9, 5)(target)
    y = k.layers.LSTM(6, return_sequences=True)(y, initial_state=state)
    attended = k.layers.MultiHeadAttention(2, 3)(y, encoded)
    y = k.layers.Dense(8, activation="tanh")(k.layers.Concatenate()([y, attended]))
    # The encoder's state is the decoder's first; the output of attention is as wide as its query.
    count = 4 + 5 + 6 + (2 + 3 + 3 + 6) + 8
    return k.Model([source, target], k.layers.Dense(9)(y)), count


def wavenet(k):
    """Dilated causal convolutions with gates, residuals and skips."""
    x = audio = k.Input((16, 1))
    x = k.layers.Conv1D(6, 1)(x)
    skips = []
    for rate in (1, 2, 4):
        a = k.layers.Conv1D(5, 2, dilation_rate=rate, padding="causal", activation="tanh")(x)
        b = k.layers.Conv1D(5, 2, dilation_rate=rate, padding="causal", activation="sigmoid")(x)
        y = k.layers.Multiply()([a, b])
        skips.append(k.layers.Conv1D(7, 1)(y))
        x = k.layers.Add()([x, k.layers.Conv1D(6, 1)(y)])
    x = k.layers.ReLU()(k.layers.Add()(skips))
    return k.Model(audio, k.layers.Conv1D(2, 1)(x)), 6 + 3 * 5 + 7


def siamese(k):
    x = image = k.Input((8, 8, 1))
    x = k.layers.GlobalAveragePooling2D()(_conv_block(k, _conv_block(k, x, 6), 5))
    twin = k.Model(image, k.layers.Dense(4)(x))
    a, b = k.Input((8, 8, 1)), k.Input((8, 8, 1))
    difference = (keras.ops if k is keras else tf.math).abs(twin(a) - twin(b))
    return k.Model([a, b], k.layers.Dense(2)(difference)), 6 + 5 + 4


def shuffle_net(k):
    """Grouped pointwise convolutions with a channel shuffle between, by operators."""
    ops = _ops(k)
    image = k.Input((8, 8, 3))
    x = _conv_block(k, image, 8)
    y = _conv_block(k, x, 8, 1, groups=2)
    y = ops.reshape(y, (-1, 8, 8, 2, 4))
    y = ops.reshape(ops.transpose(y, (0, 1, 2, 4, 3)), (-1, 8, 8, 8))
    y = k.layers.BatchNormalization()(k.layers.DepthwiseConv2D(3, padding="same")(y))
    y = k.layers.BatchNormalization()(k.layers.Conv2D(8, 1, groups=2)(y))
    x = k.layers.ReLU()(k.layers.Add()([x, y]))
    return k.Model(image, k.layers.Dense(3)(k.layers.GlobalAveragePooling2D()(x))), 4 + 2


def shuffle_net_v2(k):
    """Half of the channels pass by, the other half is worked on."""
    ops = _ops(k)
    image = k.Input((8, 8, 3))
    x = _conv_block(k, image, 8)
    for _ in range(2):
        a, b = x[..., :4], x[..., 4:]
        b = _conv_block(k, b, 4, 1)
        b = k.layers.BatchNormalization()(k.layers.DepthwiseConv2D(3, padding="same")(b))
        x = k.layers.Concatenate()([a, _conv_block(k, b, 4, 1)])
        x = ops.reshape(x, (-1, 8, 8, 2, 4))
        x = ops.reshape(ops.transpose(x, (0, 1, 2, 4, 3)), (-1, 8, 8, 8))
    return k.Model(image, k.layers.Dense(3)(k.layers.GlobalAveragePooling2D()(x))), 8 + 4 + 4


def yolo_head(k):
    """A stem by space-to-depth, a pyramid of two levels, and a head shared by both."""
    ops = _ops(k)
    image = k.Input((16, 16, 3))
    x = ops.reshape(image, (-1, 8, 2, 8, 2, 3))
    x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 8, 8, 12))
    c3 = _conv_block(k, x, 6)
    c4 = _conv_block(k, c3, 8, strides=2)
    p4 = k.layers.Conv2D(5, 1)(c4)
    p3 = k.layers.Add()([k.layers.Conv2D(5, 1)(c3), k.layers.UpSampling2D()(p4)])
    tower, head = k.layers.Conv2D(4, 3, padding="same", activation="swish"), k.layers.Conv2D(6, 1)
    levels = [k.layers.Reshape((-1, 6))(head(tower(p))) for p in (p3, p4)]
    return k.Model(image, k.layers.Concatenate(axis=1)(levels)), 6 + 8 + 5 + 4


def vision_transformer(k):
    """Patches by a convolution, a pre-norm block; LayerNormalization keeps the residual stream."""
    image = k.Input((8, 8, 3))
    x = k.layers.Reshape((16, 6))(k.layers.Conv2D(6, 2, strides=2)(image))
    y = k.layers.LayerNormalization()(x)
    x = k.layers.Add()([x, k.layers.MultiHeadAttention(2, 3)(y, y)])
    y = k.layers.Dense(12, activation="gelu")(k.layers.LayerNormalization()(x))
    x = k.layers.Add()([x, k.layers.Dense(6)(y)])
    x = k.layers.GlobalAveragePooling1D()(k.layers.LayerNormalization()(x))
    return k.Model(image, k.layers.Dense(3)(x)), 2 + 3 + 3 + 12


def res_net_option_a(k):
    """A shortcut of every second position with channels of zeros added."""
    ops = _ops(k)
    image = k.Input((8, 8, 3))
    x = _conv_block(k, image, 4)
    y = _conv_block(k, x, 6, strides=2)
    y = k.layers.BatchNormalization()(k.layers.Conv2D(8, 3, padding="same", use_bias=False)(y))
    short = ops.pad(x[:, ::2, ::2, :], [[0, 0], [0, 0], [0, 0], [2, 2]])
    x = k.layers.ReLU()(k.layers.Add()([y, short]))
    # The padded channels are zeros that nobody can take away.
    return k.Model(image, k.layers.Dense(3)(k.layers.GlobalAveragePooling2D()(x))), 4 + 6


def ghost_net(k):
    """Cheap features by a depthwise multiplier beside the primary ones, and a gate by operators."""
    ops = _ops(k)
    image = k.Input((8, 8, 3))
    primary = _conv_block(k, image, 6)
    cheap = k.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, activation="relu")
    x = k.layers.Concatenate()([primary, cheap(primary)])
    mean = ops.mean if k is keras else tf.reduce_mean
    gate = mean(x, axis=(1, 2), keepdims=True)
    gate = k.layers.Conv2D(18, 1)(k.layers.Conv2D(4, 1, activation="relu")(gate))
    relu6 = ops.relu6 if k is keras else tf.nn.relu6
    x = x * (relu6(gate + 3.0) / 6.0)
    return k.Model(image, k.layers.Conv2D(2, 3)(x)), 6 + 4


def video_net(k):
    """A small convolution for every frame, then memory over time."""
    video = k.Input((4, 8, 8, 2))
    frame = k.Sequential([k.Input((8, 8, 2)), k.layers.Conv2D(5, 3, activation="relu")])
    x = k.layers.TimeDistributed(frame)(video)
    x = k.layers.ConvLSTM2D(4, 3, return_sequences=True)(x)
    x = k.layers.TimeDistributed(k.layers.GlobalAveragePooling2D())(x)
    return k.Model(video, k.layers.Dense(2)(k.layers.GRU(3)(x))), 5 + 4 + 3


def auto_encoder(k):
    """Fully connected, with two outputs, one of them the code."""
    x = k.Input((12,))
    y = k.layers.Dense(8, activation="relu")(x)
    code = k.layers.Dense(3, name="code")(y)
    y = k.layers.BatchNormalization()(k.layers.Dense(8)(code))
    return k.Model(x, {"code": code, "out": k.layers.Dense(12)(k.layers.ELU()(y))}), 8 + 8


NETWORKS = {
    name: function
    for name, function in list(globals().items())
    if inspect.isfunction(function) and function.__module__ == __name__ and name[0] != "_"
}


@pytest.mark.parametrize("name", NETWORKS)
def test_shrunk_architecture_equals_masked(flavor, name, shrink_and_compare):
    model, prunable = NETWORKS[name](flavor)
    groups = sft_keras.channel_groups(model)
    assert groups.prunable.sum() == prunable, str(groups)
    shrink_and_compare(model)
