"""Attention: whole heads, and positions within all heads alike, are filters."""

from typing import Any, NamedTuple

import numpy as np

from sft_keras import flavors
from sft_keras.channels.notes import Role
from sft_keras.channels.registry import builtin_rule, explain, is_adapted
from sft_keras.channels.tensor import Channels, along, fixed
from sft_keras.channels.trace import Trace, freeze_all

explain("which compares queries and keys over all their channels", "Attention", "AdditiveAttention")


class _Sets(NamedTuple):
    """The sets of filters of an attention layer: ids along the axes of its projections."""

    query_heads: np.ndarray
    key_value_heads: np.ndarray
    key_dim: np.ndarray
    value_dim: np.ndarray


@builtin_rule("MultiHeadAttention")
def multi_head_attention(walk: Trace, call: flavors.Call, *inputs: Channels):
    """MultiHeadAttention: heads, key_dim, value_dim and the output's channels."""
    layer, config = call.layer, call.layer.get_config()
    query, key, value = _sources(walk, call, inputs)
    if reason := _obstacle(layer, config["attention_axes"], len(query.shape) + 1):
        return freeze_all(walk, call, [query, key, value], reason)
    heads = walk.new_filters(layer, config["num_heads"])
    key_dim = walk.new_filters(layer, config["key_dim"], "key_dim")
    value_dim = walk.new_filters(layer, config["value_dim"], "value_dim")
    walk.width(layer, "num_heads", heads)
    walk.width(layer, "key_dim", key_dim)
    walk.width(layer, "value_dim", value_dim)
    sets = _Sets(heads, heads, key_dim, value_dim)
    read = _project(walk, layer, sets, query, key, value)
    for name, x, ids in zip(("query", "key", "value"), (query, key, value), read, strict=True):
        if f"{name}_shape" in config:  # tf_keras builds the layer from these
            walk.width(layer, (f"{name}_shape", len(x.shape)), ids)
    output = _output(walk, call, sets)
    given = config["output_shape"]
    last = (len(given) - 1,) if np.ndim(given) else ()
    walk.width(layer, ("output_shape", *last), output.ids.reshape(-1))
    attended = len(config["attention_axes"])
    return [output, *_scores(walk, call, heads, len(query.shape) + attended, attended)]


@builtin_rule("GroupedQueryAttention")
def grouped_query_attention(walk: Trace, call: flavors.Call, *inputs: Channels):
    """GroupQueryAttention: a head of key and value with all query heads that share it."""
    layer = call.layer
    query, key, value = _sources(walk, call, inputs)
    if reason := _obstacle(layer, (1,), len(query.shape) + 1):
        return freeze_all(walk, call, [query, key, value], reason)
    heads = walk.new_filters(layer, layer.num_key_value_heads)
    head_dim = walk.new_filters(layer, layer.head_dim, "head_dim")
    query_heads = np.repeat(heads, layer.num_query_heads // layer.num_key_value_heads)
    walk.width(layer, "num_key_value_heads", heads)
    walk.width(layer, "num_query_heads", query_heads)
    walk.width(layer, "head_dim", head_dim)
    sets = _Sets(query_heads, heads, head_dim, head_dim)
    read_query, _, read_value = _project(walk, layer, sets, query, key, value)
    output = _output(walk, call, sets)
    reason = f"is as wide as another tensor of '{layer.name}' that cannot be cut"
    walk.unite(read_query, output.ids.reshape(-1), reason)
    walk.unite(read_query, read_value, reason)
    return [output, *_scores(walk, call, query_heads, 3, 1)]


def _sources(walk: Trace, call: flavors.Call, inputs) -> list[Channels]:
    """The channels of query, key and value; freezes what else is given, such as a mask."""
    channels = dict(zip(map(id, call.inputs), inputs, strict=True))
    given = dict(zip(("query", "value", "key"), call.args, strict=False)) | call.kwargs
    query, value = given["query"], given["value"]
    key = value if given.get("key") is None else given["key"]
    for tensor in call.inputs:
        if not any(tensor is x for x in (query, key, value)):
            walk.freeze(channels[id(tensor)].ids, f"is a mask of '{call.layer.name}'")
    return [channels.get(id(x)) or fixed(tuple(x.shape[1:])) for x in (query, key, value)]


def _obstacle(layer: Any, attention_axes, rank: int) -> str:
    """Why nothing may be pruned in or before an attention layer, or an empty string."""
    parts = [part for part in flavors.projections(layer) if part is not None]
    kind = f"enters '{layer.name}' ({type(layer).__name__})"
    if any(is_adapted(part) for part in parts):
        return f"{kind}, whose weights are quantized or have LoRA"
    if not attention_axes or not all(0 < axis < rank - 1 for axis in attention_axes):
        return f"{kind}, which attends over axes {tuple(attention_axes)}"
    return ""


def _project(walk: Trace, layer: Any, sets: _Sets, query: Channels, key: Channels, value: Channels):
    """Claims the projections of query, key and value; returns the ids that each reads."""
    parts = flavors.projections(layer)
    cut, own = Role.CUT, Role.FILTER
    by_query, by_key = (sets.query_heads, cut), (sets.key_value_heads, cut)
    read_query = _claim(walk, layer, parts.query, query, by_query, (sets.key_dim, own))
    read_key = _claim(walk, layer, parts.key, key, by_key, (sets.key_dim, own))
    # A head whose values are zero is zero, whatever it attends to.
    by_value = (sets.key_value_heads, own)
    read_value = _claim(walk, layer, parts.value, value, by_value, (sets.value_dim, own))
    if parts.gate is not None:
        _claim(walk, layer, parts.gate, query, by_query, (sets.value_dim, cut))
    # The layer divides by √key_dim, which shrinks.
    walk.scale(parts.query.kernel, sets.key_dim)
    walk.scale(parts.query.bias, sets.key_dim)
    return read_query, read_key, read_value


def _claim(walk: Trace, layer: Any, part: Any, x: Channels, heads: tuple, dims: tuple):
    """Claims a kernel (input, heads, dims) and its bias (heads, dims)."""
    read, dead = walk.vector(x, -1, layer)
    walk.fold(layer, part.kernel, 0, (1, 2), read, dead, exact=True, part=part)
    walk.claim(layer, part.kernel, 0, read, Role.CUT)
    for axis, (ids, role) in enumerate((heads, dims)):
        walk.claim(layer, part.kernel, axis + 1, ids, role)
        walk.claim(layer, part.bias, axis, ids, Role.PARAMETER if role is Role.FILTER else role)
    return read


def _output(walk: Trace, call: flavors.Call, sets: _Sets) -> Channels:
    """Claims the output projection, a kernel (heads, dims, ..., channels)."""
    layer, part = call.layer, flavors.projections(call.layer).output
    *_, channels = part.kernel.shape
    ids = walk.new_filters(layer, channels, "output")
    last = len(part.kernel.shape) - 1
    walk.claim(layer, part.kernel, 0, sets.query_heads, Role.CUT)
    walk.claim(layer, part.kernel, 1, sets.value_dim, Role.CUT)
    walk.claim(layer, part.kernel, last, ids, Role.FILTER)
    walk.claim(layer, part.bias, last - 2, ids, Role.PARAMETER)
    return along(-1, ids, tuple(call.outputs[0].shape[1:]))


def _scores(walk: Trace, call: flavors.Call, heads, rank: int, attended: int) -> list[Channels]:
    """The attention scores, if returned: (..., heads, attended axes of query, of key).

    Those of a pruned head are no constant.
    """
    if len(call.outputs) == 1:
        return []
    shape = tuple(call.outputs[1].shape[1:])
    if len(shape) != rank:  # Keras 3 tells a wrong rank when several axes are attended
        walk.freeze(heads, f"has scores, given by '{call.layer.name}', of an unknown shape")
        return [fixed(shape)]
    return [along(rank - 1 - 2 * attended, heads, shape, dead=np.nan)]
