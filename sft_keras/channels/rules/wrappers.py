"""Wrappers: one layer for every step of a sequence, and a recurrent layer for either direction."""

from typing import Any

import keras
import numpy as np

from sft_keras import flavors
from sft_keras.channels.registry import builtin_rule, no_rule_reason, rule_for
from sft_keras.channels.rules.recurrent import by_tensor
from sft_keras.channels.tensor import Channels, fixed
from sft_keras.channels.trace import Trace, apply_rule, freeze_all


@builtin_rule("TimeDistributed")
def time_distributed(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """TimeDistributed: the rule of the layer inside, on one step."""
    layer, inside = call.layer, call.layer.layer
    if x.ids.shape[0] > 1:
        walk.freeze(x.ids, f"differs from step to step, which '{layer.name}' treats alike")
        x = fixed(x.shape)
    walk.rename(inside, walk.name(layer))
    step = flavors.Call(inside, (_step(call.inputs[0]),), {}, [_step(call.outputs[0])])
    [y] = apply_rule(walk, step, [Channels(x.ids[0], x.shape[1:], x.dead[0], x.origin)])
    dead = np.where(y.dead != 0, np.nan, 0.0) if flavors.may_skip_steps(call) else y.dead
    shape = tuple(call.outputs[0].shape[1:])
    return Channels(y.ids[None], shape, dead[None], y.origin)


def _step(tensor: Any) -> keras.KerasTensor:
    """What stands for one step of a sequence; only its shape counts."""
    return _tensor((tensor.shape[0], *tensor.shape[2:]))


def _tensor(shape: tuple) -> keras.KerasTensor:
    # An input, so that the rules take it for a tensor of a graph; its name lets others' be.
    return keras.Input(batch_shape=shape, name="inside")


@builtin_rule("Bidirectional")
def bidirectional(walk: Trace, call: flavors.Call, *inputs: Channels) -> list[Channels]:
    """Bidirectional: the rule of either layer, and the merge of both outputs."""
    layer, channels = call.layer, by_tensor(walk, call, inputs)
    if reason := _obstacle(call):
        return freeze_all(walk, call, inputs, reason)
    pair = [
        apply_rule(walk, inside, [channels[id(x)] for x in inside.inputs])
        for inside in _directions(walk, call)
    ]
    for a, b in zip(*pair, strict=False):
        if a.ids.shape == b.ids.shape:  # Keras 3 needs equal widths, and both Kerases equal groups
            walk.unite(a.ids, b.ids, f"goes with a unit of '{layer.name}' that cannot go")
    (forward, *forward_states), (backward, *backward_states) = pair
    shape = tuple(call.outputs[0].shape[1:])
    merged = _MERGES.get(layer.merge_mode, _tied)(walk, layer, forward, backward, shape)
    return [*merged, *forward_states, *backward_states]


def _obstacle(call: flavors.Call) -> str:
    """Why nothing may be pruned in or before a Bidirectional, or an empty string."""
    layer, directions = call.layer, (call.layer.forward_layer, call.layer.backward_layer)
    for inside in directions:
        if rule_for(inside) is None:
            return no_rule_reason(inside)
    shape = flavors.sequence_arguments(call).sequence.shape
    first, second = (inside.compute_output_shape(shape) for inside in directions)
    if first != second and not flavors.directions_may_differ(layer):
        return f"enters '{layer.name}' (Bidirectional), whose directions differ in their units"
    return ""


def _directions(walk: Trace, call: flavors.Call) -> list[flavors.Call]:
    """The calls of both layers, as the wrapper makes them."""
    layer = call.layer
    sequence, starts, _ = flavors.sequence_arguments(call)
    last = call.outputs[1 if layer.merge_mode else 2 :]
    found = []
    for i, name in enumerate(("forward", "backward")):
        inside = getattr(layer, f"{name}_layer")
        walk.rename(inside, f"{walk.name(layer)}/{name}")
        output = _tensor(flavors.output_shape(inside, sequence))
        given, states = (x[len(x) // 2 * i :][: len(x) // 2] for x in (starts, last))
        more = {"initial_state": given} if given else {}
        found.append(flavors.Call(inside, (sequence,), more, [output, *states]))
    return found


def _side_by_side(walk: Trace, layer: Any, a: Channels, b: Channels, shape: tuple):
    last = len(shape) - 1
    if any(axis != last for x in (a, b) for axis in x.varying_axes()):
        return _tied(walk, layer, a, b, shape)
    a, b = a.expanded((last,)), b.expanded((last,))
    ids, dead = (np.concatenate(x, axis=last) for x in ((a.ids, b.ids), (a.dead, b.dead)))
    return [Channels(ids, shape, dead)]


def _tied(walk: Trace, layer: Any, a: Channels, b: Channels, shape: tuple) -> list[Channels]:
    walk.unite(a.ids, b.ids, f"is merged by '{layer.name}' with units that cannot go")
    return [a.with_(ids=np.maximum(a.ids, b.ids), shape=shape)]


def _apart(walk: Trace, layer: Any, a: Channels, b: Channels, shape: tuple) -> list[Channels]:
    return [a, b]


_MERGES = {"concat": _side_by_side, None: _apart}
