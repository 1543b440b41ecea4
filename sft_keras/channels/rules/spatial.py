"""Layers that work on positions and treat every channel alike."""

import numpy as np

from sft_keras import flavors
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.rules.activation import mapped
from sft_keras.channels.rules.conv import channel_axis
from sft_keras.channels.tensor import Channels, along
from sft_keras.channels.trace import Trace, freeze_all


@builtin_rule(
    "Identity",
    "Dropout",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "ActivityRegularization",
)
def identity(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """What is the identity when predicting."""
    return x


@builtin_rule(
    *(f"{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)),
    *(f"Adaptive{kind}Pooling{rank}D" for kind in ("Max", "Average") for rank in (1, 2, 3)),
    *(f"GlobalMaxPooling{rank}D" for rank in (1, 2, 3)),
    *(f"GlobalAveragePooling{rank}D" for rank in (1, 2, 3)),
    *(f"UpSampling{rank}D" for rank in (2, 3)),
    *(f"Cropping{rank}D" for rank in (2, 3)),
)
def positions(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Pooling, upsampling and cropping: a constant channel stays the same constant."""
    return on_positions(walk, call, x, channel_axis(call.layer))


def on_positions(walk: Trace, call: flavors.Call, x: Channels, axis: int) -> Channels:
    """The output of a call that keeps the channel axis, or leaves nothing else, and constants."""
    ids, dead = walk.vector(x, axis, call.layer)
    shape = tuple(call.outputs[0].shape[1:])
    return along(axis if len(shape) > 1 else 0, ids, shape, dead, x.origin)


@builtin_rule("UpSampling1D", "Cropping1D")
def positions_1d(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """The one-dimensional ones know no data format."""
    return on_positions(walk, call, x, -1)


@builtin_rule("Resizing", "CenterCrop")
def resizing(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Resizing and cropping of images."""
    config = call.layer.get_config()
    border = config["fill_value"] if config.get("pad_to_aspect_ratio") else None
    axis = channel_axis(call.layer) if hasattr(call.layer, "data_format") else -1
    return resized(walk, call, x, axis, border)


def resized(walk: Trace, call: flavors.Call, x: Channels, axis: int, border: float | None):
    """Images of another size, perhaps with a border, that a constant other than its differs from.

    Args:
        walk: takes the notes.
        call: the call.
        x: the channels of the images.
        axis: the channel axis.
        border: the border's value, None without one.
    """
    if len(x.shape) != 3:
        return freeze_all(walk, call, [x], f"enters '{call.layer.name}', which mixes samples")[0]
    if border is not None:
        reason = f"emits a constant when pruned, to which '{call.layer.name}' adds a border"
        walk.freeze(x.ids[x.dead != border], reason)
    return on_positions(walk, call, x, axis)


@builtin_rule("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
def zero_padding(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Zero padding: beside a constant other than zero it draws a border."""
    axis = channel_axis(call.layer) if hasattr(call.layer, "data_format") else -1
    ids, dead = walk.vector(x, axis, call.layer)
    reason = f"emits a constant when pruned, to which '{call.layer.name}' adds a border of zeros"
    walk.freeze(ids[dead != 0], reason)
    return along(axis, ids, tuple(call.outputs[0].shape[1:]), 0.0, x.origin)


@builtin_rule("Rescaling")
def rescaling(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Rescaling by one number; one per channel would have to be cut too."""
    layer = call.layer
    if np.size(layer.scale) > 1 or np.size(layer.offset) > 1:
        walk.freeze(x.ids, f"enters '{layer.name}' (Rescaling), which has a scale per channel")
        return x
    scale, offset = (float(np.ravel(number)[0]) for number in (layer.scale, layer.offset))
    return mapped(layer, x, lambda value: value * scale + offset)
