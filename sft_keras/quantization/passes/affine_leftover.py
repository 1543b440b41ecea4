"""What is left of the `Affine` layers as convolutions, which have int8 kernels."""

import tf_keras
from tf_keras import layers

from sft_keras.quantization.affine import Affine
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import call_with, rewrite


@proven
def affine_to_depthwise(model: tf_keras.Model) -> tf_keras.Model:
    """Turns each `Affine` that no neighbour took up into a depthwise convolution of size 1."""

    def call(layer, *args, **kwargs):
        if not isinstance(layer, Affine):
            return layer(*args, **kwargs)
        (x,) = args
        make = BY_RANK.get(len(x.shape))
        return make(layer, x) if make else layer(x)

    return rewrite(model, call)


def _images(layer, x):
    scale, shift = layer.get_weights()
    conv = layers.DepthwiseConv2D(1, name=layer.name)
    return call_with(conv, [scale.reshape(1, 1, -1, 1), shift], x)


def _sequences(layer, x):
    scale, shift = layer.get_weights()
    conv = layers.DepthwiseConv1D(1, name=layer.name)
    return call_with(conv, [scale.reshape(1, -1, 1), shift], x)


def _vectors(layer, x):
    lifted = layers.Reshape((1, 1, x.shape[-1]), name=f"{layer.name}_lift")(x)
    return layers.Reshape((x.shape[-1],), name=f"{layer.name}_drop")(_images(layer, lifted))


BY_RANK = {2: _vectors, 3: _sequences, 4: _images}
