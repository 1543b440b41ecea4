"""An `Affine` folded into the layer before it."""

from typing import Any

import numpy as np
import tf_keras
from tf_keras import layers

from sft_keras.quantization.affine import Affine
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import call_with, like, output_layers, rewrite, single_readers


@proven
def fold_backward(model: tf_keras.Model) -> tf_keras.Model:
    """Folds each `Affine` into the convolution or Dense that it alone reads, zero scales too."""
    affines = folds(model)
    folded, named = set(affines.values()), output_layers(model)

    def call(layer, *args, **kwargs):
        if layer in folded:
            return args[0]
        affine = affines[layer]
        return _fold(layer, affine, affine.name if affine in named else layer.name, *args)

    return rewrite(model, call, {*affines, *folded}.__contains__)


def folds(model: tf_keras.Model) -> dict[Any, Affine]:
    """The layers that take up an `Affine` behind them, each with it."""
    return {
        before: after
        for before, after in single_readers(model).items()
        if type(before) in SCALED and isinstance(after, Affine)
    }


def _fold(layer, affine, name, x):
    scale, shift = affine.get_weights()
    kernel, *bias = layer.get_weights()
    weights = [
        SCALED[type(layer)](kernel, scale),
        (bias[0] * scale if bias else 0) + shift,
    ]
    return call_with(with_bias(layer, name), weights, x)


def with_bias(layer: tf_keras.layers.Layer, name: str) -> tf_keras.layers.Layer:
    """A fresh layer like `layer` with a bias, and without penalties: they judged other weights."""
    penalties = [key for key in layer.get_config() if key.endswith(("_regularizer", "_constraint"))]
    return like(layer, name=name, use_bias=True, **dict.fromkeys(penalties))


def _last_axis(kernel, scale):
    return kernel * scale


def _depthwise(kernel, scale):
    # The channel that comes out of input channel c by multiplier j is c * multiplier + j.
    return kernel * np.reshape(scale, kernel.shape[-2:])


def _transposed(kernel, scale):
    return kernel * scale[:, None]


SCALED = {
    layers.Conv1D: _last_axis,
    layers.Conv2D: _last_axis,
    layers.Dense: _last_axis,
    layers.DepthwiseConv1D: _depthwise,
    layers.DepthwiseConv2D: _depthwise,
    layers.Conv2DTranspose: _transposed,
}
