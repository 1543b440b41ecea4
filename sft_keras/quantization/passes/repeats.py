"""Repetitions by an operator that moves int8 numbers as they are."""

import tf_keras
from tf_keras import layers

from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import Replaced, rewrite, shape


@proven
def repeat_by_upsampling(model: tf_keras.Model) -> tf_keras.Model:
    """Turns `RepeatVector(n)` into an upsampling of a sequence of one step.

    TFLite Micro has no TILE.
    """
    return rewrite(
        model, Replaced(_repeated, by=shape), lambda layer: type(layer) is layers.RepeatVector
    )


def _repeated(layer, x):
    channels = x.shape[-1]
    return [
        (layers.Reshape((1, 1, channels), name=f"{layer.name}_step"), []),
        (layers.UpSampling2D((1, layer.n), name=f"{layer.name}_steps"), []),
        (layers.Reshape((layer.n, channels), name=layer.name), []),
    ]


@proven
def upsample_as_images(model: tf_keras.Model) -> tf_keras.Model:
    """Turns `UpSampling1D` into an upsampling of images one pixel wide.

    Keras splits the sequence into its steps and joins all of them, more than TFLite Micro takes.
    """
    return rewrite(
        model, Replaced(_upsampled, by=shape), lambda layer: type(layer) is layers.UpSampling1D
    )


def _upsampled(layer, x):
    _, steps, channels = x.shape
    return [
        (layers.Reshape((steps, 1, channels), name=f"{layer.name}_image"), []),
        (layers.UpSampling2D((layer.size, 1), name=f"{layer.name}_steps"), []),
        (layers.Reshape((steps * layer.size, channels), name=layer.name), []),
    ]
