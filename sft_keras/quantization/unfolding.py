"""What folds did to kernels and biases, undone."""

from typing import Any

import numpy as np

from sft_keras.errors import UnsupportedError
from sft_keras.quantization.affine import Affine
from sft_keras.quantization.passes.affine_backward import SCALED
from sft_keras.quantization.passes.affine_forward import FOLDED


def without_behind(kind: type, kernel: np.ndarray, bias: np.ndarray, affine: Affine) -> tuple:
    """Kernel and bias of a layer that computes the same with `affine` behind it again."""
    scale, shift = _invertible(affine)
    return SCALED[kind](kernel, 1 / scale), (bias - shift) / scale


def without_before(kind: type, kernel: np.ndarray, bias: np.ndarray, affine: Affine) -> tuple:
    """Kernel and bias of a layer that computes the same with `affine` before it again."""
    scale, shift = _invertible(affine)
    kernel, _ = FOLDED[kind](kernel, 1 / scale, np.zeros_like(shift))
    return kernel, bias - FOLDED[kind](kernel, scale, shift)[1]


def _invertible(affine: Affine) -> list[np.ndarray]:
    scale, shift = affine.get_weights()
    if not scale.all():
        raise UnsupportedError(
            f"'{affine.name}' multiplies a channel by 0, so what it was folded into cannot be read "
            "without it; remove it from the model."
        )
    return [scale.astype("float64"), shift.astype("float64")]


def normalization(norm: Any, scale: Any, shift: Any, mean: Any, variance: Any) -> list[np.ndarray]:
    """The weights with which a BatchNormalization computes `x * scale + shift` in inference.

    Args:
        norm: the layer, of either Keras.
        scale: one number for each channel.
        shift: likewise.
        mean: what its input's moving mean is to be, where it has a `beta`.
        variance: likewise, where it has a `gamma`.

    Raises:
        UnsupportedError: it has no `gamma` and would need one.
    """
    weights = []
    if norm.scale:
        weights.append(scale * np.sqrt(variance + norm.epsilon))
    else:
        positive = np.min(scale) > 0
        variance = 1 / np.square(scale) - norm.epsilon if positive else variance
        if not positive or np.min(variance) < 0:
            raise UnsupportedError(
                f"BatchNormalization '{norm.name}' has no gamma to hold a trained scale; "
                "build the model with scale=True."
            )
    if norm.center:
        weights.append(shift + mean * scale)
    elif not np.any(shift):
        mean = np.zeros_like(mean)
    elif np.all(scale):
        mean = -shift / scale
    else:
        raise UnsupportedError(
            f"BatchNormalization '{norm.name}' has no beta to hold a trained bias; "
            "build the model with center=True."
        )
    return [*weights, mean, variance]
