"""Embedding: its filters are the entries of its vectors."""

from sft_keras import flavors
from sft_keras.channels.notes import Role
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.tensor import Channels, along
from sft_keras.channels.trace import Trace


@builtin_rule("Embedding")
def embedding(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """Embedding; which of its inputs are masked does not depend on its filters."""
    layer = call.layer
    walk.freeze(x.ids, f"is looked up by '{layer.name}'")
    filters = walk.new_filters(layer, layer.output_dim)
    walk.claim(layer, layer.embeddings, 1, filters, Role.FILTER)
    walk.width(layer, "output_dim", filters)
    return along(-1, filters, tuple(call.outputs[0].shape[1:]), origin=layer)
