"""What recurrent layers and their wrappers take and keep, in either Keras."""

import inspect
from typing import Any, NamedTuple

from keras import tree

from sft_keras.flavors.graphs import Call, is_graph, weights
from sft_keras.flavors.kinds import is_symbolic, is_tf_keras
from sft_keras.flavors.wrapping import parts


class SequenceArguments(NamedTuple):
    """The arguments of a recurrent layer's call: tensors of the graph, or arrays."""

    sequence: Any
    states: list
    others: list


def sequence_arguments(call: Call) -> SequenceArguments:
    """What a recurrent layer, or a Bidirectional, is called on.

    Args:
        call: the call; its initial states may be symbolic or arrays, and are given flat.

    Returns:
        The sequence, the initial states if any, and what else of the graph it takes.
    """
    names = list(inspect.signature(call.layer.call).parameters)
    given = {**dict(zip(names, call.args, strict=False)), **call.kwargs}
    first = given.pop(names[0])
    # tf_keras lines up symbolic states behind the sequence; Keras 3 keeps their argument.
    sequence, *behind = first if isinstance(first, list | tuple) else [first]
    states = tree.flatten([behind, given.pop("initial_state", None)])
    others = [x for x in tree.flatten(given) if is_symbolic(x)]
    return SequenceArguments(sequence, [x for x in states if x is not None], others)


def is_recurrent(layer: Any) -> bool:
    """Whether a layer of either Keras runs a cell over the steps of a sequence."""
    return hasattr(layer, "cell") or _is_pair(layer)


def states(layer: Any) -> list:
    """The variables in which a stateful layer, or all layers of a model, keep their states."""
    if is_graph(layer):
        return [variable for part in layer.layers for variable in states(part)]
    inside = tree.flatten(parts(layer))
    keeps = getattr(layer, "stateful", False) and not _is_pair(layer)
    own = _flat(getattr(layer, "states", None)) if keeps else []
    return own + [variable for part in inside for variable in states(part)]


def variables(model: Any) -> list:
    """The weights of a model, then the states that its layers keep."""
    return weights(model) + states(model)


def _is_pair(layer: Any) -> bool:
    return hasattr(layer, "forward_layer")  # which lists the states of its two layers as its own


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _flat(value: Any) -> list:
    # Not tree.flatten, which takes TensorFlow's wrapped lists for leaves.
    if value is None:
        return []
    return [x for item in value for x in _flat(item)] if _is_list(value) else [value]


def output_shape(layer: Any, sequence: Any) -> tuple:
    """The shape of the first output of a recurrent layer for a symbolic sequence."""
    shape = layer.compute_output_shape(sequence.shape)
    return tuple(shape[0] if layer.return_state else shape)


def directions_may_differ(bidirectional: Any) -> bool:
    """Whether the two layers of a Bidirectional may have different numbers of units."""
    # Keras 3 takes the shape of the backward layer's outputs from the forward layer.
    return is_tf_keras(bidirectional)


def may_skip_steps(call: Call) -> bool:
    """Whether a TimeDistributed may repeat its last output at the steps that are masked."""
    # tf_keras does where it knows the batch size, and does not tell in the graph what is masked.
    return is_tf_keras(call.layer) and call.outputs[0].shape[0] is not None
