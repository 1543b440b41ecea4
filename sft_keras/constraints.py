"""FilterMask: keeps pruned filters at zero inside the compiled training step."""

import inspect
from typing import Any

import keras
import numpy as np
from keras import ops

from sft_keras import flavors
from sft_keras.errors import ArgumentError
from sft_keras.registration import serializable


@serializable
class FilterMask(keras.constraints.Constraint):
    """Multiplies a weight by a mask of its filters after every update.

    Whatever the optimizer does, momentum and weight decay included, a masked filter is exactly
    zero after each step. The mask is a variable: `set_mask` needs no new trace.

    Args:
        mask: one number a filter, 1 to keep it and 0 to hold it at zero; array-like (filters,).
        axis: the axis of the filters in the weight.
        inner: another constraint, applied before the mask.

    Raises:
        ArgumentError: the mask is not one-dimensional, or holds anything but 0 and 1.

    Example:
        >>> mask = sft_keras.constraints.FilterMask([1, 0, 1, 1])
        >>> layer = keras.layers.Dense(4, kernel_constraint=mask)
    """

    def __init__(self, mask: Any, axis: int = -1, inner: Any = None):
        self.axis = int(axis)
        self.inner = keras.constraints.get(inner)
        values = _checked(mask)
        self._mask = keras.Variable(values, dtype="float32", trainable=False)

    def __call__(self, weights: Any) -> Any:
        """The weight with masked filters at zero."""
        if self.inner is not None:
            weights = self.inner(weights)
        layout = [1] * len(weights.shape)
        layout[self.axis] = self._mask.shape[0]
        weights = ops.convert_to_tensor(weights)  # Keras passes the variable
        keep = ops.reshape(ops.cast(self._mask, weights.dtype), layout)
        # A masked filter that became NaN must not survive as NaN·0.
        return ops.where(keep > 0, weights, ops.zeros_like(weights))

    @property
    def mask(self) -> np.ndarray:
        """The mask, float32 array (filters,)."""
        return ops.convert_to_numpy(self._mask)

    def set_mask(self, mask: Any) -> None:
        """Replaces the mask by another of the same length."""
        self._mask.assign(_checked(mask))

    def get_config(self) -> dict:
        """Constructor arguments.

        Raises:
            ArgumentError: `inner` is a function, whose code would be written.
        """
        inner = self.inner
        if inspect.isfunction(inner) and not _is_registered(inner):
            raise ArgumentError(
                f"The function {inner.__name__!r} inside a FilterMask has no name to be found by; "
                "decorate it with keras.saving.register_keras_serializable('your_package')."
            )
        if inner is not None:
            inner = flavors.library(inner).constraints.serialize(inner)
        return {"mask": self.mask.tolist(), "axis": self.axis, "inner": inner}


def _is_registered(function: Any) -> bool:
    saving = flavors.library(function).saving
    name = saving.get_registered_name(function)
    return saving.get_registered_object(name) is function


def _checked(mask: Any) -> np.ndarray:
    values = np.asarray(mask, "float32")
    if values.ndim != 1 or not np.isin(values, (0.0, 1.0)).all():
        raise ArgumentError(
            f"FilterMask needs a one-dimensional mask of zeros and ones, got shape {values.shape}."
        )
    return values
