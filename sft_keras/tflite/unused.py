"""What nothing in a file refers to any more, taken out."""

from collections.abc import Sequence
from typing import Any

from sft_keras.tflite.operators import numbers


def remove(model: Any) -> None:
    """Takes out the tensors, buffers and codes of operators that do not occur.

    Runtimes look for the kernel of every code, and everything in a file takes flash.

    Args:
        model: a `ModelT` of `ai_edge_litert.schema_py_generated`, which is changed.
    """
    for number in range(len(model.subgraphs)):
        _remove_tensors(model, number)
    tensors = [tensor for graph in model.subgraphs for tensor in graph.tensors]
    holders = [*tensors, *(model.metadata or ())]
    model.buffers, places = _kept(model.buffers, {0, *(x.buffer for x in holders)})
    for holder in holders:
        holder.buffer = places[holder.buffer]
    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    model.operatorCodes, places = _kept(model.operatorCodes, {x.opcodeIndex for x in operators})
    for operator in operators:
        operator.opcodeIndex = places[operator.opcodeIndex]


def _remove_tensors(model: Any, number: int) -> None:
    graph = model.subgraphs[number]
    signatures = [x for x in model.signatureDefs or () if x.subgraphIndex == number]
    ends = [end for signature in signatures for end in (*signature.inputs, *signature.outputs)]
    lists = [(graph, "inputs"), (graph, "outputs")]
    for operator in graph.operators:
        lists += [(operator, name) for name in ("inputs", "outputs", "intermediates")]
    used = {i for owner, name in lists for i in numbers(getattr(owner, name))}
    used |= {end.tensorIndex for end in ends}
    graph.tensors, places = _kept(graph.tensors, used - {-1})
    places[-1] = -1  # an input that is left out
    for owner, name in lists:
        if getattr(owner, name) is not None:
            setattr(owner, name, [places[i] for i in numbers(getattr(owner, name))])
    for end in ends:
        end.tensorIndex = places[end.tensorIndex]


def _kept(things: Sequence, used: set[int]) -> tuple[list, dict[int, int]]:
    """What is used, and which place each has then, by the place it had."""
    kept = sorted(used)
    return [things[i] for i in kept], {old: new for new, old in enumerate(kept)}
