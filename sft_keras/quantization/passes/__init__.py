"""Rewrites of a graph to an equal one whose layers have int8 forms, each proving itself."""

from sft_keras.quantization.passes.activations import split_activations
from sft_keras.quantization.passes.affine_backward import fold_backward
from sft_keras.quantization.passes.affine_forward import fold_forward
from sft_keras.quantization.passes.affine_leftover import affine_to_depthwise
from sft_keras.quantization.passes.affine_sources import scalings_to_affine, to_affine
from sft_keras.quantization.passes.exponential import expand_elu
from sft_keras.quantization.passes.extremes import free_extremes
from sft_keras.quantization.passes.group_norm import group_norm_to_layer_norm
from sft_keras.quantization.passes.kernels import grow_kernels
from sft_keras.quantization.passes.merges import split_concatenations, split_merges
from sft_keras.quantization.passes.recurrent import unroll_recurrent, unroll_unfused
from sft_keras.quantization.passes.repeats import repeat_by_upsampling, upsample_as_images
from sft_keras.quantization.passes.separable import split_separable
from sft_keras.quantization.passes.sequences import lift_sequences
from sft_keras.quantization.passes.slices import slice_splits

# In the order in which they run: a pass may count on what those before it did.
PASSES = (
    unroll_recurrent,
    split_activations,
    split_separable,
    split_merges,
    split_concatenations,
    repeat_by_upsampling,
    to_affine,
    fold_backward,
    fold_forward,
    affine_to_depthwise,
    lift_sequences,
)

DEPLOYED = (
    unroll_unfused,
    split_activations,
    expand_elu,
    free_extremes,
    slice_splits,
    split_concatenations,
    repeat_by_upsampling,
    upsample_as_images,
    grow_kernels,
    group_norm_to_layer_norm,
    scalings_to_affine,
    fold_forward,
)
"""The same for post-training quantization, whose converter does the rest itself."""

__all__ = [
    "DEPLOYED",
    "PASSES",
    "affine_to_depthwise",
    "expand_elu",
    "fold_backward",
    "fold_forward",
    "free_extremes",
    "group_norm_to_layer_norm",
    "grow_kernels",
    "lift_sequences",
    "repeat_by_upsampling",
    "scalings_to_affine",
    "slice_splits",
    "split_activations",
    "split_concatenations",
    "split_merges",
    "split_separable",
    "to_affine",
    "unroll_recurrent",
    "unroll_unfused",
    "upsample_as_images",
]
