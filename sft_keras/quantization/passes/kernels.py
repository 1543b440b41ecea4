"""Kernels of another size where the converter's own convolution goes wrong."""

from typing import Any

import numpy as np
import tf_keras
from tf_keras import layers

from sft_keras import flavors
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import Replaced, rewrite


@proven
def grow_kernels(model: tf_keras.Model) -> tf_keras.Model:
    """Adds zeros to a kernel as large as the image, where that has two pixels and is padded.

    To measure ranges the converter takes such a convolution for a product of matrices and reads
    memory behind the image: `multithreaded_conv.h` looks at the padding at the front alone, which
    is none for a kernel of two. Padding apart from the convolution would be merged into it again.
    """
    wrong = {call.layer for call in flavors.calls(model) if _is_taken_for_a_product(call)}
    return rewrite(model, Replaced(_grown), lambda layer: layer in wrong)


def _is_taken_for_a_product(call: Any) -> bool:
    layer = call.layer
    if type(layer) not in (layers.Conv1D, layers.Conv2D) or layer.padding != "same":
        return False
    image = tuple(call.inputs[0].shape[1:-1])
    return image == layer.kernel_size and max(image) == 2 and max(layer.strides) == 1


def _grown(layer, x):
    zeros = [(int(size == 2), 0) for size in layer.kernel_size]  # in front, where padding is now
    kernel, *bias = layer.get_weights()
    kernel = np.pad(kernel, [*zeros, (0, 0), (0, 0)])
    config = {**layer.get_config(), "kernel_size": kernel.shape[:-2]}
    return [(type(layer).from_config(config), [kernel, *bias])]
