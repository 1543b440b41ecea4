"""The network that `sft-keras compress` trains when it is given none."""

from typing import Any

import keras
from keras import layers

from sft_keras.errors import DataError

STEM_FILTERS = 32
MAX_FILTERS = 128
SMALLEST_MAP = 4
LARGE_IMAGE = 32
# The default of 0.99 lags behind by hundreds of steps, more than small data sets have.
BATCH_NORM_MOMENTUM = 0.9


def default_network(input_shape: tuple[int, ...], num_classes: int) -> Any:
    """A compiled residual network with separable down-sampling, sized for its images.

    A 3x3 stem and a residual block; then, while the maps are larger than 4x4, a depthwise and a
    pointwise convolution that halve them and double the filters, and another residual block.
    97 k parameters and 2.4 M multiply-accumulates for 8x8 digits.

    Args:
        input_shape: `(height, width, channels)` of one image.
        num_classes: size of the softmax output.

    Returns:
        A `keras.Model`, compiled with Adam.

    Raises:
        DataError: the samples are not images.
    """
    if len(input_shape) != 3:
        raise DataError(
            f"The default network takes images, not samples of shape {input_shape}; give your own "
            "network with --model."
        )
    size, filters, block = min(input_shape[:2]), STEM_FILTERS, 1
    inputs = keras.Input(input_shape)
    x = _conv_bn_relu(inputs, filters, "stem", strides=2 if size > LARGE_IMAGE else 1)
    x = _residual(x, filters, f"block{block}")
    while min(x.shape[1:3]) > SMALLEST_MAP:
        filters, block = min(2 * filters, MAX_FILTERS), block + 1
        x = _residual(_halve(x, filters, f"down{block}"), filters, f"block{block}")
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(num_classes, activation="softmax", name="classes")(x)
    model = keras.Model(inputs, outputs, name="default_network")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def _conv_bn(x, filters, name, kernel_size=3, strides=1):
    conv = layers.Conv2D(filters, kernel_size, strides, padding="same", use_bias=False, name=name)
    return layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM, name=f"{name}_bn")(conv(x))


def _conv_bn_relu(x, filters, name, **options):
    return layers.ReLU(name=f"{name}_relu")(_conv_bn(x, filters, name, **options))


def _residual(x, filters, name):
    y = _conv_bn_relu(x, filters, f"{name}_conv1")
    y = _conv_bn(y, filters, f"{name}_conv2")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, y]))


def _halve(x, filters, name):
    depthwise = layers.DepthwiseConv2D(
        3, 2, padding="same", use_bias=False, name=f"{name}_depthwise"
    )
    x = layers.BatchNormalization(momentum=BATCH_NORM_MOMENTUM)(depthwise(x))
    return _conv_bn_relu(layers.ReLU()(x), filters, f"{name}_pointwise", kernel_size=1)
