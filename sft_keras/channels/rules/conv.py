"""Convolutions: kernels (…, in, out), transposed (…, out, in), depthwise (…, in, multiplier)."""

from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.channels.notes import Role
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.rules.activation import activated
from sft_keras.channels.tensor import FIXED, Channels, along
from sft_keras.channels.trace import Trace


def channel_axis(layer: Any) -> int:
    """The channel axis of a layer's tensors, without batch."""
    return 0 if layer.data_format == "channels_first" else -1


def produced(walk: Trace, call: flavors.Call, ids: np.ndarray) -> Channels:
    """The output of a convolution with filters `ids`, after its bias and activation."""
    layer = call.layer
    walk.claim(layer, layer.bias, 0, ids, Role.PARAMETER)
    shape = tuple(call.outputs[0].shape[1:])
    return activated(walk, layer, along(channel_axis(layer), ids, shape, origin=layer))


@builtin_rule("Conv1D", "Conv2D", "Conv3D")
def conv(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Convolution, also grouped: each group loses the same positions, so that groups stay equal."""
    layer = call.layer
    read, dead = walk.vector(x, channel_axis(layer), layer)
    if layer.groups == len(read) > 1 and FIXED not in read:
        return _depthwise_by_groups(walk, call, read)
    filters = walk.new_filters(layer, layer.filters)
    if layer.groups > 1:
        read, filters_by_group = read.reshape(layer.groups, -1), filters.reshape(layer.groups, -1)
        walk.width(layer, "groups", np.full(layer.groups, FIXED))  # which another call may not cut
        reason = f"shares a group of '{layer.name}' with a channel that cannot go"
        walk.unite(read[:1], read, reason)
        walk.unite(filters_by_group[:1], filters_by_group, reason)
        walk.freeze(read[dead.reshape(read.shape) != 0], "emits a constant into a grouped conv")
        read, dead = read[0], np.zeros(read.shape[1])
    pointwise = all(size == 1 for size in layer.kernel_size)
    exact = pointwise or layer.padding == "valid"
    in_axis = len(layer.kernel_size)
    walk.fold(layer, layer.kernel, in_axis, in_axis + 1, read, dead, exact)
    walk.claim(layer, layer.kernel, in_axis, read, Role.CUT)
    walk.claim(layer, layer.kernel, in_axis + 1, filters, Role.FILTER)
    walk.width(layer, "filters", filters)
    return produced(walk, call, filters)


def _depthwise_by_groups(walk: Trace, call: flavors.Call, read: np.ndarray) -> Channels:
    """A convolution with one input channel a group, whose groups can go one by one."""
    layer = call.layer
    filters = np.repeat(read, layer.filters // layer.groups)
    walk.claim(layer, layer.kernel, len(layer.kernel_size) + 1, filters, Role.FILTER)
    walk.width(layer, "groups", read)
    walk.width(layer, "filters", filters)
    return produced(walk, call, filters)


@builtin_rule("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
def conv_transpose(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Transposed convolution; a constant input is not constant at its output, by stride."""
    layer = call.layer
    read, dead = walk.vector(x, channel_axis(layer), layer)
    filters = walk.new_filters(layer, layer.filters)
    out_axis = len(layer.kernel_size)
    walk.fold(layer, layer.kernel, out_axis + 1, out_axis, read, dead, exact=False)
    walk.claim(layer, layer.kernel, out_axis + 1, read, Role.CUT)
    walk.claim(layer, layer.kernel, out_axis, filters, Role.FILTER)
    walk.width(layer, "filters", filters)
    return produced(walk, call, filters)


@builtin_rule("DepthwiseConv1D", "DepthwiseConv2D")
def depthwise(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Depthwise convolution: output c·m + j belongs to input channel c."""
    layer = call.layer
    read, _ = walk.vector(x, channel_axis(layer), layer)
    # tf_keras names this kernel otherwise.
    kernel = layer.depthwise_kernel if hasattr(layer, "depthwise_kernel") else layer.kernel
    walk.claim(layer, kernel, len(layer.kernel_size), read, Role.FILTER)
    return produced(walk, call, np.repeat(read, layer.depth_multiplier))


@builtin_rule("SeparableConv1D", "SeparableConv2D")
def separable(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Depthwise and pointwise convolution in one layer."""
    layer = call.layer
    read, _ = walk.vector(x, channel_axis(layer), layer)
    filters = walk.new_filters(layer, layer.filters)
    rank = len(layer.kernel_size)
    walk.claim(layer, layer.depthwise_kernel, rank, read, Role.PARAMETER)
    between = np.repeat(read, layer.depth_multiplier)
    walk.claim(layer, layer.pointwise_kernel, rank, between, Role.CUT)
    walk.claim(layer, layer.pointwise_kernel, rank + 1, filters, Role.FILTER)
    walk.width(layer, "filters", filters)
    return produced(walk, call, filters)
