"""The layer that BatchNormalization, Rescaling and Normalization all are in inference."""

from typing import Any

import tf_keras


class Affine(tf_keras.layers.Layer):
    """`x * scale + shift`, with one scale and one shift a channel (the last axis).

    It only lives between the passes: one pass makes it, others fold it into a neighbour.
    """

    def build(self, input_shape: Any) -> None:
        """Makes the two weights, each of shape (channels,)."""
        self.scale = self.add_weight("scale", shape=input_shape[-1:], initializer="ones")
        self.shift = self.add_weight("shift", shape=input_shape[-1:], initializer="zeros")
        super().build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Returns `inputs * scale + shift`."""
        return inputs * self.scale + self.shift
