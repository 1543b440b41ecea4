"""A hypothesis strategy for random functional networks of everything that shrink understands."""

from hypothesis import strategies as st

ACTIVATIONS = st.sampled_from(["relu", "linear", "sigmoid", "tanh", "softplus", "elu", "gelu"])
LARGEST = 24
"""Positions and channels beyond which a tensor only grows slower to compute."""


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
        if y is not None and max(y.shape[1:]) <= LARGEST:
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
    layer = b.layer(
        f"Conv{rank}D",
        b.integer(1, 6),
        b.integer(1, 1 if small else 3),
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


def each_step(b, x):
    """One layer for every step of a sequence."""
    return b.layer("TimeDistributed", b.layer("Dense", b.integer(1, 5), b.draw(ACTIVATIONS)))(x)


def attention(b, x):
    """Multi-head attention of a sequence to itself or another."""
    other = b.partner(x, lambda t: len(t.shape) == 3)
    layer = b.layer("MultiHeadAttention", b.integer(1, 3), b.integer(1, 4), b.integer(1, 4))
    return layer(x, other)


def einsum(b, x):
    """Dense by an equation."""
    equation = {1: "ab,bc->ac", 2: "abc,cd->abd", 3: "abcd,de->abce"}[len(x.shape) - 1]
    units = b.integer(1, 5)
    shape = (*x.shape[1:-1], units)
    bias = b.one_of(None, equation[-1])
    return b.layer("EinsumDense", equation, output_shape=shape, bias_axes=bias)(x)


EVERYWHERE = (dense, batch_norm, activation, merge, scale, concatenate, cut_out, nested, rearrange)
IMAGES = (conv, conv, conv, grouped_conv, depthwise_conv, separable_conv, transposed_conv, pool_2d)
IMAGES += (gate, spatial_gate, to_vector)
SEQUENCES = (conv, conv, depthwise_conv, separable_conv, transposed_conv, pool_1d, layer_norm)
SEQUENCES += (recurrent, recurrent, each_step, attention, attention, einsum, to_vector)
STEPS = {1: (dense, layer_norm, einsum, *EVERYWHERE), 2: EVERYWHERE + SEQUENCES}
STEPS[3] = EVERYWHERE + IMAGES
INPUTS = {1: (7,), 2: (6, 3), 3: (6, 7, 2)}


@st.composite
def networks(draw, k, rank):
    """A functional model of `k` with 3 to 40 random steps and one or two heads.

    Args:
        k: `keras` or `tf_keras`.
        rank: rank of its input: 1 for vectors, 2 for sequences, 3 for images.
    """
    k.backend.clear_session()
    b = Builder(draw, k)
    inputs = [k.Input(INPUTS[rank]) for _ in range(draw(st.integers(1, 2)))]
    b.tensors += inputs
    for _ in range(draw(st.integers(3, 40))):
        b.grow(STEPS)
    ends = [_head(b, b.tensors[-1])]
    if draw(st.booleans()):
        ends.append(_head(b, b.tensors[len(b.tensors) // 2]))
    return k.Model(inputs, ends)


def _head(b, x):
    flat = x if len(x.shape) == 2 else b.layer("Flatten")(x)
    return b.layer("Dense", 2)(flat)
