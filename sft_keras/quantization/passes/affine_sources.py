"""BatchNormalization, Rescaling and Normalization in one form: `x * scale + shift`."""

from typing import Any

import numpy as np
import tf_keras
from tf_keras import layers

from sft_keras.quantization.affine import Affine
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import Replaced, rewrite


@proven
def to_affine(model: tf_keras.Model) -> tf_keras.Model:
    """Turns what scales and shifts channels into `Affine`; a BatchNormalization is frozen so.

    What acts on another axis than the last stays as it is.
    """
    return _with_affine(model, FORMS)


@proven
def scalings_to_affine(model: tf_keras.Model) -> tf_keras.Model:
    """Does the same to each Rescaling and Normalization alone."""
    kinds = (layers.Rescaling, layers.Normalization)
    return _with_affine(model, {kind: FORMS[kind] for kind in kinds})


def _with_affine(model, forms):
    affine = Replaced(_affine, by=lambda x: x.shape[-1])

    def call(layer, *args, **kwargs):
        values = forms[type(layer)](layer)
        if values is None or not all(_per_channel(value, args[0]) for value in values):
            return layer(*args, **kwargs)
        return affine(layer, *args)

    return rewrite(model, call, lambda layer: type(layer) in forms)


def _affine(layer, x):
    values = FORMS[type(layer)](layer)
    weights = [np.broadcast_to(np.ravel(value), x.shape[-1:]) for value in values]
    # What the model never trained, such as the range of the pixels, stays as it is.
    trainable = bool(layer.trainable_weights)
    return [(Affine(name=layer.name, trainable=trainable), weights)]


def _per_channel(value: Any, x: Any) -> bool:
    """Whether `value` is one number, or one for each channel of `x`, which has some."""
    if len(x.shape) == 0 or x.shape[-1] is None:  # one number a sample, or a batch
        return False
    return np.size(value) == 1 or np.shape(value)[-1] == np.size(value) == x.shape[-1]


def _batch_normalization(layer):
    if list(layer.axis) != [layer.input_spec.ndim - 1]:
        return None
    scale = 1 / np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
    if layer.scale:
        scale = scale * layer.gamma.numpy()
    shift = -layer.moving_mean.numpy() * scale
    return scale, shift + layer.beta.numpy() if layer.center else shift


def _rescaling(layer):
    return np.asarray(layer.scale), np.asarray(layer.offset)


def _normalization(layer):
    mean = np.asarray(layer.mean)
    deviation = np.maximum(np.sqrt(layer.variance), tf_keras.backend.epsilon())
    if layer.invert:
        return deviation, mean
    return 1 / deviation, -mean / deviation


FORMS = {
    layers.BatchNormalization: _batch_normalization,
    layers.Rescaling: _rescaling,
    layers.Normalization: _normalization,
}
