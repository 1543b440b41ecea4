"""A separable convolution as the two that it is made of."""

import tf_keras
from tf_keras import layers

from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import Replaced, rewrite

SHARED = ("strides", "padding", "dilation_rate", "depth_multiplier", "kernel_size")
PARTS = {
    layers.SeparableConv1D: (layers.DepthwiseConv1D, layers.Conv1D),
    layers.SeparableConv2D: (layers.DepthwiseConv2D, layers.Conv2D),
}


@proven
def split_separable(model: tf_keras.Model) -> tf_keras.Model:
    """Turns `SeparableConv` into `DepthwiseConv` and a `Conv` of kernel size 1.

    The tensor between the two is quantized too, which a layer that hides it does not allow.
    """
    return rewrite(model, Replaced(_split), lambda layer: type(layer) in PARTS)


def _split(layer, x):
    depthwise_kernel, *pointwise_weights = layer.get_weights()
    depthwise_class, pointwise_class = PARTS[type(layer)]
    config = layer.get_config()
    depthwise = depthwise_class(
        use_bias=False,
        depthwise_regularizer=layer.depthwise_regularizer,
        trainable=layer.trainable,
        name=f"{layer.name}_depthwise",
        **{key: config[key] for key in SHARED},
    )
    pointwise = pointwise_class(
        layer.filters,
        kernel_size=1,
        use_bias=layer.use_bias,
        kernel_regularizer=layer.pointwise_regularizer,
        bias_regularizer=layer.bias_regularizer,
        trainable=layer.trainable,
        name=layer.name,
    )
    return [(depthwise, [depthwise_kernel]), (pointwise, pointwise_weights)]
