"""Rewrites of a graph to an equal one that TFMOT takes, each proving that it is equal."""

from sft_keras.quantization.passes.affine_form import affine_form
from sft_keras.quantization.passes.affine_to_depthwise import affine_to_depthwise
from sft_keras.quantization.passes.fold_backward import fold_backward
from sft_keras.quantization.passes.fold_forward import fold_forward
from sft_keras.quantization.passes.lift_1d import lift_1d
from sft_keras.quantization.passes.split_activations import split_activations
from sft_keras.quantization.passes.split_merges import split_merges
from sft_keras.quantization.passes.split_separable import split_separable

# In the order in which they run: a pass may count on what those before it did.
PASSES = (
    split_activations,
    split_separable,
    split_merges,
    affine_form,
    fold_backward,
    fold_forward,
    affine_to_depthwise,
    lift_1d,
)

__all__ = ["PASSES", *(rewrite.__name__ for rewrite in PASSES)]
