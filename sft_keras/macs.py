"""Multiply-accumulates of one call of a layer or operator, one sample.

What multiplies weights with inputs counts, or two tensors with each other: convolutions, dense and
recurrent layers, attention, matrix products. Element-wise work does not, as is usual.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from keras import tree

from sft_keras import equations, flavors

Shape = tuple[int, ...]


class Work(NamedTuple):
    """A call, by what its cost depends on: shapes at batch 1, sizes 1 where unknown."""

    call: flavors.Call
    layer: Any
    inputs: list[Shape]
    outputs: list[Shape]


def macs(call: flavors.Call) -> int:
    """Multiply-accumulates of a call; 0 for layers that are element-wise or not known."""
    inputs, outputs = (_shapes(tensors) for tensors in (call.inputs, call.outputs))
    return _macs(Work(call, call.layer, inputs, outputs))


def _macs(work: Work) -> int:
    layer = work.layer
    if flavors.is_operator(layer):
        count = _OPERATORS.get(flavors.operator_name(layer))
    else:
        count = _LAYERS.get(type(layer).__name__) if flavors.is_of_keras(type(layer)) else None
    return count(work) if count else 0


def _shapes(tensors: Sequence[Any]) -> list[Shape]:
    return [(1, *(size or 1 for size in x.shape[1:])) for x in tensors]


def _conv(work: Work) -> int:
    return math.prod(work.layer.kernel.shape[:-1]) * math.prod(work.outputs[0])


def _conv_transpose(work: Work) -> int:
    return math.prod(work.layer.kernel.shape[:-1]) * math.prod(work.inputs[0])


def _depthwise(work: Work) -> int:
    return math.prod(work.layer.kernel_size) * math.prod(work.outputs[0])


def _separable(work: Work) -> int:
    layer = work.layer
    positions = math.prod(work.outputs[0]) // layer.filters
    between = layer.pointwise_kernel.shape[-2]
    return positions * between * (math.prod(layer.kernel_size) + layer.filters)


def _dense(work: Work) -> int:
    return work.layer.kernel.shape[0] * math.prod(work.outputs[0])


def _einsum_dense(work: Work) -> int:
    layer, given = work.layer, work.inputs[0]
    equation = equations.parse(layer.equation, layer.bias_axes, len(given))
    names = zip(equation.inputs, given, strict=True)
    others = math.prod(size for name, size in names if name not in equation.kernel)
    return others * math.prod(layer.kernel.shape)


def _cell(cell: Any) -> int:
    """One step of a recurrent cell, or of several one behind another."""
    if hasattr(cell, "cells"):
        return sum(map(_cell, cell.cells))
    if not hasattr(cell, "recurrent_kernel"):
        return 0
    return math.prod(cell.kernel.shape) + math.prod(cell.recurrent_kernel.shape)


def _recurrent(work: Work) -> int:
    return work.inputs[0][1] * _cell(work.layer.cell)


def _recurrent_conv(work: Work) -> int:
    """Both convolutions of a step, at each position of its output."""
    rank = len(work.layer.cell.kernel.shape) - 2
    channels_last = work.layer.cell.data_format == "channels_last"
    positions = work.outputs[0][-rank - 1 : -1] if channels_last else work.outputs[0][-rank:]
    return work.inputs[0][1] * math.prod(positions) * _cell(work.layer.cell)


def _bidirectional(work: Work) -> int:
    parts = (work.layer.forward_layer, work.layer.backward_layer)
    return sum(_macs(work._replace(layer=part)) for part in parts)


def _each_step(work: Work) -> int:
    """The inner layer on one step, as often as there are steps."""
    (_, steps, *sizes), inner = work.inputs[0], work.layer.layer
    if flavors.is_graph(inner):
        return steps * graph_macs(inner)
    made = [(1, *work.outputs[0][2:])]
    return steps * _macs(work._replace(layer=inner, inputs=[(1, *sizes)], outputs=made))


def graph_macs(model: Any) -> int:
    """Multiply-accumulates of a whole model, those in it included."""
    return sum(
        graph_macs(call.layer) if flavors.is_graph(call.layer) else macs(call)
        for call in flavors.calls(model)
        if not flavors.is_input_layer(call.layer)
    )


def _projected_attention(work: Work) -> int:
    """The projections, then each query with each key and value of the attended axes."""
    query, value, key = _shapes(_query_value_key(work))
    parts = flavors.projections(work.layer)
    axes = flavors.argument(work.layer, "attention_axes") or (1,)
    attended = math.prod(key[axis] for axis in axes)
    positions = math.prod(query[:-1])
    total = math.prod(parts.output.kernel.shape) * positions
    for part, shape in ((parts.query, query), (parts.key, key), (parts.value, value)):
        total += math.prod(part.kernel.shape) * math.prod(shape[:-1])
    if parts.gate is not None:
        total += math.prod(parts.gate.kernel.shape) * positions
    heads, key_dim = parts.query.kernel.shape[1:]
    return total + positions * attended * heads * (key_dim + parts.value.kernel.shape[-1])


def _attention(work: Work) -> int:
    """Each query with each key, then with each value."""
    query, value, *more = work.inputs
    return query[1] * value[1] * ((more or [value])[0][-1] + value[-1])


def _query_value_key(work: Work) -> list[Any]:
    names = ("query", "value", "key")
    given = dict(zip(names, work.call.args, strict=False)) | work.call.kwargs
    key = given["value"] if given.get("key") is None else given["key"]
    return [given["query"], given["value"], key]


def _dot(work: Work) -> int:
    axes = work.layer.axes
    axis = axes if isinstance(axes, int) else axes[0]
    return work.inputs[0][axis] * math.prod(work.outputs[0])


def _matmul(work: Work) -> int:
    given = flavors.arguments(work.call)
    first = given["x1"] if "x1" in given else given["a"]
    return first.shape[-2 if given.get("transpose_a") else -1] * math.prod(work.outputs[0])


def _einsum(work: Work) -> int:
    """All sizes of all letters; an equation with `...` is not counted."""
    given = flavors.arguments(work.call)
    equation = given.get("subscripts") or given["equation"]
    terms = equation.partition("->")[0].replace(" ", "").split(",")
    operands = [x for x in tree.flatten(work.call.args) if hasattr(x, "shape")]
    if "..." in equation or len(operands) != len(terms):
        return 0
    sizes: dict[str, int] = {}
    for term, operand in zip(terms, operands, strict=True):
        sizes |= {name: size or 1 for name, size in zip(term, operand.shape, strict=True)}
    return math.prod(sizes.values()) // (work.call.outputs[0].shape[0] or 1)


_LAYERS: dict[str, Callable[[Work], int]] = {
    **{f"Conv{rank}D": _conv for rank in (1, 2, 3)},
    **{f"Conv{rank}DTranspose": _conv_transpose for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": _depthwise for rank in (1, 2)},
    **{f"SeparableConv{rank}D": _separable for rank in (1, 2)},
    **{f"ConvLSTM{rank}D": _recurrent_conv for rank in (1, 2, 3)},
    **dict.fromkeys(("SimpleRNN", "LSTM", "GRU", "RNN"), _recurrent),
    **dict.fromkeys(("MultiHeadAttention", "GroupedQueryAttention"), _projected_attention),
    **dict.fromkeys(("Attention", "AdditiveAttention"), _attention),
    "Bidirectional": _bidirectional,
    "Dense": _dense,
    "Dot": _dot,
    "EinsumDense": _einsum_dense,
    "TimeDistributed": _each_step,
}
_OPERATORS: dict[str, Callable[[Work], int]] = {"einsum": _einsum, "matmul": _matmul}
