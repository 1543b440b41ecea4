"""Files of one FULLY_CONNECTED without a converter, and what it should give."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from sft_keras.tflite import LiteModel
from sft_keras.tflite.packing import packed

UNITS = 12
STEP = 0.05  # of the inputs


def dense_file(shape, *, dtype="int8", scales=UNITS, bias=True, keep=True, samples=4):
    """A Dense with random weights.

    Args:
        shape: of the input, batch axis first.
        dtype: of inputs and outputs: int8 or int16.
        scales: how many the weights have: one, or one a unit.
        bias: whether it has one.
        keep: whether the output has as many axes as the input.
        samples: how many inputs to make.

    Returns:
        A `LiteModel`, inputs in steps, and the outputs of exact arithmetic in steps.
    """
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (UNITS, shape[-1])).astype("int8")
    weight_scales = np.linspace(0.002, 0.02, UNITS) if scales > 1 else np.array([0.01])
    offsets = rng.integers(-2000, 2000, UNITS).astype("int32" if dtype == "int8" else "int64")
    steps = rng.integers(-120, 120, (samples, *shape[1:])).astype(dtype)
    real = STEP * (steps.astype(float) @ weights.T) * weight_scales
    real += offsets * STEP * weight_scales if bias else 0
    scale = np.abs(real).max() / np.iinfo(dtype).max
    file = _File()
    inputs = [
        file.add("input", shape, dtype, [STEP]),
        file.add("weights", weights.shape, "int8", weight_scales, weights),
        file.add("bias", (UNITS,), offsets.dtype.name, STEP * weight_scales, offsets)
        if bias
        else -1,
    ]
    axes = shape[:-1] if keep else (int(np.prod(shape[:-1])),)
    output = file.add("output", (*axes, UNITS), dtype, [scale])
    return file.written(inputs, output, keep), steps, np.round(real / scale)


class _File:
    def __init__(self):
        self.model, self.graph = schema.ModelT(), schema.SubGraphT()
        self.model.version, self.model.buffers = 3, [schema.BufferT()]
        self.model.signatureDefs, self.model.subgraphs = [], [self.graph]
        self.graph.tensors = []

    def add(self, name, shape, dtype, scales, data=None):
        tensor, buffer = schema.TensorT(), schema.BufferT()
        tensor.name, tensor.shape, tensor.hasRank = name, list(shape), True
        tensor.type = getattr(schema.TensorType, dtype.upper())
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = [float(scale) for scale in scales]
        tensor.quantization.zeroPoint = [0] * len(scales)
        tensor.buffer = 0
        if data is not None:
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def written(self, inputs, output, keep):
        operator, code = schema.OperatorT(), schema.OperatorCodeT()
        operator.inputs, operator.outputs = inputs, [output]
        operator.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
        operator.builtinOptions = schema.FullyConnectedOptionsT()
        operator.builtinOptions.keepNumDims = keep
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
        code.version = 5
        self.graph.inputs, self.graph.outputs = inputs[:1], [output]
        self.graph.operators, self.model.operatorCodes = [operator], [code]
        return LiteModel(packed(self.model))
