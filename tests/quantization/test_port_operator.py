"""Operators: those of Keras 3 become layers or functions, those of tf_keras stay as they are."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import layers, ops

from sft_keras import flavors
from sft_keras.errors import UnsupportedError
from sft_keras.quantization import problems, to_tf_keras
from sft_keras.shrinking import proof

SEQUENCE, IMAGE = (6, 4), (4, 4, 3)
VECTOR = np.linspace(0.5, 2, 4, dtype="float32")
KERNEL = np.random.default_rng(0).normal(size=(3, 4, 2)).astype("float32")
FILTERS = np.random.default_rng(0).normal(size=(2, 2, 3, 1)).astype("float32")


def difference(model, port):
    inputs = proof.random_inputs(model, seed=7)
    return proof.relative_difference(proof.outputs(model, inputs), proof.outputs(port, inputs))


def kinds(model):
    return [type(call.layer).__name__ for call in flavors.calls(model)][1:]


def ported(shape, network, dtype="float32"):
    keras.backend.clear_session()
    x = keras.Input(shape, dtype=dtype)
    model = keras.Model(x, keras.tree.flatten(network(x)))
    port = to_tf_keras(model)
    assert difference(model, port) <= 1e-5
    return port


# One operator each, and the layers that compute it.
AS_LAYERS = {
    "add": (SEQUENCE, lambda x: x + x, ["Add"]),
    "add vector": (SEQUENCE, lambda x: x + VECTOR, ["Rescaling"]),
    "from constant": (SEQUENCE, lambda x: 2.0 - x, ["Rescaling"]),
    "divide": (SEQUENCE, lambda x: x / 3.0, ["Rescaling"]),
    "negative": (SEQUENCE, lambda x: -x, ["Rescaling"]),
    "maximum": (SEQUENCE, lambda x: ops.maximum(x, x), ["Maximum"]),
    "relu": (SEQUENCE, ops.relu, ["Activation"]),
    "clipped relu": (SEQUENCE, lambda x: keras.activations.relu(x, 0.1, 3.0), ["ReLU"]),
    "relu by a maximum": (SEQUENCE, lambda x: ops.maximum(x, 0.0), ["Activation"]),
    "relu6 by a clip": (SEQUENCE, lambda x: ops.clip(x, 0, 6), ["Activation"]),
    "relu with a slope": (SEQUENCE, layers.ReLU(negative_slope=0.1), ["LeakyReLU"]),
    "new axes": ((4,), lambda x: x[:, None, None, :], ["Reshape"]),
    "leaky": (SEQUENCE, lambda x: ops.leaky_relu(x, 0.3), ["LeakyReLU"]),
    "silu": (SEQUENCE, ops.silu, ["Activation"]),
    "softmax": (SEQUENCE, ops.softmax, ["Activation"]),
    "softmax of rows": (SEQUENCE, lambda x: ops.softmax(x, axis=1), ["Softmax"]),
    "hard sigmoid": (SEQUENCE, ops.hard_sigmoid, ["Rescaling", "ReLU", "Rescaling"]),
    "hard silu": (SEQUENCE, ops.hard_silu, ["Rescaling", "ReLU", "Rescaling", "Multiply"]),
    "reshape": (SEQUENCE, lambda x: ops.reshape(x, (-1, 2, 12)), ["Reshape"]),
    "squeeze": ((1, 4), lambda x: ops.squeeze(x, 1), ["Reshape"]),
    "expand": ((None, 4), lambda x: ops.expand_dims(x, 2), ["Reshape"]),
    "transpose": (SEQUENCE, lambda x: ops.transpose(x, (0, 2, 1)), ["Permute"]),
    "swapaxes": (SEQUENCE, lambda x: ops.swapaxes(x, -1, 1), ["Permute"]),
    "moveaxis": (IMAGE, lambda x: ops.moveaxis(x, 1, -1), ["Permute"]),
    "concatenate": (SEQUENCE, lambda x: ops.concatenate([x, x], axis=-1), ["Concatenate"]),
    "mean": (IMAGE, lambda x: ops.mean(x, axis=(1, 2)), ["GlobalAveragePooling2D"]),
    "max": (SEQUENCE, lambda x: ops.max(x, axis=1, keepdims=True), ["GlobalMaxPooling1D"]),
    "pad": (IMAGE, lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0))), ["ZeroPadding2D"]),
    "pad 1-D": (SEQUENCE, lambda x: ops.pad(x, ((0, 0), (2, 1), (0, 0))), ["ZeroPadding1D"]),
}


@pytest.mark.parametrize("case", AS_LAYERS)
def test_layers_that_compute_the_same(case):
    shape, network, expected = AS_LAYERS[case]
    assert kinds(ported(shape, network)) == expected


UNARY = """abs arctan ceil cos cosh erf exp expm1 floor negative relu relu6 selu sigmoid sign silu
    sin sinh softplus softsign square tan tanh hard_sigmoid hard_silu hard_tanh log_sigmoid
    sparse_plus sparse_sigmoid squareplus tanh_shrink soft_shrink hard_shrink celu elu gelu
    leaky_relu glu softmax log_softmax round ravel stop_gradient ones_like zeros_like"""
POSITIVE = ["log", "sqrt", "rsqrt", "log1p", "reciprocal"]
BINARY = "add subtract multiply divide maximum minimum power floor_divide mod arctan2"
REDUCTIONS = ["sum", "mean", "max", "min", "prod", "std", "var", "logsumexp", "argmax", "argmin"]

# No layer computes these, or not all of what they do.
AS_FUNCTIONS = {
    "of one operand": (SEQUENCE, lambda x: [getattr(ops, name)(x) for name in UNARY.split()]),
    "of positive numbers": (
        SEQUENCE,
        lambda x: [getattr(ops, name)(ops.square(x) + 1.5) for name in POSITIVE],
    ),
    "of one in -1..1": (
        SEQUENCE,
        lambda x: [getattr(ops, n)(ops.tanh(x)) for n in ("arcsin", "arccos", "arctanh")],
    ),
    "of two operands": (
        SEQUENCE,
        lambda x: [
            getattr(ops, name)(*pair)
            for y in [x * x + 1.0]
            for name in BINARY.split()
            for pair in ((y, y + 1.0), (y, 2.0), (2.0, y), (y, VECTOR))
        ],
    ),
    "reductions": (
        SEQUENCE,
        lambda x: [
            ops.cast(getattr(ops, name)(x, axis=axis, keepdims=axis > 1), "float32")
            for name in REDUCTIONS
            for axis in (1, 2)
        ],
    ),
    "over the batch": (SEQUENCE, lambda x: [ops.mean(x, axis=0), ops.max(x, 1, initial=0.5)]),
    "shapes": (
        SEQUENCE,
        lambda x: [
            ops.reshape(x, (-1, 12)),
            ops.transpose(x, (1, 0, 2)),
            ops.moveaxis(x, [0, 1], [1, 2]),
            ops.swapaxes(x, 0, 1),
            ops.expand_dims(x, 0),
            ops.broadcast_to(ops.expand_dims(x, 1), (2, 3, *SEQUENCE)),
        ],
    ),
    "parts": (
        SEQUENCE,
        lambda x: [
            ops.split(x, 2, axis=-1),
            ops.split(x, [1, 3], axis=1),
            ops.unstack(x, axis=2),
            x[:, 1:4:2],
            x[:, -1],
            x[..., None, :2],
            x[:, ::-1],
            ops.take(x, [0, 2], axis=1),
            ops.top_k(x, 2)[0],
        ],
    ),
    "several": (
        SEQUENCE,
        lambda x: [
            ops.concatenate([x, x], axis=0),
            ops.stack([x, x], axis=1),
            ops.repeat(x, 2, axis=1),
            ops.tile(x, [1, 2, 1]),
            ops.tile(x, [2]),
            ops.flip(x, axis=1),
            ops.roll(x, 1, axis=1),
            ops.sort(x, axis=1),
            ops.cumsum(x, axis=1),
        ],
    ),
    "padding": (
        SEQUENCE,
        lambda x: [
            ops.pad(x, ((0, 0), (0, 0), (1, 1)), constant_values=2.0),
            ops.pad(x, ((0, 0), (1, 1), (0, 0)), mode="reflect"),
        ],
    ),
    "products": (
        SEQUENCE,
        lambda x: [
            ops.matmul(x, ops.transpose(x, (0, 2, 1))),
            x @ np.outer(VECTOR, VECTOR),
            ops.einsum("abc,adc->abd", x, x),
            ops.einsum("abc,cd->abd", x, VECTOR[:, None]),
            ops.conv(x, KERNEL, padding="same"),
            ops.conv(x, KERNEL, dilation_rate=2),
        ],
    ),
    "choices": (
        SEQUENCE,
        lambda x: [
            ops.clip(x, -0.5, 0.5),
            ops.where(x > 0, x, -2.0 * x),
            ops.where(ops.logical_and(x > 0, ops.logical_not(x > 1)), x, 0.0),
            ops.cast(ops.cast(x, "int32"), "float32"),
        ],
    ),
    "images": (
        IMAGE,
        lambda x: [
            ops.image.resize(x, (6, 8)),
            ops.image.resize(x, (6, 8), interpolation="nearest"),
            ops.depthwise_conv(x, FILTERS, strides=2),
            ops.max_pool(x, 2),
            ops.average_pool(x, 3, strides=1, padding="same"),
            ops.rms_normalization(x),
        ],
    ),
    "another rank": (SEQUENCE, lambda x: x * ops.mean(x, axis=(0, 1, 2)) + np.ones(SEQUENCE)),
}


@pytest.mark.parametrize("case", AS_FUNCTIONS)
def test_functions_that_compute_the_same(case):
    assert {"TFOpLambda", "SlicingOpLambda"} & set(kinds(ported(*AS_FUNCTIONS[case])))


INTEGERS = {
    "shifted tokens": lambda x: layers.Embedding(9, 3)(x[:, 1:] + 1),
    "compared": lambda x: ops.cast(ops.equal(x, 0), "float32"),
    "mean": lambda x: ops.mean(x, axis=1),
    "one-hot": lambda x: ops.one_hot(x, 3),
    "pixels": lambda x: (x / 255.0) ** 2.0,
}


@pytest.mark.parametrize("case", INTEGERS)
def test_integers(case):
    assert ported((6,), INTEGERS[case], "int32").inputs[0].dtype == "int32"


def test_pixels_are_scaled_by_layers():
    port = ported(IMAGE, lambda x: (x / 255.0 - 0.5) * 2.0, "uint8")
    assert set(kinds(port)) == {"Rescaling"}


def test_half_precision(randomize):
    x = keras.Input(SEQUENCE)
    y = layers.Dense(4, dtype="mixed_float16")(x)
    model = randomize(keras.Model(x, ops.exp(ops.cast(y, "float16") * VECTOR.astype("float16"))))
    assert to_tf_keras(model).output.dtype == "float32"


def test_operators_keep_their_names():
    x = keras.Input(SEQUENCE, name="x")
    model = keras.Model(x, keras.ops.exp(keras.ops.cumsum(x + 1.0, axis=1)))
    names = [call.layer.name for call in flavors.calls(model)]
    assert [layer.name for layer in to_tf_keras(model).layers] == names


def test_a_nested_model_with_operators_called_twice():
    x = keras.Input((4,))
    inner = keras.Model(x, ops.exp(x) + x)
    model = keras.Model(x, inner(inner(x) * 0.1))
    assert difference(model, to_tf_keras(model)) <= 1e-5


OF_TENSORFLOW = {
    "functions": lambda x: tf.exp(tf.reduce_sum(x, 1)) + tf.math.cumsum(x, 1)[:, -1],
    "slices": lambda x: x[:, 1:4, ::2],
    "unknown to Keras 3": lambda x: tf.roll(tf.linalg.band_part(x, 1, 1), 1, 2),
    "shape": lambda x: tf.reshape(x, (tf.shape(x)[0], -1)),
    "lists": lambda x: tf.stack(tf.split(x, 2, axis=-1), axis=1),
}


@pytest.mark.parametrize("case", OF_TENSORFLOW)
def test_operators_of_tf_keras_stay(case):
    x = tf_keras.Input(SEQUENCE)
    model = tf_keras.Model(x, OF_TENSORFLOW[case](x))
    port = to_tf_keras(model)
    assert difference(model, port) <= 1e-5
    assert not set(map(id, port.layers)) & set(map(id, model.layers))


def test_what_is_not_in_the_table_is_refused_by_name():
    x = keras.Input(SEQUENCE)
    with pytest.raises(UnsupportedError, match="'median' is the operator 'median', which is not"):
        to_tf_keras(keras.Model(x, ops.median(x, axis=1)))


def test_arguments_that_are_not_in_the_table_are_refused():
    x = keras.Input(SEQUENCE)
    with pytest.raises(UnsupportedError, match="'roll', with arguments that are not ported"):
        to_tf_keras(keras.Model(x, ops.roll(x, 1)))


def test_a_variable_among_the_arguments_is_refused(flavor):
    dense = flavor.layers.Dense(4)
    x = flavor.Input((4,))
    y = dense(x)
    y = y @ dense.kernel if flavor is keras else tf.matmul(y, dense.kernel)
    with pytest.raises(UnsupportedError, match="takes a variable"):
        to_tf_keras(flavor.Model(x, y))


def test_functions_are_named_among_the_problems():
    x = keras.Input(SEQUENCE)
    model = keras.Model(x, layers.Dense(2)(ops.exp(x)))
    assert [problem.layer for problem in problems(model)] == ["exp"]
