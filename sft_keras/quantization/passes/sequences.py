"""One-dimensional layers as two-dimensional ones of height 1, which have int8 kernels."""

import functools
from collections import Counter
from typing import Any

import tf_keras
from tf_keras import layers

from sft_keras import flavors
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import Replaced, like, rewrite

# Layers that treat every position alike work on the lifted tensor as they are.
POSITIONWISE = (layers.Activation, layers.ReLU, layers.LeakyReLU)


@proven
def lift_sequences(model: tf_keras.Model) -> tf_keras.Model:
    """Turns `Conv1D` and its like on (length, channels) into 2-D on (1, length, channels)."""
    lifted: dict[int, Any] = {}
    calls = Counter(call.layer for call in flavors.calls(model))
    images = Replaced(lambda layer, _: LIFTED.get(type(layer), _positionwise)(layer))
    reshaped = functools.cache(_reshape)

    def call(layer, *args, **kwargs):
        x = args[0]
        # One that is called again, on what may not be lifted, stays as it is.
        follows = isinstance(layer, POSITIONWISE) and id(x) in lifted and calls[layer] == 1
        if not _is_lifted(layer) and not follows:
            return layer(*args, **kwargs)
        if id(x) not in lifted:
            lifted[id(x)] = reshaped((1, *x.shape[1:]), f"{layer.name}_lift")(x)
        y = images(layer, lifted[id(x)])
        # What makes the output keeps the name.
        dropped = reshaped(tuple(y.shape[2:]), layer.name)(y)
        # A neighbour that is lifted too reads `y`, and no reshape is left between the two.
        lifted[id(dropped)] = y
        return dropped

    if not any(map(_is_lifted, calls)):
        return model
    return rewrite(model, call, lambda x: _is_lifted(x) or isinstance(x, POSITIONWISE))


def _is_lifted(layer):
    return type(layer) in LIFTED


def _reshape(shape: tuple, name: str):
    return layers.Reshape(tuple(-1 if size is None else size for size in shape), name=name)


def _positionwise(layer):
    return [(like(layer, name=_name(layer)), [])]


def _conv(layer):
    left = (layer.kernel_size[0] - 1) * layer.dilation_rate[0] if layer.padding == "causal" else 0
    conv = layers.Conv2D(
        layer.filters,
        padding="valid" if layer.padding == "causal" else layer.padding,
        strides=(1, *layer.strides),
        groups=layer.groups,
        kernel_regularizer=layer.kernel_regularizer,
        **_kernel_arguments(layer),
    )
    padding = layers.ZeroPadding2D(((0, 0), (left, 0)), name=f"{layer.name}_causal")
    return [(padding, [])] * bool(left) + [(conv, _lifted_weights(layer))]


def _depthwise(layer):
    conv = layers.DepthwiseConv2D(
        padding=layer.padding,
        # Depthwise kernels take one stride for both axes; a height of 1 stays 1 under any.
        strides=layer.strides * 2,
        depth_multiplier=layer.depth_multiplier,
        depthwise_regularizer=layer.depthwise_regularizer,
        **_kernel_arguments(layer),
    )
    return [(conv, _lifted_weights(layer))]


def _transposed(layer):
    conv = layers.Conv2DTranspose(
        layer.filters,
        padding=layer.padding,
        output_padding=None if layer.output_padding is None else (0, *layer.output_padding),
        strides=(1, *layer.strides),
        kernel_regularizer=layer.kernel_regularizer,
        **_kernel_arguments(layer),
    )
    return [(conv, _lifted_weights(layer))]


def _name(layer):
    return f"{layer.name}_2d"


def _kernel_arguments(layer):
    return {
        "kernel_size": (1, *layer.kernel_size),
        "dilation_rate": (1, *layer.dilation_rate),
        "use_bias": layer.use_bias,
        "bias_regularizer": layer.bias_regularizer,
        "trainable": layer.trainable,
        "name": _name(layer),
    }


def _lifted_weights(layer):
    kernel, *bias = layer.get_weights()
    return [kernel[None], *bias]


def _pooling(pooling_2d):
    def lift(layer):
        pool_size, strides = (1, *layer.pool_size), (1, *layer.strides)
        return [(pooling_2d(pool_size, strides, layer.padding, name=_name(layer)), [])]

    return lift


def _up_sampling(layer):
    return [(layers.UpSampling2D((1, layer.size), name=_name(layer)), [])]


def _zero_padding(layer):
    return [(layers.ZeroPadding2D(((0, 0), layer.padding), name=_name(layer)), [])]


def _cropping(layer):
    return [(layers.Cropping2D(((0, 0), layer.cropping), name=_name(layer)), [])]


LIFTED = {
    layers.Conv1D: _conv,
    layers.Conv1DTranspose: _transposed,
    layers.DepthwiseConv1D: _depthwise,
    layers.MaxPooling1D: _pooling(layers.MaxPooling2D),
    layers.AveragePooling1D: _pooling(layers.AveragePooling2D),
    layers.UpSampling1D: _up_sampling,
    layers.ZeroPadding1D: _zero_padding,
    layers.Cropping1D: _cropping,
}
