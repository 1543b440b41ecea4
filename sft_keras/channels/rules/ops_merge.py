"""Operators that line tensors up: concatenate, stack."""

from typing import Any

from keras import tree

from sft_keras import flavors
from sft_keras.channels.operators import operator_rule, refused, running
from sft_keras.channels.rearranging import rearranged
from sft_keras.channels.rules.merge import concatenated
from sft_keras.channels.tensor import Channels
from sft_keras.channels.trace import Trace


@operator_rule("concatenate", inputs=None)
def concatenate(walk: Trace, call: flavors.Call, *inputs: Channels):
    """Concatenation of tensors of the graph."""
    given = flavors.arguments(call)
    if why := _obstacle(given):
        return refused(walk, call, inputs, why)
    return concatenated(walk, call, inputs, int(given["axis"]) % len(call.outputs[0].shape) - 1)


@operator_rule("stack", inputs=None)
def stack(walk: Trace, call: flavors.Call, *inputs: Channels):
    """Stack along a new axis, which ties what comes to lie side by side."""
    if why := _obstacle(flavors.arguments(call)):
        return refused(walk, call, inputs, why)
    reason = f"is lined up by '{call.layer.name}' with channels that cannot go"
    for x in inputs[1:]:
        walk.unite(inputs[0].ids, x.ids, reason)
    return rearranged(walk, call, inputs, running(call))


def _obstacle(given: dict[str, Any]) -> str:
    tensors = next(given[name] for name in ("xs", "x", "values") if name in given)
    if all(map(flavors.is_symbolic, tree.flatten(tensors))):
        return ""
    return "which also takes arrays that are no tensors of the graph"
