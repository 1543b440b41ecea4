"""Random input for a model."""

from typing import Any

import numpy as np
from keras import tree

from sft_keras.flavors.graphs import input_structure

UNKNOWN_SIZE = 64
BATCH = 2


def random_inputs(model: Any, batch: int = BATCH, seed: int = 0, bytes_: bool = False) -> Any:
    """Normal noise for every input of `model`, in its structure; ones and zeros for integers.

    Args:
        model: a Sequential or Functional model of either Keras.
        batch: how many samples, where an input does not fix it.
        seed: of the random numbers.
        bytes_: in place of normal noise, whole numbers from 0 to 255, as an image has.
    """
    rng = np.random.default_rng(seed)

    def sample(tensor):
        shape = [tensor.shape[0] or batch, *(size or UNKNOWN_SIZE for size in tensor.shape[1:])]
        dtype = str(getattr(tensor.dtype, "name", tensor.dtype))
        if "float" in dtype:
            values = rng.integers(0, 256, shape) if bytes_ else rng.standard_normal(shape)
            return values.astype("float32")
        return rng.integers(0, 2, shape).astype(dtype)

    return tree.map_structure(sample, input_structure(model))
