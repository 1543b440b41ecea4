"""Random input for a model."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import tree

from sft_keras.errors import UnsupportedError
from sft_keras.flavors.arrays import to_numpy
from sft_keras.flavors.graphs import (
    calls,
    input_structure,
    inputs,
    is_graph,
    open_inputs,
    with_all_outputs,
)
from sft_keras.flavors.kinds import library, producer

UNKNOWN_SIZE = 64
LARGER_SIZES = (256, 1024, 4096)
"""Tried in turn for sizes that a model leaves open, where nothing is left of that one."""
MOST_NUMBERS = 2**24
"""In an input of such a size: two images of 1024 x 1024 are tried, of 4096 x 4096 not."""
BATCH = 2
KINDS: dict[str, Callable] = {
    "noise": np.random.Generator.standard_normal,
    "shares": np.random.Generator.random,
    "bytes": lambda rng, shape: rng.integers(0, 256, shape),
}
"""Normal noise; numbers from 0 to 1; whole numbers from 0 to 255, as an image has."""


def random_inputs(model: Any, batch: int = BATCH, seed: int = 0, kind: str = "noise") -> Any:
    """Random numbers for every input of `model`, in its structure; ones and zeros for integers.

    Args:
        model: a Sequential or Functional model of either Keras.
        batch: how many samples, where an input does not fix it.
        seed: of the random numbers.
        kind: one of `KINDS`, for inputs of floats that are no indices of an Embedding.

    Raises:
        UnsupportedError: an input takes strings.
    """
    size = _open_size(model, batch) if open_inputs(model) else UNKNOWN_SIZE
    return _inputs(model, batch, size, np.random.default_rng(seed), KINDS[kind])


def _inputs(model: Any, batch: int, size: int, rng: np.random.Generator, draw: Callable) -> Any:
    rows = dict(_embedded(model))

    def sample(tensor):
        shape = [tensor.shape[0] or batch, *(given or size for given in tensor.shape[1:])]
        dtype = str(getattr(tensor.dtype, "name", tensor.dtype))
        if dtype == "string":
            raise UnsupportedError(
                f"Input '{producer(tensor).name}' takes strings, of which no numbers can be drawn; "
                "begin the model behind the layers that read them."
            )
        if "float" in dtype and id(tensor) not in rows:
            return draw(rng, shape).astype("float32")
        return rng.integers(0, min(2, rows.get(id(tensor), 2)), shape).astype(dtype)

    return tree.map_structure(sample, input_structure(model))


def _embedded(model: Any) -> Iterator[tuple[int, int]]:
    """By id, the inputs that an Embedding reads, in whatever dtype; and how many rows it has."""
    for call in calls(model):
        if isinstance(call.layer, library(call.layer).layers.Embedding):
            yield from ((id(x), call.layer.input_dim) for x in call.inputs)
        elif is_graph(call.layer):
            inner = dict(_embedded(call.layer))
            pairs = zip(call.inputs, inputs(call.layer), strict=False)
            yield from ((id(x), inner[id(part)]) for x, part in pairs if id(part) in inner)


def _open_size(model: Any, batch: int) -> int:
    """The least size of which something is left in every tensor, else the first."""
    whole, rng = with_all_outputs(model), np.random.default_rng(0)
    for size in (UNKNOWN_SIZE, *LARGER_SIZES):
        zeros = _inputs(model, batch, size, rng, lambda _, shape: np.zeros(shape))
        if max(x.size for x in tree.flatten(zeros)) > MOST_NUMBERS:
            break
        try:
            made = whole(zeros, training=False)
        except Exception:  # each backend, and each layer of the user's, has errors of its own
            continue
        if all(np.size(to_numpy(x)) for x in tree.flatten(made)):
            return size
    return UNKNOWN_SIZE
