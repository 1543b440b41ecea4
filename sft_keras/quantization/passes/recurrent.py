"""Recurrent layers step by step, as plain layers."""

from collections.abc import Callable
from typing import Any

import tf_keras
from tf_keras import layers

from sft_keras import flavors
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import rewrite
from sft_keras.quantization.passes.cells import KINDS, Shared

MOST_STEPS = 256
"""Beyond, the file would hold more operators than weights."""

MERGES = {
    "concat": layers.Concatenate,
    "sum": layers.Add,
    "ave": layers.Average,
    "mul": layers.Multiply,
}


@proven
def unroll_recurrent(model: tf_keras.Model) -> tf_keras.Model:
    """Turns recurrent layers into the layers of their gates, called at every step.

    What depends on a mask or keeps its state between calls stays as it is.
    """
    return _unrolled(model, lambda layer, states: True)


@proven
def unroll_unfused(model: tf_keras.Model) -> tf_keras.Model:
    """The same for all recurrent layers but the LSTMs that TFLite has an operator for."""
    return _unrolled(model, lambda layer, states: not _is_fused(layer, states))


def _unrolled(model: tf_keras.Model, wanted: Callable) -> tf_keras.Model:
    if any(_makes_masks(call.layer) for call in flavors.calls(model)):
        return model
    shared = Shared()

    def call(layer, *args, **kwargs):
        given = flavors.sequence_arguments(flavors.Call(layer, args, kwargs, []))
        unrolls = wanted(layer, given.states) and not given.others
        if not unrolls or not _can_unroll(layer, given.sequence):
            return layer(*args, **kwargs)
        run = _unroll_both if len(_directions(layer)) == 2 else _unroll_one
        return run(layer, given.sequence, given.states, shared)

    return rewrite(model, call, lambda layer: bool(_directions(layer)))


def _makes_masks(layer: Any) -> bool:
    return isinstance(layer, layers.Masking) or getattr(layer, "mask_zero", False)


def _directions(layer: Any) -> list:
    """The one or two recurrent layers of a layer; none if it is not recurrent."""
    if isinstance(layer, layers.Bidirectional):
        return [layer.forward_layer, layer.backward_layer]
    return [layer] if hasattr(layer, "cell") else []


def _cells(layer: Any) -> list:
    return list(getattr(layer.cell, "cells", [layer.cell]))


def _can_unroll(layer: Any, sequence: Any) -> bool:
    steps = sequence.shape[1]
    if steps is None or steps > MOST_STEPS or getattr(layer, "merge_mode", "concat") is None:
        return False
    return all(
        not part.stateful
        and not getattr(part, "time_major", False)
        and getattr(part, "data_format", "channels_last") == "channels_last"
        and (len(_cells(part)) == 1 or not part.return_state)
        and all(type(cell).__name__ in KINDS for cell in _cells(part))
        for part in _directions(layer)
    )


def _is_fused(layer: Any, states: list) -> bool:
    """Whether the converter makes UNIDIRECTIONAL_SEQUENCE_LSTM of a layer; others crash it."""
    return not states and all(
        type(part) is layers.LSTM
        and part.use_bias
        and not part.return_state
        and not part.unroll
        and part.activation is tf_keras.activations.tanh
        and part.recurrent_activation is tf_keras.activations.sigmoid
        for part in _directions(layer)
    )


def _unroll_one(layer: Any, sequence: Any, states: list, shared: Shared) -> Any:
    outputs, states = _run(layer, layer.name, sequence, states, shared)
    output = _joined(layer, layer.name, outputs, shared)
    return [output, *states] if layer.return_state else output


def _unroll_both(layer: Any, sequence: Any, states: list, shared: Shared) -> Any:
    sides: list = []
    ends: list = []
    half = len(states) // 2
    for part, given in zip(_directions(layer), (states[:half], states[half:]), strict=True):
        name = f"{layer.name}_{('forward', 'backward')[len(sides)]}"
        outputs, end = _run(part, name, sequence, given, shared)
        if sides and part.return_sequences:
            outputs.reverse()  # to meet the forward layer's in their order
        sides.append(_joined(part, name, outputs, shared))
        ends += end
    merged = shared(layer.name, MERGES[layer.merge_mode])(sides)
    return [merged, *ends] if layer.return_state else merged


def _run(layer: Any, name: str, sequence: Any, states: list, shared: Shared) -> tuple[list, list]:
    """The outputs of all steps in the order in which they are made, and the last states."""
    outputs: list = []
    for number, cell in enumerate(_cells(layer)):
        gates = KINDS[type(cell).__name__](cell, f"{name}_{number}", shared)
        if number:
            inputs = [gates.parts(x) for x in outputs]
        else:
            inputs = gates.inputs(sequence)[:: -1 if layer.go_backwards else 1]
        outputs = []
        for parts in inputs:
            states = gates.step(parts, states)
            outputs.append(states[0])
        last, states = states, []
    return outputs, last


def _joined(layer: Any, name: str, outputs: list, shared: Shared) -> Any:
    """What the layer gives: its last output, or all of them as a sequence."""
    if not layer.return_sequences:
        return shared(name, layers.Identity)(outputs[-1])
    lift = shared(f"{name}_lift", layers.Reshape, (1, *outputs[0].shape[1:]))
    lifted = [lift(x) for x in outputs]
    if len(lifted) == 1:
        return shared(name, layers.Identity)(lifted[0])
    return shared(name, layers.Concatenate, axis=1)(lifted)
