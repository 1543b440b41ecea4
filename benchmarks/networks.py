"""Small networks for 16x16 images, a minute to train, and random weights for networks of any size.

Of the small ones two have BatchNormalization, one has none.
"""

from typing import Any

import keras
import numpy as np
from keras import layers

from sft_keras import flavors

INPUT = (16, 16, 3)
CLASSES = 10


def _conv(x, filters, strides=1, size=3, activation=True):
    x = layers.Conv2D(filters, size, strides, "same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x) if activation else x


def conv6() -> keras.Model:
    """Six convolutions with BatchNormalization."""
    x = image = keras.Input(INPUT)
    for index, filters in enumerate((16, 16, 24, 24, 32, 48)):
        x = _conv(x, filters)
        x = layers.MaxPooling2D()(x) if index in (1, 3) else x
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(CLASSES)(x), name="conv6")


def resnet() -> keras.Model:
    """Three residual blocks with BatchNormalization."""
    x = image = keras.Input(INPUT)
    x = _conv(x, 12)
    for index, filters in enumerate((12, 24, 32)):
        strides = 1 if index == 0 else 2
        shortcut = x if index == 0 else _conv(x, filters, 2, 1, activation=False)
        y = _conv(_conv(x, filters, strides), filters, activation=False)
        x = layers.ReLU()(layers.Add()([y, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(CLASSES)(x), name="resnet")


def vgg() -> keras.Model:
    """Five convolutions and a hidden dense layer, without normalization."""
    options = {"activation": "relu", "kernel_initializer": "he_uniform"}
    x = image = keras.Input(INPUT)
    for index, filters in enumerate((16, 16, 24, 24, 32)):
        x = layers.Conv2D(filters, 3, padding="same", **options)(x)
        x = layers.MaxPooling2D()(x) if index in (1, 3) else x
    x = layers.Flatten()(layers.MaxPooling2D()(x))
    x = layers.Dense(48, **options)(x)
    return keras.Model(image, layers.Dense(CLASSES)(x), name="vgg")


ALL = {"conv6": conv6, "resnet": resnet, "vgg": vgg}


def randomize(model: Any, seed: int = 0) -> None:
    """Fills all weights, biases and statistics with random values, none of them zero."""
    rng = np.random.default_rng(seed)
    for variable in flavors.weights(model):
        old = flavors.to_numpy(variable)
        if np.issubdtype(old.dtype, np.integer):
            continue
        if "variance" in variable.name:
            new = rng.uniform(0.5, 2.0, old.shape)
        else:
            new = rng.standard_normal(old.shape, "float32")
            new /= np.sqrt(np.prod(old.shape[:-1]) if old.ndim > 1 else 1)
        variable.assign(new.astype(old.dtype))
