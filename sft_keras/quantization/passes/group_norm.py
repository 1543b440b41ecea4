"""GroupNormalization as LayerNormalization, whose operators have int8 forms."""

import math

import numpy as np
import tf_keras
from tf_keras import layers

from sft_keras.quantization.affine import Affine
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import Replaced, rewrite, shape


@proven
def group_norm_to_layer_norm(model: tf_keras.Model) -> tf_keras.Model:
    """Turns each GroupNormalization over the last axis into a LayerNormalization of its groups.

    Its own operators square a difference, which the converter leaves in float.
    """
    normalized = Replaced(_normalized, by=shape)

    def call(layer, *args, **kwargs):
        is_known = _is_known(layer, args[0])
        return normalized(layer, *args) if is_known else layer(*args, **kwargs)

    return rewrite(model, call, lambda layer: type(layer) is layers.GroupNormalization)


def _is_known(layer, x) -> bool:
    return layer.axis in (-1, len(x.shape) - 1) and None not in x.shape[1:]


def _normalized(layer, x):
    *places, channels = x.shape[1:]
    count, groups = math.prod(places), channels if layer.groups == -1 else layer.groups
    scale = layer.gamma.numpy() if layer.scale else np.ones(channels)
    shift = layer.beta.numpy() if layer.center else np.zeros(channels)
    options = {"epsilon": layer.epsilon, "center": False, "scale": False}
    name = layer.name
    return [
        (layers.Reshape((count, groups, channels // groups), name=f"{name}_split"), []),
        (layers.Permute((2, 1, 3), name=f"{name}_by_group"), []),
        (layers.Reshape((groups, -1), name=f"{name}_flat"), []),
        (layers.LayerNormalization(**options, name=f"{name}_norm"), []),
        (layers.Reshape((groups, count, channels // groups), name=f"{name}_unflat"), []),
        (layers.Permute((2, 1, 3), name=f"{name}_by_place"), []),
        (layers.Reshape((*places, channels), name=f"{name}_join"), []),
        (Affine(name=name, trainable=layer.trainable), [scale, shift]),
    ]
