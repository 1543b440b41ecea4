"""Penalties on whole filters: Σ_i ‖w_i‖₁ and Σ_i ‖w_i‖₂.

λ is a variable: assign `regularizer.l1 = 0.01` while training and the next step uses it, without
tracing the training step again.
"""

import math
from typing import Any

import keras
from keras import ops

from sft_keras.errors import ArgumentError
from sft_keras.registration import serializable

DEFAULT_STRENGTH = 0.03
SMALLEST_SQUARE = 1e-12


class _FilterPenalty(keras.Regularizer):
    """λ·Σ_i ‖w_i‖ over the filters along one axis of a weight."""

    def __init__(self, strength: float, axis: int):
        self.axis = int(axis)
        self._given = self._checked(strength)
        self._strength = keras.Variable(self._given, dtype="float32", trainable=False)

    def _checked(self, strength: float) -> float:
        if not (math.isfinite(strength) and strength >= 0):
            raise ArgumentError(
                f"{type(self).__name__} needs a finite strength of 0 or more, got {strength}."
            )
        return float(strength)

    def _assign(self, strength: float) -> None:
        self._given = self._checked(strength)
        self._strength.assign(self._given)

    def switch(self, on: bool) -> None:
        """Lets λ be what it was last set to, or 0; a config holds the former in any case."""
        self._strength.assign(self._given if on else 0.0)

    def __call__(self, weights: Any) -> Any:
        """The penalty, a scalar in the dtype of `weights`."""
        norm = self._norm(weights)
        return ops.cast(self._strength, norm.dtype) * norm

    def _norm(self, weights: Any) -> Any:
        raise TypeError(f"{type(self).__name__} does not say which norm it takes")


@serializable
class FilterL1(_FilterPenalty):
    """L1 penalty over filters, λ·Σ_i ‖w_i‖₁.

    Normalized, as by default, the sum is divided by √n with n the layer's number of weights: its
    gradient then keeps its share beside the loss's, so that one λ fits networks from thousands to
    millions of weights (`benchmarks/penalty.py`). `normalize=False` is the plain sum.

    Args:
        l1: λ, at least 0. Readable and assignable as an attribute at any time.
        axis: the axis of the filters: the last for Conv and Dense kernels and for γ, -2 for
            Conv2DTranspose and depthwise kernels.
        normalize: whether to divide the sum by the root of the number of weights.

    Raises:
        ArgumentError: λ is negative or not finite.

    Example:
        >>> penalty = sft_keras.regularizers.FilterL1(1e-3)
        >>> layer = keras.layers.Conv2D(16, 3, kernel_regularizer=penalty)
        >>> penalty.l1 = 0.0  # from the next step on
    """

    def __init__(self, l1: float = DEFAULT_STRENGTH, axis: int = -1, normalize: bool = True):
        super().__init__(l1, axis)
        self.normalize = normalize

    def _norm(self, weights: Any) -> Any:
        scale = math.prod(weights.shape) ** -0.5 if self.normalize else 1.0
        return scale * ops.sum(ops.abs(weights))

    @property
    def l1(self) -> float:
        """λ."""
        return float(self._strength)

    @l1.setter
    def l1(self, value: float) -> None:
        self._assign(value)

    def get_config(self) -> dict:
        """Constructor arguments."""
        return {"l1": self._given, "axis": self.axis, "normalize": self.normalize}


@serializable
class FilterGroupLasso(_FilterPenalty):
    """Group lasso over filters, λ·Σ_i ‖w_i‖₂ (Yuan & Lin, 2006; Wen et al., NeurIPS 2016).

    The sum is divided by the root of the number of filters, for the same reason as in `FilterL1`.
    Its gradient pulls whole filters to zero, and is zero for a filter that is exactly zero.

    Args:
        l2: λ, at least 0. Readable and assignable as an attribute at any time.
        axis: the axis of the filters, as for `FilterL1`.

    Raises:
        ArgumentError: λ is negative or not finite.

    Example:
        >>> penalty = sft_keras.regularizers.FilterGroupLasso(1e-3)
        >>> layer = keras.layers.Dense(64, kernel_regularizer=penalty)
    """

    def __init__(self, l2: float = DEFAULT_STRENGTH, axis: int = -1):
        super().__init__(l2, axis)

    def _norm(self, weights: Any) -> Any:
        filters = self.axis % len(weights.shape)
        other_axes = [i for i in range(len(weights.shape)) if i != filters]
        squares = ops.sum(ops.square(weights), axis=other_axes)
        # The root's slope at 0 is infinite; below the floor the gradient is 0 instead of NaN.
        norms = ops.sqrt(ops.maximum(squares, SMALLEST_SQUARE))
        return ops.sum(norms) * weights.shape[filters] ** -0.5

    @property
    def l2(self) -> float:
        """λ."""
        return float(self._strength)

    @l2.setter
    def l2(self, value: float) -> None:
        self._assign(value)

    def get_config(self) -> dict:
        """Constructor arguments."""
        return {"l2": self._given, "axis": self.axis}
