"""Layers that tf_keras has not, or has no int8 form of, as layers that it has."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from tf_keras import layers

from sft_keras import flavors


def _layer_scale(layer: Any, name: str) -> Callable:
    """`x * gamma`, in the ConvNeXt of both Kerases."""
    return layers.Rescaling(flavors.to_numpy(layer.gamma), name=name)


def _stochastic_depth(layer: Any, name: str) -> Callable:
    """Dropout of whole images, in the ConvNeXt of both Kerases."""
    return layers.Dropout(layer.drop_path_rate, noise_shape=(None, 1, 1, 1), name=name)


def _custom_scale(layer: Any, name: str) -> Callable:
    """`x + scale * branch`, in the InceptionResNetV2 of both Kerases."""
    scale, add = layers.Rescaling(layer.scale, name=f"{name}_scale"), layers.Add(name=name)
    return lambda pair: add([pair[0], scale(pair[1])])


def _rms_normalization(layer: Any, name: str) -> Callable:
    """`x / sqrt(mean(x²) + epsilon) * scale`, over the last axes."""
    scale = layers.Rescaling(np.asarray(flavors.to_numpy(layer.scale)), name=name)

    def call(x: Any) -> Any:
        # Not tf.square, which the converter leaves in float.
        power = tf.reduce_mean(x * x, axis=layer.axis, keepdims=True)
        return scale(x * tf.math.rsqrt(power + layer.epsilon))

    return call


def _relu(layer: Any, name: str) -> Callable:
    """With a slope alone it is a LeakyReLU, which has an int8 form."""
    if layer.negative_slope and layer.max_value is None and not layer.threshold:
        return layers.LeakyReLU(float(layer.negative_slope), name=name)
    keys = ("max_value", "negative_slope", "threshold")
    return layers.ReLU(**{key: getattr(layer, key) for key in keys}, name=name)


SPECIAL: dict[str, Callable] = {
    "CustomScaleLayer": _custom_scale,
    "LayerScale": _layer_scale,
    "StochasticDepth": _stochastic_depth,
    "ReLU": _relu,
    "RMSNormalization": _rms_normalization,
}
"""By class: takes a layer and a name, returns what to call on its input."""

ELSEWHERE = "apply it to the data instead"

REFUSED = {
    "Lambda": "write it with layers or keras.ops",
    "SpectralNormalization": "call the layer inside of it: once trained it computes the same",
    "RandomCrop": ELSEWHERE,
    **dict.fromkeys(("Hashing", "HashedCrossing", "TextVectorization"), ELSEWHERE),
    **dict.fromkeys(("IntegerLookup", "StringLookup"), ELSEWHERE),
}
"""Layers that tf_keras has as well, but cannot use on float32 inputs, or never the same way."""

WAYS_OUT = {
    **REFUSED,
    "GroupedQueryAttention": "use MultiHeadAttention",
    "AdaptiveAveragePooling": "use AveragePooling with a fixed pool_size",
    "AdaptiveMaxPooling": "use MaxPooling with a fixed pool_size",
    "ReversibleEmbedding": "use Embedding, and Dense for the way back",
    "Pipeline": "call its layers one after another",
    "Spectrogram": ELSEWHERE,
    "Random": ELSEWHERE,
}
"""What to do about layers that are not ported, by the beginning or end of the class's name."""


def way_out(kind: str) -> str:
    """What to do about a layer of a class that is not ported."""
    found = (way for key, way in WAYS_OUT.items() if kind.startswith(key) or kind.endswith(key))
    return next(found, "replace it by layers that tf_keras has too")
