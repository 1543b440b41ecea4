"""The same operators of both Kerases: those of `keras.ops`, and TensorFlow's by the same names."""

from types import SimpleNamespace

import keras
import tensorflow as tf

TENSORFLOW = SimpleNamespace(
    **{name: getattr(tf, name) for name in ("reshape", "squeeze", "where", "cast", "pad")},
    **{name: getattr(tf, name) for name in ("broadcast_to", "cumsum", "add", "multiply")},
    **{name: getattr(tf, name) for name in ("subtract", "divide", "maximum", "minimum", "norm")},
    **{name: getattr(tf, name) for name in ("sort", "argmax", "sqrt", "abs", "exp", "square")},
    **{name: getattr(tf.nn, name) for name in ("relu", "relu6", "gelu", "elu", "silu", "softmax")},
    **{name: getattr(tf.nn, name) for name in ("sigmoid", "tanh", "softplus", "leaky_relu")},
    **{name: getattr(tf.nn, name) for name in ("depth_to_space", "space_to_depth", "top_k")},
    **{
        name: getattr(tf, f"reduce_{name}")
        for name in ("sum", "mean", "max", "min", "any", "all", "prod", "logsumexp")
    },
    log=tf.math.log,
    var=tf.math.reduce_variance,
    std=tf.math.reduce_std,
    clip=tf.clip_by_value,
    matmul=tf.matmul,
    transpose=lambda x, axes: tf.transpose(x, axes),
    expand_dims=lambda x, axis: tf.expand_dims(x, axis),
    flip=lambda x, axis: tf.reverse(x, [axis]),
    roll=lambda x, shift, axis: tf.roll(x, shift, axis),
    repeat=lambda x, repeats, axis: tf.repeat(x, repeats, axis=axis),
    tile=lambda x, repeats: tf.tile(x, repeats),
    take=lambda x, indices, axis: tf.gather(x, indices, axis=axis),
    concatenate=lambda xs, axis=-1: tf.concat(xs, axis),
    stack=lambda xs, axis: tf.stack(xs, axis),
    split=lambda x, sections, axis: tf.split(x, sections, axis),
    unstack=lambda x, axis: tf.unstack(x, axis=axis),
    max_pool=lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"),
    average_pool=lambda x: tf.nn.avg_pool2d(x, 2, 1, "SAME"),
    resize=lambda x, size: tf.image.resize(x, size),
)

KERAS = SimpleNamespace(
    **{name: value for name, value in vars(keras.ops).items() if name[0] != "_"},
)
KERAS.max_pool = lambda x: keras.ops.nn.max_pool(x, 2, 2)
KERAS.average_pool = lambda x: keras.ops.nn.average_pool(x, 2, 1, "same")
KERAS.resize = lambda x, size: keras.ops.image.resize(x, size)
KERAS.flip = lambda x, axis: keras.ops.flip(x, axis)


def split(k, x, sizes, axis=-1):
    """Splits into parts of the sizes, which the two Kerases are told otherwise."""
    if k is keras:
        bounds = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
        return keras.ops.split(x, bounds, axis=axis)
    return tf.split(x, sizes, axis=axis)


def operators(k):
    """The operators for models of one Keras."""
    return KERAS if k is keras else TENSORFLOW
