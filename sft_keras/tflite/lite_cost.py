"""Parameters and multiply-accumulates, counted in a `.tflite` file."""

import math
from collections.abc import Iterator

from sft_keras.tflite.lite_model import LiteModel
from sft_keras.tflite.schema import Operator, Tensor

WEIGHTED = {
    "CONV_2D",
    "CONV_3D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "TRANSPOSE_CONV",
}


def params(lite: LiteModel) -> int:
    """Elements of the weights and biases of convolutions and fully connected operators."""
    constants = {id(tensor): tensor for op in _weighted(lite) for tensor in _constants(op)}
    return sum(math.prod(tensor.shape) for tensor in constants.values())


def macs(lite: LiteModel) -> int:
    """Multiply-accumulates of one sample in convolutions and fully connected operators."""
    return sum(_macs(op) for op in _weighted(lite))


def _weighted(lite: LiteModel) -> Iterator[Operator]:
    return (op for op in lite.file.operators if op.name in WEIGHTED)


def _constants(op: Operator) -> list[Tensor]:
    # TRANSPOSE_CONV also has its output's shape as a constant.
    return [x for x in op.inputs if x.data is not None and (x.scales.size or "float" in x.dtype)]


def _macs(op: Operator) -> int:
    weights = op.inputs[1]  # of a FULLY_CONNECTED they may be computed, too
    if op.name == "TRANSPOSE_CONV":  # (shape, kernel, input); each position meets the kernel
        positions = math.prod(op.inputs[2].shape[1:-1])
        return positions * math.prod(weights.shape)
    outputs = math.prod(op.outputs[0].shape[1:])
    if op.name == "DEPTHWISE_CONV_2D":  # (1, kh, kw, channels)
        return outputs * math.prod(weights.shape[1:-1])
    if op.name == "CONV_3D":  # (kd, kh, kw, in, out)
        return outputs * math.prod(weights.shape[:-1])
    return outputs * math.prod(weights.shape[1:])  # (out, ..., in)
