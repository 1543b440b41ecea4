"""Small changes to a `.tflite` file in place, through writable views of its flatbuffer."""

import numpy as np


def tensor_of(model, operator, side, position):
    """Tensor table at a position of an operator's `"Inputs"` or `"Outputs"`."""
    graph = model.Subgraphs(0)
    return graph.Tensors(getattr(graph.Operators(operator), side)(position))


def output_scale(model, operator):
    return tensor_of(model, operator, "Outputs", 0).Quantization().ScaleAsNumpy()


def narrow_softmax(model):
    """Gives the last Dense such small weights that the softmax behind it sees almost nothing."""
    data, weights, bias = (tensor_of(model, 4, "Inputs", i).Quantization() for i in range(3))
    weights.ScaleAsNumpy()[:] = 1e-8
    bias.ScaleAsNumpy()[:] = 1e-8 * data.ScaleAsNumpy()
    output_scale(model, 4)[:] = 1e-8


def set_type(tensor, code):
    _scalar(tensor._tab, 1, np.int8)[:] = code


def set_operator(model, operator, code):
    record = model.OperatorCodes(model.Subgraphs(0).Operators(operator).OpcodeIndex())
    _scalar(record._tab, 0, np.int8)[:] = min(code, 127)
    _scalar(record._tab, 3, np.int32)[:] = code


def forget_signatures(model):
    set_length(model._tab, 7, 0)


def set_length(table, slot, length):
    """The length of a table's vector."""
    offset = table.Pos + table.Offset(4 + 2 * slot)
    vector = offset + np.frombuffer(table.Bytes, np.uint32, 1, offset)[0]
    np.frombuffer(table.Bytes, np.uint32, 1, vector)[:] = length


def _scalar(table, slot, dtype):
    """A scalar field of a table; `slot` counts the fields of the schema from 0."""
    offset = table.Offset(4 + 2 * slot)
    assert offset, "a field at its default is not stored"
    return np.frombuffer(table.Bytes, dtype, 1, table.Pos + offset)


def set_version(model, operator, version):
    record = model.OperatorCodes(model.Subgraphs(0).Operators(operator).OpcodeIndex())
    _scalar(record._tab, 2, np.int32)[:] = version
