"""Merges of two tensors at a time, and no averages: what int8 kernels take."""

import functools

import tf_keras
from tf_keras import layers

from sft_keras import flavors
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import rewrite

PAIRWISE = (layers.Add, layers.Multiply, layers.Maximum, layers.Minimum)


@proven
def split_merges(model: tf_keras.Model) -> tf_keras.Model:
    """Turns `Add([a, b, c])` into `Add([Add([a, b]), c])`, and `Average` into `Add` and a scale."""

    @functools.cache
    def made(kind, name, *args):
        return kind(*args, name=name)

    def chain(kind, name, tensors):
        total = tensors[0]
        for count, x in enumerate(tensors[1:], 2):
            is_last = count == len(tensors)
            total = made(kind, name if is_last else f"{name}_{count}")([total, x])
        return total

    def call(layer, *args, **kwargs):
        if _is_average(layer):
            total = chain(layers.Add, f"{layer.name}_sum", args[0])
            return made(layers.Rescaling, layer.name, 1 / len(args[0]))(total)
        return chain(type(layer), layer.name, args[0])

    many = {call.layer for call in flavors.calls(model) if len(call.inputs) > 2}
    return rewrite(model, call, lambda x: _is_average(x) or (type(x) in PAIRWISE and x in many))


def _is_average(layer):
    return type(layer) is layers.Average
