"""Normalizations: batch statistics are per channel; the others mix channels."""

import numpy as np

from sft_keras import flavors
from sft_keras.channels.notes import Role
from sft_keras.channels.registry import builtin_rule, explain, no_rule_reason
from sft_keras.channels.tensor import FIXED, Channels
from sft_keras.channels.trace import Trace, freeze_all

explain(
    "which mixes channels: taking some away, even zeros, changes its statistics",
    "LayerNormalization",
    "GroupNormalization",
    "RMSNormalization",
    "UnitNormalization",
    "SpectralNormalization",
)


@builtin_rule("BatchNormalization")
def batch_normalization(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """BatchNormalization: with γ and β at zero its channel is exactly zero."""
    layer = call.layer
    if np.size(layer.axis) > 1 or getattr(layer, "renorm", False):
        reason = f"enters '{layer.name}' (BatchNormalization), which has several axes or renorm"
        return freeze_all(walk, call, [x], reason)[0]
    axis = int(np.ravel(layer.axis)[0])
    axis = axis - 1 if axis > 0 else axis
    ids, dead = walk.vector(x, axis, layer)
    # Without γ only a moving mean at the dead value, zero, silences the channel.
    mean_role = Role.CUT if layer.scale else Role.PARAMETER
    if not layer.scale:
        walk.freeze(ids[dead != 0], f"emits a constant when pruned, into '{layer.name}' without γ")
    walk.claim(layer, layer.gamma, 0, ids, Role.PARAMETER)
    walk.claim(layer, layer.beta, 0, ids, Role.PARAMETER)
    walk.claim(layer, layer.moving_mean, 0, ids, mean_role)
    walk.claim(layer, layer.moving_variance, 0, ids, Role.CUT)
    walk.follow(x.origin, layer)
    return x.with_(dead=np.zeros_like(x.dead), origin=None)


@builtin_rule("Normalization")
def normalization(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Normalization stands before the first filters; behind them its constants do not shrink."""
    walk.freeze(x.ids, f"enters '{call.layer.name}' (Normalization), whose statistics are fixed")
    return x.with_(ids=np.full_like(x.ids, FIXED))


@builtin_rule("GroupNormalization")
def group_normalization(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """GroupNormalization with a group for each channel; larger groups mix channels."""
    layer = call.layer
    axis = layer.axis - 1 if layer.axis > 0 else layer.axis
    if layer.groups != x.shape[axis]:
        return freeze_all(walk, call, [x], no_rule_reason(layer))[0]
    ids, dead = walk.vector(x, axis, layer)
    if not layer.scale:
        walk.freeze(ids[dead != 0], f"emits a constant when pruned, into '{layer.name}' without γ")
    walk.claim(layer, layer.gamma, 0, ids, Role.PARAMETER)
    walk.claim(layer, layer.beta, 0, ids, Role.PARAMETER)
    walk.width(layer, "groups", ids)
    return x.with_(dead=np.zeros_like(x.dead), origin=None)
