"""The layers that the applications of both Kerases define for themselves."""

import numpy as np

from sft_keras import flavors
from sft_keras.channels.notes import Role
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.tensor import Channels
from sft_keras.channels.trace import Trace, freeze_all


@builtin_rule("LayerScale")
def layer_scale(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """LayerScale of ConvNeXt: one γ per channel; at zero it silences the channel."""
    if x.shape[-1] != call.layer.projection_dim:
        reason = f"enters '{call.layer.name}' (LayerScale), which broadcasts one channel to many"
        return freeze_all(walk, call, [x], reason)[0]
    ids, _ = walk.vector(x, -1, call.layer)
    walk.claim(call.layer, call.layer.gamma, 0, ids, Role.PARAMETER)
    walk.width(call.layer, "projection_dim", ids)
    return x.with_(dead=np.zeros_like(x.dead), origin=None)


@builtin_rule("StochasticDepth")
def stochastic_depth(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """StochasticDepth of ConvNeXt is the identity when predicting."""
    return x
