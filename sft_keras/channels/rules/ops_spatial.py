"""Operators on images and sequences that treat every channel alike: pooling, resizing, padding."""

import numpy as np

from sft_keras import flavors
from sft_keras.channels.operators import channel_axis, operator_rule, refused, running
from sft_keras.channels.rearranging import rearranged
from sft_keras.channels.registry import explain
from sft_keras.channels.rules.spatial import on_positions, resized
from sft_keras.channels.tensor import FIXED, Channels, along
from sft_keras.channels.trace import Trace

explain(
    "whose kernel is an argument: use a layer instead",
    *("conv", "depthwiseconv", "separableconv", "convtranspose"),
    *("conv1d", "conv2d", "conv3d", "depthwiseconv2d", "separableconv2d", "conv2dtranspose"),
)
explain(
    "which mixes channels: taking some away, even zeros, changes its statistics",
    *("layernorm", "rmsnorm", "glu"),
)
explain("whose statistics are arguments: use a layer instead", "batchnorm", "batchnormalization")
explain(
    "which multiplies tensors over their channels",
    *("matmul", "dot", "tensordot", "inner", "outer", "einsum", "dotproductattention"),
)


@operator_rule("maxpool", "averagepool", "adaptivemaxpool", "adaptiveaveragepool")
def pool(walk: Trace, call: flavors.Call, x: Channels):
    """Pooling over positions."""
    axis, size = channel_axis(call), np.ravel(flavors.arguments(call).get("ksize") or 1)
    if len(size) == len(x.shape) + 1 and (size[0] != 1 or size[1:][axis] != 1):
        return refused(walk, call, [x], "which pools channels or samples")
    return on_positions(walk, call, x, axis)


@operator_rule("resize", "image.resize", "cropimages", "padimages")
def resize(walk: Trace, call: flavors.Call, x: Channels):
    """Resizing, cropping and padding of images; a border of another value is no constant."""
    given = flavors.arguments(call)
    padded = flavors.operator_name(call.layer) == "padimages" or given.get("pad_to_aspect_ratio")
    border = (given.get("fill_value") or 0.0) if padded else None
    return resized(walk, call, x, channel_axis(call), border)


@operator_rule("pad")
def pad(walk: Trace, call: flavors.Call, x: Channels):
    """Padding: beside the channels with fixed ones, beside positions with a border."""
    given = flavors.arguments(call)
    value = given.get("constant_values") or 0.0
    pairs = np.broadcast_to(np.asarray(given["pad_width"]), (len(x.shape) + 1, 2))
    if pairs[0].any() or np.ndim(value):
        return refused(walk, call, [x], "which adds samples or an array of values")
    shape, varying = tuple(call.outputs[0].shape[1:]), x.varying_axes()
    padded = np.flatnonzero(pairs[1:].any(axis=1))
    if (given.get("mode") or "constant").lower() != "constant":
        if set(padded) & set(varying):
            return refused(walk, call, [x], "which repeats channels at a border")
        return x.with_(shape=shape, origin=None)
    if set(padded) - set(varying):
        reason = f"emits a constant when pruned, to which '{call.layer.name}' adds a border"
        walk.freeze(x.ids[x.dead != value], reason)
    widths = [pairs[axis + 1] if axis in varying else (0, 0) for axis in range(len(shape))]
    ids = np.pad(x.ids, widths, constant_values=FIXED)
    return Channels(ids, shape, np.pad(x.dead, widths, constant_values=0.0))


@operator_rule("spacetodepth")
def space_to_depth(walk: Trace, call: flavors.Call, x: Channels):
    """Blocks of positions become channels, all positions of a block with the same filters."""
    return rearranged(walk, call, [x], running(call))


@operator_rule("depthtospace")
def depth_to_space(walk: Trace, call: flavors.Call, x: Channels):
    """Channels become blocks of positions, which need the same filters at each position."""
    blocks = int(flavors.arguments(call)["block_size"]) ** 2
    axis = channel_axis(call)
    ids, dead = (a.reshape(blocks, -1) for a in walk.vector(x, axis, call.layer))
    reason = f"is at one position of '{call.layer.name}' and a channel that cannot go at another"
    grid = walk.tied(Channels(ids, ids.shape, dead), 1, reason)
    ids, dead = (np.tile(a.ravel(), blocks) for a in (grid.ids, grid.dead))
    return rearranged(walk, call, [along(axis, ids, x.shape, dead)], running(call))
