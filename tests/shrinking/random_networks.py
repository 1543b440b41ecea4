"""A hypothesis strategy for random functional networks of everything that shrink understands."""

import keras
import numpy as np
import tensorflow as tf
from hypothesis import strategies as st

ACTIVATIONS = st.sampled_from(["relu", "linear", "sigmoid", "tanh", "softplus", "elu", "gelu"])
LARGEST = 24
"""Positions and channels beyond which a tensor only grows slower to compute."""
MOST_HEADS = 4
"""Keras 3 adds a bias of shape (heads, 1) along the steps, where there are as many as heads."""


class Builder:
    """Grows a network by one step at a time from tensors that are there already.

    Args:
        draw: hypothesis' function that draws from a strategy.
        k: `keras` or `tf_keras`.
    """

    def __init__(self, draw, k):
        self.draw = draw
        self.k = k
        self.tensors: list = []
        self.shared: list = []

    def layer(self, name, *args, **kwargs):
        """A layer by the name of its class."""
        return getattr(self.k.layers, name)(*args, **kwargs)

    def one_of(self, *choices):
        """One of the choices."""
        return self.draw(st.sampled_from(choices))

    def integer(self, low, high):
        """A number from `low` to `high`."""
        return self.draw(st.integers(low, high))

    def flag(self):
        """True or false."""
        return self.draw(st.booleans())

    def partner(self, x, fits):
        """An older tensor that fits `x`, or `x` itself."""
        return self.one_of(*[t for t in self.tensors if fits(t)], x)

    def start(self):
        """Mostly the newest tensor, sometimes an older one: branches."""
        return self.tensors[self.one_of(-1, -1, -1, 0, len(self.tensors) // 2)]

    def grow(self, steps):
        """Applies one of the steps that are for tensors of the rank of the chosen one."""
        x = self.start()
        rank = len(x.shape) - 1
        y = self.one_of(*steps[rank])(self, x)
        if y is not None and len(y.shape) - 1 in steps and max(y.shape[1:]) <= LARGEST:
            self.tensors.append(y)


def conv(b, x):
    """A convolution over images or sequences, shared with an earlier one now and then."""
    rank = len(x.shape) - 2
    fitting = [layer for layer, shape in b.shared if shape == x.shape]
    if fitting and b.flag():
        return b.one_of(*fitting)(x)
    small = min(x.shape[1:-1]) < 4
    padding = "same" if small else b.one_of("same", "valid", *(["causal"] if rank == 1 else []))
    strided = {"strides": b.integer(1, 2)} if b.flag() else {"dilation_rate": b.integer(1, 2)}
    filters, size = b.integer(1, 6), b.integer(1, 1 if small else 3)
    if padding == "valid" and min(x.shape[1:-1]) <= strided.get("dilation_rate", 1) * (size - 1):
        padding = "same"
    layer = b.layer(
        f"Conv{rank}D",
        filters,
        size,
        padding=padding,
        use_bias=b.flag(),
        activation=b.draw(ACTIVATIONS),
        **strided,
    )
    b.shared.append((layer, x.shape))
    return layer(x)


def grouped_conv(b, x):
    """A convolution in groups."""
    groups = 2 - x.shape[-1] % 2
    return b.layer("Conv2D", 2 * b.integer(1, 3), 1, groups=groups)(x)


def depthwise_conv(b, x):
    """A depthwise convolution with a multiplier."""
    rank = len(x.shape) - 2
    multiplier = b.integer(1, 2)
    return b.layer(f"DepthwiseConv{rank}D", 3, padding="same", depth_multiplier=multiplier)(x)


def separable_conv(b, x):
    """A separable convolution."""
    rank = len(x.shape) - 2
    return b.layer(f"SeparableConv{rank}D", b.integer(1, 5), 3, padding="same")(x)


def transposed_conv(b, x):
    """A transposed convolution."""
    rank = len(x.shape) - 2
    return b.layer(f"Conv{rank}DTranspose", b.integer(1, 5), 2, activation=b.draw(ACTIVATIONS))(x)


def dense(b, x):
    """Dense over the last axis."""
    return b.layer("Dense", b.integer(1, 6), b.draw(ACTIVATIONS), use_bias=b.flag())(x)


def batch_norm(b, x):
    """Batch normalization with or without γ and β."""
    return b.layer("BatchNormalization", scale=b.flag(), center=b.flag())(x)


def layer_norm(b, x):
    """A normalization over channels."""
    return b.layer("LayerNormalization")(x)


def activation(b, x):
    """An activation, as a layer of its own."""
    simple = b.layer("Activation", b.draw(ACTIVATIONS))
    slope = b.layer("PReLU", shared_axes=list(range(1, len(x.shape) - 1)) or None)
    return b.one_of(simple, b.layer("ReLU", 6.0), b.layer("LeakyReLU"), slope)(x)


def pool_2d(b, x):
    """Layers that work on positions of images."""
    layers = [b.layer("ZeroPadding2D", 1), b.layer("UpSampling2D", 2), b.layer("Dropout", 0.5)]
    if min(x.shape[1:3]) > 2:
        layers += [b.layer("MaxPooling2D", 2), b.layer("AveragePooling2D", 2, padding="same")]
        layers += [b.layer("Cropping2D", ((1, 0), (0, 1)))]
    return b.one_of(*layers)(x)


def pool_1d(b, x):
    """Layers that work on positions of sequences."""
    layers = [b.layer("ZeroPadding1D", 1), b.layer("UpSampling1D", 2), b.layer("Dropout", 0.5)]
    if x.shape[1] > 2:
        layers += [b.layer("MaxPooling1D", 2), b.layer("Cropping1D", (1, 0))]
    return b.one_of(*layers)(x)


def merge(b, x):
    """An element-wise merge, as a layer or as an operator."""
    other = b.partner(x, lambda t: t.shape == x.shape)
    kind = b.one_of("Add", "Multiply", "Maximum", "Subtract", "Average", "+", "*", "-")
    if kind == "+":
        return x + other
    if kind == "*":
        return x * other
    if kind == "-":
        return x - other
    return b.layer(kind)([other, x])


def scale(b, x):
    """An operator with a number."""
    return b.one_of(lambda: x * 2.0, lambda: x + 0.5, lambda: x / 3.0, lambda: -x)()


def concatenate(b, x):
    """Concatenation of channels or of positions."""
    axis = b.integer(1, len(x.shape) - 1)

    def fits(t):
        same = [a == c for i, (a, c) in enumerate(zip(t.shape, x.shape, strict=False)) if i != axis]
        return len(t.shape) == len(x.shape) and all(same)

    return b.layer("Concatenate", axis=axis)([x, b.partner(x, fits)])


def cut_out(b, x):
    """A slice along channels or positions."""
    axis = b.integer(1, len(x.shape) - 1)
    if x.shape[axis] < 2:
        return None
    first = b.integer(0, x.shape[axis] - 1)
    last = b.integer(first + 1, x.shape[axis])
    return x[(slice(None),) * axis + (slice(first, last),)]


def gate(b, x):
    """Squeeze-and-excite, or one gate for all channels."""
    pooled = b.layer("GlobalAveragePooling2D", keepdims=True)(x)
    channels = b.one_of(1, x.shape[-1])
    return b.layer("Multiply")([x, b.layer("Conv2D", channels, 1, activation="sigmoid")(pooled)])


def spatial_gate(b, x):
    """One gate for each position."""
    return b.layer("Multiply")([x, b.layer("Conv2D", 1, 1, activation="sigmoid")(x)])


def nested(b, x):
    """A model within the model, called twice now and then."""
    inside = [b.layer("Dense", b.integer(1, 5), b.draw(ACTIVATIONS)), b.layer("BatchNormalization")]
    inside += [b.layer("Dense", x.shape[-1])]
    model = b.k.Sequential([b.k.Input(x.shape[1:]), *inside])
    return model(model(x)) if b.flag() else model(x)


def branched(b, x):
    """A functional model within the model, with a residual inside."""
    inner = b.k.Input(x.shape[1:])
    y = b.layer("Dense", x.shape[-1], b.draw(ACTIVATIONS))(b.layer("Dense", b.integer(1, 5))(inner))
    model = b.k.Model(inner, b.layer("Add")([y, inner]))
    return model(model(x)) if b.flag() else model(x)


def rearrange(b, x):
    """Reshape or Permute."""
    sizes = tuple(x.shape[1:])
    if len(sizes) == 1:
        return b.layer("Reshape", (1, *sizes))(x)
    if b.flag():
        order = b.draw(st.permutations(range(1, len(sizes) + 1)))
        return b.layer("Permute", tuple(order))(x)
    if len(sizes) == 3:
        return b.layer("Reshape", (sizes[0] * sizes[1], sizes[2]))(x)
    return b.layer("Reshape", (1, *sizes))(x)


def to_vector(b, x):
    """The end of positions."""
    rank = len(x.shape) - 2
    kinds = ["Flatten", f"GlobalAveragePooling{rank}D", f"GlobalMaxPooling{rank}D"]
    return b.layer(b.one_of(*kinds))(x)


def recurrent(b, x):
    """A recurrent layer, in one direction or both."""
    kind = b.one_of("SimpleRNN", "LSTM", "GRU")
    more = {"reset_after": b.flag()} if kind == "GRU" else {}
    layer = b.layer(kind, b.integer(1, 5), return_sequences=b.flag(), use_bias=b.flag(), **more)
    if b.flag():
        mode = b.one_of("concat", "sum", "mul", "ave")
        layer = b.layer("Bidirectional", layer, merge_mode=mode)
    return layer(x)


def encoder_decoder(b, x):
    """A recurrent layer that starts from the state that another one ends with."""
    kind, units = b.one_of("SimpleRNN", "LSTM", "GRU"), b.integer(1, 4)
    _, *state = b.layer(kind, units, return_state=True)(x)
    other = b.partner(x, lambda t: len(t.shape) == 3)
    return b.layer(kind, units, return_sequences=b.flag())(other, initial_state=state)


def stacked_cells(b, x):
    """A recurrent layer of one or two cells."""
    kinds = [b.one_of("SimpleRNNCell", "LSTMCell", "GRUCell") for _ in range(b.integer(1, 2))]
    cells = [b.layer(kind, b.integer(1, 4)) for kind in kinds]
    return b.layer("RNN", cells if b.flag() else cells[0], return_sequences=b.flag())(x)


def conv_lstm(b, x):
    """A convolutional LSTM: the first axis is time."""
    rank = len(x.shape) - 3
    return b.layer(
        f"ConvLSTM{rank}D",
        b.integer(1, 3),
        b.integer(1, 1 if min(x.shape[2:-1]) < 4 else 3),
        padding=b.one_of("same", "valid"),
        return_sequences=b.flag(),
    )(x)


def each_step(b, x):
    """One layer for every step of a sequence."""
    inner = [b.layer("Dense", b.integer(1, 5), b.draw(ACTIVATIONS)), b.layer("BatchNormalization")]
    if len(x.shape) > 3:
        rank = len(x.shape) - 3
        inner += [b.layer(f"Conv{rank}D", b.integer(1, 4), 2, padding="same"), b.layer("Flatten")]
    return b.layer("TimeDistributed", b.one_of(*inner))(x)


def attention(b, x):
    """Multi-head attention of a sequence to itself or another."""
    other = b.partner(x, lambda t: len(t.shape) == 3)
    if b.k is keras and min(x.shape[1], other.shape[1]) <= MOST_HEADS:
        return None
    layer = b.layer("MultiHeadAttention", b.integer(1, 3), b.integer(1, 4), b.integer(1, 4))
    return layer(x, other)


def grouped_attention(b, x):
    """Attention with fewer heads of keys and values than of queries."""
    if b.k is not keras:
        return attention(b, x)
    if x.shape[1] <= MOST_HEADS:
        return None
    heads = b.integer(1, 2)
    layer = b.layer("GroupQueryAttention", b.integer(1, 3), heads * b.integer(1, 2), heads)
    return layer(x, x)


def einsum(b, x):
    """Dense by an equation."""
    equation = {1: "ab,bc->ac", 2: "abc,cd->abd", 3: "abcd,de->abce"}[len(x.shape) - 1]
    units = b.integer(1, 5)
    shape = (*x.shape[1:-1], units)
    bias = b.one_of(None, equation[-1])
    return b.layer("EinsumDense", equation, output_shape=shape, bias_axes=bias)(x)


def group_norm(b, x):
    """A normalization of every channel by itself, or of groups."""
    return b.layer("GroupNormalization", b.one_of(-1, 1))(x)


def unary(b, x):
    """An element-wise operator."""
    ops = keras.ops if b.k is keras else tf.nn
    maths = keras.ops if b.k is keras else tf.math
    names = b.one_of((ops, "relu"), (ops, "relu6"), (maths, "tanh"), (maths, "sigmoid"))
    return getattr(*b.one_of(names, (maths, "abs"), (maths, "square"), (maths, "exp")))(x / 4.0)


def by_constants(b, x):
    """Arithmetic with one number a channel."""
    array = np.linspace(-1.0, 2.0, x.shape[-1], dtype="float32")
    return b.one_of(lambda: x * array, lambda: x + array, lambda: x - array)()


def reduce(b, x):
    """A mean or maximum over positions or channels."""
    axis = b.integer(1, len(x.shape) - 1)
    kind = b.one_of("mean", "max", "sum")
    if b.k is keras:
        y = getattr(keras.ops, kind)(x, axis=axis, keepdims=True)
    else:
        y = getattr(tf, f"reduce_{kind}")(x, axis=axis, keepdims=True)
    return x * y if b.flag() else y


def space_to_depth(b, x):
    """Blocks of two by two positions become channels, by operators."""
    _, height, width, channels = x.shape
    if height % 2 or width % 2 or channels * 4 > LARGEST:
        return None
    ops = keras.ops if b.k is keras else tf
    y = ops.reshape(x, (-1, height // 2, 2, width // 2, 2, channels))
    y = ops.transpose(y, (0, 1, 3, 2, 4, 5))
    return ops.reshape(y, (-1, height // 2, width // 2, 4 * channels))


def shuffle(b, x):
    """Channels in another order, as after a grouped convolution."""
    if x.shape[-1] % 2:
        return None
    ops = keras.ops if b.k is keras else tf
    sizes = x.shape[1:-1]
    y = ops.reshape(x, (-1, *sizes, 2, x.shape[-1] // 2))
    axes = (*range(len(sizes) + 1), len(sizes) + 2, len(sizes) + 1)
    return ops.reshape(ops.transpose(y, axes), (-1, *sizes, x.shape[-1]))


def split(b, x):
    """The parts of a tensor, put together in another order."""
    if x.shape[-1] < 2:
        return None
    at = b.integer(1, x.shape[-1] - 1)
    if b.k is keras:
        first, second = keras.ops.split(x, [at], axis=-1)
        return keras.ops.concatenate([second, first], axis=-1)
    first, second = tf.split(x, [at, x.shape[-1] - at], axis=-1)
    return tf.concat([second, first], axis=-1)


def shortcut(b, x):
    """The option-A shortcut: every second position, and channels of zeros."""
    steps = (slice(None), *(slice(None, None, 2) for _ in x.shape[1:-1]))
    pads = [(0, 0)] * (len(x.shape) - 1) + [(b.integer(0, 1), b.integer(0, 2))]
    return (keras.ops if b.k is keras else tf).pad(x[steps], pads)


def pool_3d(b, x):
    """Layers that work on positions of volumes."""
    layers = [
        b.layer("ZeroPadding3D", 1),
        b.layer("Dropout", 0.5),
        b.layer("SpatialDropout3D", 0.5),
    ]
    if min(x.shape[1:4]) > 2:
        layers += [b.layer("MaxPooling3D", 2), b.layer("AveragePooling3D", 2, padding="same")]
    return b.one_of(*layers)(x)


def volume_conv(b, x):
    """A convolution over volumes."""
    size = b.integer(1, 1 if min(x.shape[1:-1]) < 3 else 2)
    return b.layer("Conv3D", b.integer(1, 4), size, activation=b.draw(ACTIVATIONS))(x)


EVERYWHERE = (dense, batch_norm, activation, merge, scale, concatenate, cut_out, nested, rearrange)
EVERYWHERE += (branched, group_norm, unary, by_constants, reduce, shuffle, split, shortcut)
IMAGES = (conv, conv, conv, grouped_conv, depthwise_conv, separable_conv, transposed_conv, pool_2d)
IMAGES += (conv, depthwise_conv, gate, spatial_gate, to_vector, space_to_depth, conv_lstm)
IMAGES += (each_step,)
SEQUENCES = (conv, conv, depthwise_conv, separable_conv, transposed_conv, pool_1d, layer_norm)
SEQUENCES += (recurrent, recurrent, encoder_decoder, stacked_cells, each_step, to_vector)
SEQUENCES += (attention, attention, grouped_attention, einsum)
VIDEOS = (conv_lstm, conv_lstm, each_step, volume_conv, pool_3d, to_vector)
STEPS = {1: (dense, dense, layer_norm, einsum, *EVERYWHERE), 2: EVERYWHERE + SEQUENCES}
STEPS |= {3: EVERYWHERE + IMAGES, 4: EVERYWHERE + VIDEOS}
INPUTS = {1: (7,), 2: (6, 3), 3: (6, 7, 2), 4: (3, 4, 5, 2)}


@st.composite
def networks(draw, k, rank):
    """A functional model of `k` with 3 to 40 random steps and one or two heads.

    Args:
        k: `keras` or `tf_keras`.
        rank: rank of its inputs: 1 for vectors, 2 for sequences, 3 for images, 4 for videos; 0 for
            sequences of tokens.
    """
    k.backend.clear_session()
    b = Builder(draw, k)
    inputs = [_input(b, rank, i) for i in range(b.integer(1, 2))]
    for _ in range(b.integer(3, 40)):
        b.grow(STEPS)
    ends = [_head(b, b.tensors[-1])]
    if b.flag():
        ends.append(_head(b, b.tensors[len(b.tensors) // 2]))
    if b.flag():
        inputs = {f"in_{i}": x for i, x in enumerate(inputs)}
        ends = {f"out_{i}": x for i, x in enumerate(ends)}
    return k.Model(inputs, ends)


def _input(b, rank, number):
    """A new input; the tensors that steps start from get it, or its embedding."""
    if rank:
        x = b.k.Input(INPUTS[rank], name=f"in_{number}")
        b.tensors.append(x)
        return x
    x = b.k.Input((6,), dtype="int32", name=f"in_{number}")
    masks = b.k is keras and b.flag()  # tf_keras cannot concatenate masked tensors of two shapes
    b.tensors.append(b.layer("Embedding", 3, b.integer(1, 5), mask_zero=masks)(x))
    return x


def _head(b, x):
    flat = x if len(x.shape) == 2 else b.layer("Flatten")(x)
    return b.layer("Dense", 2)(flat)
