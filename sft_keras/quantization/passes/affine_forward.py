"""An `Affine` folded into the layer behind it."""

from typing import Any

import numpy as np
import tf_keras
from tf_keras import layers

from sft_keras.quantization.affine import Affine
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import call_with, rewrite, single_readers
from sft_keras.quantization.passes.affine_backward import with_bias

# What a fold multiplies all of a kernel with, training undoes (see `tfmot.wrap`); a channel that it
# makes far smaller or larger than the others is one that the optimizer's steps tear apart.
SPREAD = 16


@proven
def fold_forward(model: tf_keras.Model) -> tf_keras.Model:
    """Folds each `Affine` into the one convolution or Dense that reads it, where that is exact."""
    affines = folds(model)
    folded = set(affines.values())

    def call(layer, *args, **kwargs):
        if layer in folded:
            return args[0]
        return _fold(affines[layer], layer, *args)

    return rewrite(model, call, {*affines, *folded}.__contains__)


def folds(model: tf_keras.Model) -> dict[Any, Affine]:
    """The layers that take up an `Affine` before them, each with it."""
    return {
        after: before
        for before, after in single_readers(model).items()
        if isinstance(before, Affine) and type(after) in FOLDED and _is_exact(before, after)
    }


def _is_exact(affine, layer) -> bool:
    scale, shift = affine.get_weights()
    sizes = np.abs(scale)
    if not sizes.all() or sizes.max() > SPREAD * sizes.min():
        return False
    # What pads the border is zero, not `shift`.
    pads = getattr(layer, "padding", "valid") != "valid" and set(layer.kernel_size) != {1}
    return getattr(layer, "groups", 1) == 1 and not (pads and shift.any())


def _fold(affine, layer, x):
    scale, shift = affine.get_weights()
    kernel, *bias = layer.get_weights()
    kernel, constant = FOLDED[type(layer)](kernel, scale, shift)
    return call_with(with_bias(layer, layer.name), [kernel, (bias[0] if bias else 0) + constant], x)


def _dense(kernel, scale, shift):
    """Kernels (..., in, out): one sum over all but the last axis."""
    constant = np.tensordot(shift, kernel, (0, kernel.ndim - 2))
    return kernel * scale[:, None], constant.reshape(-1, kernel.shape[-1]).sum(0)


def _depthwise(kernel, scale, shift):
    constant = (kernel * shift[:, None]).reshape(-1, kernel.shape[-2] * kernel.shape[-1]).sum(0)
    return kernel * scale[:, None], constant


FOLDED = {
    layers.Conv1D: _dense,
    layers.Conv2D: _dense,
    layers.Dense: _dense,
    layers.DepthwiseConv1D: _depthwise,
    layers.DepthwiseConv2D: _depthwise,
}
