"""Each activation a layer of its own, so that there is one place where it is quantized."""

import tf_keras
from tf_keras import layers
from tf_keras.activations import linear

from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import Replaced, like, rewrite

WITH_ACTIVATION = (
    layers.Conv1D,
    layers.Conv2D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
    layers.Conv1DTranspose,
    layers.Conv2DTranspose,
    layers.Dense,
)


@proven
def split_activations(model: tf_keras.Model) -> tf_keras.Model:
    """Turns `Conv2D(activation=f)` into `Conv2D` and `Activation(f)`, for all layers alike."""
    return rewrite(model, Replaced(_split), _is_active)


def _is_active(layer):
    return type(layer) in WITH_ACTIVATION and layer.activation is not linear


def _split(layer, x):
    # What makes the output keeps the name: losses and targets may be given by output name.
    return [
        (like(layer, activation=None, name=f"{layer.name}_linear"), layer.get_weights()),
        (layers.Activation(layer.activation, name=layer.name), []),
    ]
