"""What is left of the `Affine` layers as convolutions, which have int8 kernels."""

import tf_keras
from tf_keras import layers

from sft_keras.quantization.affine import Affine
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import Replaced, rewrite


@proven
def affine_to_depthwise(model: tf_keras.Model) -> tf_keras.Model:
    """Turns each `Affine` that no neighbour took up into a depthwise convolution of size 1."""

    depthwise = Replaced(_depthwise, by=lambda x: (len(x.shape), x.shape[-1]))

    def call(layer, *args, **kwargs):
        is_open = len(args[0].shape) in (2, 3, 4)
        return depthwise(layer, *args) if is_open else layer(*args, **kwargs)

    return rewrite(model, call, lambda layer: isinstance(layer, Affine))


def _depthwise(layer, x):
    scale, shift = layer.get_weights()
    options = {"kernel_size": 1, "trainable": layer.trainable}
    if len(x.shape) == 4:
        conv = layers.DepthwiseConv2D(**options, name=layer.name)
        return [(conv, [scale.reshape(1, 1, -1, 1), shift])]
    if len(x.shape) == 3:
        conv = layers.DepthwiseConv1D(**options, name=layer.name)
        return [(conv, [scale.reshape(1, -1, 1), shift])]
    conv = layers.DepthwiseConv2D(**options, name=f"{layer.name}_scale")
    return [
        (layers.Reshape((1, 1, x.shape[-1]), name=f"{layer.name}_lift"), []),
        (conv, [scale.reshape(1, 1, -1, 1), shift]),
        (layers.Reshape((x.shape[-1],), name=layer.name), []),
    ]
