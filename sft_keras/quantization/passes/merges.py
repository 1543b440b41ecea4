"""Merges of two tensors at a time, and no averages: what int8 kernels take."""

import functools

import tf_keras
from tf_keras import layers

from sft_keras.quantization.affine import Affine
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import rewrite

PAIRWISE = (layers.Add, layers.Multiply, layers.Maximum, layers.Minimum)


@proven
def split_merges(model: tf_keras.Model) -> tf_keras.Model:
    """Turns `Add([a, b, c])` into `Add([Add([a, b]), c])`, and `Average` into `Add` and a scale."""

    def call(layer, *args, **kwargs):
        if type(layer) is layers.Average:
            total = _chain(layers.Add, f"{layer.name}_sum", args[0])
            return Affine.of(1 / len(args[0]), 0, layer.name, total)
        if type(layer) in PAIRWISE and len(args[0]) > 2:
            return _chain(type(layer), layer.name, args[0])
        return layer(*args, **kwargs)

    return rewrite(model, call)


def _chain(merge: type, name: str, tensors: list):
    numbered = list(enumerate(tensors))
    return functools.reduce(
        lambda total, nth: merge(name=f"{name}_{nth[0]}")([total, nth[1]]), numbered[1:], tensors[0]
    )
