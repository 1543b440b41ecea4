"""One test a layer: fake-quantized, converted, no float in the file, same numbers."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from tf_keras import layers

from sft_keras.quantization import int8
from sft_keras.quantization.tfmot import RecentRange, SymmetricRange


@pytest.fixture(autouse=True)
def _fresh_names():
    tf_keras.backend.clear_session()


IMAGE, SEQUENCE, VECTOR = (8, 8, 4), (8, 4), (4,)

CASES = {
    "conv": (IMAGE, lambda x: layers.Conv2D(5, 3)(x)),
    "conv, one filter": (IMAGE, lambda x: layers.Conv2D(1, 3)(x)),
    "conv relu": (IMAGE, lambda x: layers.ReLU()(layers.Conv2D(5, 3)(x))),
    "conv relu6": (IMAGE, lambda x: layers.ReLU(6.0)(layers.Conv2D(5, 3)(x))),
    "grouped": (IMAGE, lambda x: layers.Conv2D(6, 3, groups=2)(x)),
    "dilated": (IMAGE, lambda x: layers.Conv2D(5, 3, dilation_rate=2, padding="same")(x)),
    "depthwise": (IMAGE, lambda x: layers.DepthwiseConv2D(3, depth_multiplier=2)(x)),
    "transposed": (IMAGE, lambda x: layers.Conv2DTranspose(5, 3, strides=2)(x)),
    "transposed relu": (IMAGE, lambda x: layers.ReLU()(layers.Conv2DTranspose(5, 3)(x))),
    "dense": (VECTOR, lambda x: layers.ReLU()(layers.Dense(5)(x))),
    "dense on images": (IMAGE, lambda x: layers.Dense(5)(x)),
    "max pooling": (IMAGE, lambda x: layers.MaxPooling2D()(x)),
    "average pooling": (IMAGE, lambda x: layers.AveragePooling2D()(x)),
    "global average": (IMAGE, lambda x: layers.GlobalAveragePooling2D()(x)),
    "global average 1d": (SEQUENCE, lambda x: layers.GlobalAveragePooling1D()(x)),
    "global max": (IMAGE, lambda x: layers.GlobalMaxPooling2D()(x)),
    "up sampling": (IMAGE, lambda x: layers.UpSampling2D()(x)),
    "bilinear": (IMAGE, lambda x: layers.UpSampling2D(interpolation="bilinear")(x)),
    "padding and cropping": (IMAGE, lambda x: layers.Cropping2D(2)(layers.ZeroPadding2D(1)(x))),
    "padding 1d": (SEQUENCE, lambda x: layers.Cropping1D(2)(layers.ZeroPadding1D(1)(x))),
    "shapes": (IMAGE, lambda x: layers.Permute((2, 1))(layers.Reshape((32, 8))(x))),
    "flatten": (IMAGE, lambda x: layers.Dense(2)(layers.Flatten()(layers.Dropout(0.5)(x)))),
    "softmax": (VECTOR, lambda x: layers.Softmax()(layers.Dense(3)(x))),
    "leaky": (VECTOR, lambda x: layers.LeakyReLU(0.1)(layers.Dense(3)(x))),
    "add relu": (IMAGE, lambda x: layers.ReLU()(layers.Add()([x, layers.Conv2D(4, 1)(x)]))),
    "multiply": (IMAGE, lambda x: layers.Multiply()([x, layers.Conv2D(4, 1)(x)])),
    "subtract": (IMAGE, lambda x: layers.Subtract()([x, layers.Conv2D(4, 1)(x)])),
    "maximum": (IMAGE, lambda x: layers.Maximum()([x, layers.Conv2D(4, 1)(x)])),
    "minimum": (IMAGE, lambda x: layers.Minimum()([x, layers.Conv2D(4, 1)(x)])),
    "concatenate": (
        IMAGE,
        lambda x: layers.Concatenate()([layers.Conv2D(3, 1)(x), layers.ReLU()(x), x]),
    ),
    **{
        f"activation {name}": (
            VECTOR,
            lambda x, name=name: layers.Activation(name)(layers.Dense(3)(x)),
        )
        for name in int8.ACTIVATIONS
    },
}


@pytest.mark.parametrize("case", CASES)
def test_layer_has_an_int8_form(case, to_file, see_data, randomize):
    shape, make = CASES[case]
    x = tf_keras.Input(shape)
    model = randomize(tf_keras.Model(x, make(x)))
    assert not int8.problems(model)
    qat = int8.apply(model)
    data = see_data(qat)
    file = to_file(qat)
    assert file.floats == []
    outputs, step = file(*data)
    # Each operator rounds once, so a chain of three may be off by some steps.
    assert np.abs(outputs - qat(data, training=False)).max() <= 4.1 * step


def test_every_form_is_tested():
    tested = {type(layer) for layer in _layers_of_all_cases()}
    moves = {kind for kind, form in int8.FORMS.items() if form == int8.MOVES}
    assert set(int8.FORMS) - moves <= tested


def _layers_of_all_cases():
    for shape, make in CASES.values():
        x = tf_keras.Input(shape)
        yield from tf_keras.Model(x, make(x)).layers


@pytest.mark.parametrize(
    ("layer", "way_out"),
    [
        (lambda: layers.PReLU(), "LeakyReLU"),
        (lambda: layers.ReLU(max_value=4), "max_value=6"),
        (lambda: layers.ReLU(threshold=1), "no threshold"),
        (lambda: layers.Activation("elu"), "relu6"),
        (lambda: layers.Activation(lambda x: x), "relu6"),
        (lambda: layers.BatchNormalization(axis=1), "last axis"),
        (lambda: layers.LayerNormalization(), "replace"),
        (lambda: layers.UpSampling2D(interpolation="bicubic"), "nearest, bilinear"),
        (lambda: layers.Softmax(axis=(1, 2)), "one axis"),
    ],
)
def test_layer_without_int8_form_is_named(layer, way_out):
    x = tf_keras.Input(IMAGE)
    made = layer()
    (problem,) = int8.problems(tf_keras.Model(x, made(x)))
    assert problem.layer == made.name
    assert way_out in problem.way_out


def test_an_operator_without_int8_form_is_named():
    x = tf_keras.Input(IMAGE)
    reasons = [p.reason for p in int8.problems(tf_keras.Model(x, [x[:, 1:], tf.sin(x)]))]
    expected = {"is the operator 'getitem' that has no int8 form"}
    assert set(reasons) == expected | {"is the operator 'sin' that has no int8 form"}


def test_a_range_is_that_of_the_batches_seen_at_once(see_data):
    x = tf_keras.Input((4,))
    qat = int8.apply(tf_keras.Model(x, layers.Dense(2)(x)))
    qat(np.full((8, 4), 50.0, "float32"), training=True)
    assert np.abs(qat.layers[1](np.full((1, 4), 50.0))[0, 0] - 50) < 0.3


def test_a_range_grows_at_once_and_shrinks_slowly():
    layer = tf_keras.layers.Layer()
    quantizer = RecentRange()
    ranges = quantizer.build(None, "x", layer)
    for high in [1.0] * 10 + [3.0]:
        quantizer(np.array([-0.5, high], "float32"), True, ranges)
    assert [ranges[key].numpy() for key in ("min", "max")] == [-0.5, 3.0]
    for _ in range(int(quantizer.HORIZON) // 2):
        quantizer(np.array([-0.5, 1.0], "float32"), True, ranges)
    assert ranges["min"].numpy() == pytest.approx(-0.5)
    assert ranges["max"].numpy() == pytest.approx(1 + 2 * np.exp(-1), abs=0.02)


@pytest.mark.parametrize("axes", [0, 1, 2])
def test_kernels_are_rounded_to_127_steps_of_their_own_range(axes):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype("float32")
    rounded = np.asarray(SymmetricRange(axes)(kernel, False, {}))
    others = tuple(range(4 - axes))
    step = np.abs(kernel).max(axis=others, keepdims=True) / 127
    assert np.allclose(rounded / step, np.round(rounded / step), atol=1e-3)
    assert np.abs(rounded - kernel).max() <= 0.51 * step.max()


def test_a_range_is_never_so_small_that_a_bias_does_not_fit():
    kernel = np.zeros((1, 1, 1, 3), "float32")
    kernel[..., 1:] = [1e-9, 1.0]
    rounded = np.asarray(SymmetricRange(1)(kernel, False, {}))
    assert rounded.ravel().tolist() == [0, 0, 1]


def test_a_kernel_of_zeros_stays_int8(to_file, see_data):
    x = tf_keras.Input(IMAGE)
    conv = layers.Conv2D(3, 3, kernel_initializer="zeros", bias_initializer="ones")
    qat = int8.apply(tf_keras.Model(x, conv(x)))
    see_data(qat)
    assert to_file(qat).floats == []


def test_relu_and_concatenate_quantize_for_those_before(randomize):
    x = tf_keras.Input(IMAGE)
    y = layers.ReLU(name="relu")(layers.Conv2D(2, 3, name="conv")(x))
    z = layers.Conv2D(2, 3, name="other")(x)
    qat = int8.apply(tf_keras.Model(x, layers.Concatenate(name="concat")([y, z])))
    quantized = {layer.name for layer in qat.layers if any("max" in w.name for w in layer.weights)}
    assert quantized == {"input_1_int8", "concat"}
