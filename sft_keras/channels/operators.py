"""What the rules of operators share."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import tree

from sft_keras import flavors
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.tensor import FIXED, Channels, fixed
from sft_keras.channels.trace import Trace, freeze_all, sample_shape
from sft_keras.errors import UnsupportedError


def operator_rule(*names: str, inputs: int | None = 1):
    """Registers a rule for operators of both Kerases, by `flavors.operator_name`.

    The rule is asked where filters enter and each sample is worked on alone, as far as shapes tell.

    Args:
        names: the names of the operators.
        inputs: how many tensors of the graph they take, or None for any number.
    """

    def register(rule: Callable) -> Callable:
        @builtin_rule(*names, kind="ops")
        @functools.wraps(rule)
        def checked(walk: Trace, call: flavors.Call, *given: Channels):
            if all(np.all(x.ids == FIXED) for x in given):
                return [fixed(sample_shape(x)) for x in call.outputs]
            if inputs is not None and len(given) != inputs:
                return refused(walk, call, given, "which takes its arguments from other tensors")
            if why := _obstacle(call):
                return refused(walk, call, given, why)
            try:
                return rule(walk, call, *given)
            except UnsupportedError:
                return refused(walk, call, given, "which cannot be run on constants alone")

        return rule

    return register


def refused(
    walk: Trace, call: flavors.Call, inputs: Sequence[Channels], why: str
) -> list[Channels]:
    """Freezes every filter that enters an operator, for a reason that begins with "which"."""
    name = flavors.operator_name(call.layer)
    return freeze_all(walk, call, inputs, f"enters '{call.layer.name}' ({name}), {why}")


def running(call: flavors.Call) -> Callable:
    """A function from arrays, in place of the call's symbolic inputs, to those of the outputs."""
    return lambda *arrays: flavors.run(call, list(arrays))


def without_batch(axis: Any, x: Channels) -> int:
    """The axis of a tensor without batch that an operator names with it; -1 for the batch."""
    return int(axis) % (len(x.shape) + 1) - 1


def channel_axis(call: flavors.Call) -> int:
    """The channel axis, without batch, that an operator's `data_format` tells."""
    given = flavors.arguments(call).get("data_format")
    if given is None and not flavors.is_tf_keras(call.layer):
        given = keras.config.image_data_format()
    return 0 if given is not None and given.startswith(("channels_first", "NC")) else -1


def _obstacle(call: flavors.Call) -> str:
    if any(flavors.is_variable(x) for x in tree.flatten((call.args, call.kwargs))):
        return "which reads a variable"
    if any(getattr(y.shape, "rank", 0) is None for y in call.outputs):
        return "whose result is of unknown rank"
    shapes, made = ([tuple(x.shape) for x in xs] for xs in (call.inputs, call.outputs))
    if not all(made) or {shape[0] for shape in made} - {shape[0] for shape in shapes if shape}:
        return "which mixes samples"
    return ""
