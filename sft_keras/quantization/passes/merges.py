"""Merges of as many tensors at a time as kernels take, and no averages."""

import functools

import tf_keras
from tf_keras import layers

from sft_keras import flavors
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import rewrite

MOST_JOINED = 10  # by one CONCATENATION of TFLite Micro
PAIRWISE = (layers.Add, layers.Multiply, layers.Maximum, layers.Minimum)


@proven
def split_merges(model: tf_keras.Model) -> tf_keras.Model:
    """Turns `Add([a, b, c])` into `Add([Add([a, b]), c])`, and `Average` into `Add` and a scale."""

    @functools.cache
    def made(layer, kind, name, *args):
        return kind(*args, name=name)

    def chain(layer, kind, name, tensors):
        total = tensors[0]
        for count, x in enumerate(tensors[1:], 2):
            is_last = count == len(tensors)
            total = made(layer, kind, name if is_last else f"{name}_{count}")([total, x])
        return total

    def call(layer, tensors, **kwargs):
        if _is_average(layer):
            total = chain(layer, layers.Add, f"{layer.name}_sum", tensors)
            return made(layer, layers.Rescaling, layer.name, 1 / len(tensors))(total)
        return chain(layer, type(layer), layer.name, tensors)

    many = {call.layer for call in flavors.calls(model) if len(call.inputs) > 2}
    return rewrite(model, call, lambda x: _is_average(x) or (type(x) in PAIRWISE and x in many))


@proven
def split_concatenations(model: tf_keras.Model) -> tf_keras.Model:
    """Turns a `Concatenate` of more than ten tensors into those of ten at a time."""

    @functools.cache
    def made(layer, name):
        return layers.Concatenate(layer.axis, name=name)

    def call(layer, tensors):
        level = 0
        while len(tensors) > MOST_JOINED:
            level += 1
            tens = [tensors[i : i + MOST_JOINED] for i in range(0, len(tensors), MOST_JOINED)]
            tensors = [
                made(layer, f"{layer.name}_{level}_{i}")(x) if len(x) > 1 else x[0]
                for i, x in enumerate(tens)
            ]
        return made(layer, layer.name)(tensors)

    many = {call.layer for call in flavors.calls(model) if len(call.inputs) > MOST_JOINED}
    return rewrite(model, call, lambda x: type(x) is layers.Concatenate and x in many)


def _is_average(layer):
    return type(layer) is layers.Average
