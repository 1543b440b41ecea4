"""Masking: which steps count is read from all channels at once."""

import numpy as np

from sft_keras import flavors
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.tensor import Channels
from sft_keras.channels.trace import Trace


@builtin_rule("Masking")
def masking(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Masking of zeros: a pruned channel, zero itself, masks a step no more than one that is gone.

    Any other constant would differ from the masked value at every step, or at those not masked.
    """
    value = call.layer.mask_value
    seen = np.ones(x.ids.shape, bool)
    if np.size(value) == 1 and value == 0 and _is_along_last(x):
        seen = x.dead != 0
    walk.freeze(x.ids[seen], f"decides which steps '{call.layer.name}' (Masking) masks")
    return x.with_(dead=np.zeros_like(x.dead))


def _is_along_last(x: Channels) -> bool:
    return all(axis == len(x.shape) - 1 for axis in x.varying_axes())
