"""The parts of attention layers, which both Kerases keep private."""

from typing import Any, NamedTuple


class Projections(NamedTuple):
    """The EinsumDense layers inside an attention layer; `gate` is None where it has none.

    The kernels of all but the last are (input, heads, size), of `output` (heads, size, output).
    """

    query: Any
    key: Any
    value: Any
    gate: Any
    output: Any


def projections(attention: Any) -> Projections:
    """The projections of a built MultiHeadAttention or GroupedQueryAttention."""
    # Keras 3 gives some of these public names, on MultiHeadAttention only; tf_keras gives none.
    names = (f"_{name}_dense" for name in Projections._fields)
    return Projections(*(getattr(attention, name, None) for name in names))
