"""Each activation a layer of its own, so that there is one place where it is quantized."""

import tf_keras

from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import replaced, rewrite


@proven
def split_activations(model: tf_keras.Model) -> tf_keras.Model:
    """Turns `Conv2D(activation=f)` into `Conv2D` and `Activation(f)`, for all layers alike."""
    linear: dict[int, tf_keras.layers.Layer] = {}

    def call(layer, *args, **kwargs):
        activation = getattr(layer, "activation", None)
        if isinstance(layer, tf_keras.layers.Activation) or _is_linear(activation):
            return layer(*args, **kwargs)
        if id(layer) not in linear:
            linear[id(layer)] = replaced(layer, activation=None)
            linear[id(layer)].build(args[0].shape)
            linear[id(layer)].set_weights(layer.get_weights())
        x = linear[id(layer)](*args, **kwargs)
        name = f"{layer.name}_{activation.__name__}"
        return tf_keras.layers.Activation(activation, name=name)(x)

    return rewrite(model, call)


def _is_linear(activation) -> bool:
    return activation in (None, tf_keras.activations.linear)
