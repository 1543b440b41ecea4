"""Operators along axes: reductions, softmax, sorting. Filters may lie along other axes."""

from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.channels.operators import operator_rule, refused
from sft_keras.channels.tensor import FIXED, Channels, fixed
from sft_keras.channels.trace import Trace

REDUCTIONS = (
    *("sum", "mean", "max", "min", "prod", "var", "variance", "std", "any", "all", "moments"),
    *("countnonzero", "logsumexp", "argmax", "argmin", "median", "ptp", "norm", "euclideannorm"),
)
ALONG = (
    *("softmax", "logsoftmax", "sparsemax", "cumsum", "cumprod", "sort", "argsort", "topk"),
    *("normalize", "l2normalize", "diff"),
)
SUMS = ("sum", "any", "countnonzero")
"""Reductions that zeros add nothing to."""


@operator_rule(*REDUCTIONS, *ALONG)
def along_axes(walk: Trace, call: flavors.Call, x: Channels):
    """What mixes the positions of some axes: exact where filters lie along the others."""
    axes = _mixed_axes(call, x)
    if axes is None:
        return refused(walk, call, [x], "which mixes samples")
    across = [axis for axis in x.varying_axes() if axis in axes]
    others = [axis for axis in x.varying_axes() if axis not in axes]
    if across and len(others) == 1:
        reason = f"is in a channel of '{call.layer.name}' with one that cannot go"
        x = walk.tied(x, others[0], reason)
    elif across and others:
        return refused(walk, call, [x], "which mixes channels that lie along several axes")
    elif across:
        return _over_filters(walk, call, x)
    return _by_channel(walk, call, x, axes)


def _mixed_axes(call: flavors.Call, x: Channels) -> tuple[int, ...] | None:
    """The axes, without batch, that an operator works along; None if samples are mixed."""
    name, given = flavors.operator_name(call.layer), flavors.arguments(call)
    axis = given.get("axes" if name == "moments" else "axis")
    # TensorFlow's softmax takes the last axis if none is given, all others take all axes.
    if name == "topk" or (axis is None and "softmax" in name and flavors.is_tf_keras(call.layer)):
        axis = -1
    if axis is None:
        return None
    axes = tuple(int(a) % (len(x.shape) + 1) - 1 for a in np.ravel(_value(axis)))
    return None if -1 in axes else axes


def _value(argument: Any) -> Any:
    return flavors.to_numpy(argument) if flavors.is_array(argument) else argument


def _over_filters(walk: Trace, call: flavors.Call, x: Channels):
    """A reduction over the filters themselves; a sum alone is none the less for lost zeros."""
    name = flavors.operator_name(call.layer)
    if name not in SUMS:
        why = "whose divisor is their number" if name == "mean" else "which mixes channels"
        return refused(walk, call, [x], why)
    emits = x.ids[(x.ids != FIXED) & (x.dead != 0)]
    walk.freeze(emits, f"emits a constant when pruned, which '{call.layer.name}' adds up")
    return [fixed(tuple(y.shape[1:])) for y in call.outputs]


def _by_channel(walk: Trace, call: flavors.Call, x: Channels, axes: tuple[int, ...]):
    """The outputs where each channel is worked on alone, and what its constant becomes."""
    sizes = {axis: x.shape[axis] for axis in axes}
    first, second = (
        _images(call, x, {axis: size or some for axis, size in sizes.items()}) for some in (2, 3)
    )
    outputs = []
    for y, image, other in zip(call.outputs, first, second, strict=True):
        shape, ids = tuple(y.shape[1:]), x.ids
        constant = np.ones(ids.shape, bool)
        for axis in sorted(axes, reverse=True):
            if len(shape) < len(x.shape):
                ids, constant = np.take(ids, 0, axis), np.take(constant, 0, axis)
            else:
                steady = np.isclose(image, np.take(image, [0], axis), rtol=1e-12, atol=0)
                constant &= (steady | np.isnan(image)).all(axis, keepdims=True)
                image, other = np.take(image, [0], axis), np.take(other, [0], axis)
        constant &= np.isnan(image) | np.isclose(image, other, rtol=1e-12, atol=0)
        constant &= ~np.isinf(image)
        walk.freeze(ids[~constant], f"emits no constant behind '{call.layer.name}' when pruned")
        outputs.append(Channels(ids, shape, np.where(constant, image, 0.0)))
    return outputs


def _images(call: flavors.Call, x: Channels, sizes: dict[int, int]) -> list[np.ndarray]:
    """What the operator makes of the constants, written out to some sizes along some axes.

    NaN where there was no constant, infinite where it makes none of one.
    """
    full = [sizes.get(axis, size) for axis, size in enumerate(x.dead.shape)]
    dead = np.broadcast_to(np.where(np.isfinite(x.dead), x.dead, 0.0), full)[None].copy()
    known = np.broadcast_to(np.isfinite(x.dead), full)
    images = []
    for image in flavors.run(call, [dead]):
        image = np.asarray(image[0], "float64")
        image = np.where(np.isfinite(image), image, np.inf)
        lost = ~known
        for axis in sorted(sizes, reverse=True):
            lost = np.take(lost, [0] if image.ndim == known.ndim else 0, axis)
        images.append(np.where(lost, np.nan, image))
    return images
