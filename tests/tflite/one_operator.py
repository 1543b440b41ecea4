"""Files of one operator that works on numbers of a given dtype, without a converter."""

import flatbuffers
import numpy as np
import tflite
from ai_edge_litert import schema_py_generated as schema

SHAPE = (1, 2, 2, 4)
PADS = np.array([(0, 0), (1, 1), (1, 1), (0, 0)], "int32")
ALIKE = (
    *("ABS", "CEIL", "COS", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "L2_NORMALIZATION"),
    *("LOG", "LOG_SOFTMAX", "NEG", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIGN", "SIN", "SQRT"),
    *("SQUARE", "ZEROS_LIKE"),
)
PAIRS = (
    *("ADD", "ADD_N", "ATAN2", "DIV", "FLOOR_DIV", "FLOOR_MOD", "MUL", "POW"),
    *("SQUARED_DIFFERENCE", "SUB"),
)
COMPARED = ("EQUAL", "GREATER", "GREATER_EQUAL", "LESS", "LESS_EQUAL", "NOT_EQUAL")
REDUCED = ("MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM")


def int32(*numbers):
    return np.array(numbers, "int32")


# Inputs, and the shape of the output: a shape is an input of the file, an array a constant.
FORMS = {
    **dict.fromkeys(ALIKE, ([SHAPE], SHAPE)),
    **dict.fromkeys(PAIRS, ([SHAPE, SHAPE], SHAPE)),
    **dict.fromkeys(COMPARED, ([SHAPE, SHAPE], SHAPE)),
    **dict.fromkeys(REDUCED, ([SHAPE, int32(1)], (1, 2, 4))),
    **dict.fromkeys(("ARG_MAX", "ARG_MIN"), ([SHAPE, int32(3)], (1, 2, 2))),
    "BATCH_TO_SPACE_ND": ([SHAPE, int32(1, 1), int32((0, 1), (0, 1))], (1, 1, 1, 4)),
    "CAST": ([SHAPE], SHAPE),
    "CUMSUM": ([SHAPE, np.array(1, "int32")], SHAPE),
    "DEPTH_TO_SPACE": ([SHAPE], (1, 4, 4, 1)),
    "FILL": ([int32(*SHAPE), ()], SHAPE),
    "GATHER": ([SHAPE, int32(0)], SHAPE),
    "GATHER_ND": ([SHAPE, int32((0, 1))], (1, 2, 4)),
    "MIRROR_PAD": ([SHAPE, PADS], (1, 4, 4, 4)),
    "PAD": ([SHAPE, PADS], (1, 4, 4, 4)),
    "PADV2": ([SHAPE, PADS, ()], (1, 4, 4, 4)),
    "RESIZE_BILINEAR": ([SHAPE, int32(4, 4)], (1, 4, 4, 4)),
    "REVERSE_SEQUENCE": ([SHAPE, int32(1)], SHAPE),
    "SELECT_V2": ([np.ones(SHAPE, bool), SHAPE, SHAPE], SHAPE),
    "SLICE": ([SHAPE, int32(0, 0, 0, 1), int32(1, 2, 2, 3)], (1, 2, 2, 3)),
    "SPACE_TO_BATCH_ND": ([SHAPE, int32(1, 1), int32((0, 1), (0, 1))], (1, 3, 3, 4)),
    "SPACE_TO_DEPTH": ([SHAPE], (1, 1, 1, 16)),
    "STRIDED_SLICE": ([SHAPE, int32(0, 0, 0, 1), int32(*SHAPE), int32(1, 1, 1, 1)], (1, 2, 2, 3)),
    "TILE": ([SHAPE, int32(1, 1, 1, 2)], (1, 2, 2, 8)),
    "TRANSPOSE": ([SHAPE, int32(0, 2, 1, 3)], SHAPE),
}


def file_of(name, dtype, form=None):
    """A file with one operator.

    int64 are the positions of GATHER and GATHER_ND, and what ARG_MAX and CAST give; their numbers
    are float32 then.

    Args:
        name: the operator's in the schema.
        dtype: of the numbers it works on.
        form: as in `FORMS`, where it is another one.
    """
    inputs, shape = form or FORMS[name]
    given = result = dtype
    if name in COMPARED:
        result = "bool"
    elif name.startswith("GATHER") and dtype == "int64":
        given = result = "float32"
        inputs = [i.astype(dtype) if isinstance(i, np.ndarray) else i for i in inputs]
    elif name.startswith(("ARG_", "CAST")):
        given, result = ("float32", dtype) if dtype == "int64" else (dtype, "int32")
    model = schema.ModelT()
    model.version, model.buffers, model.signatureDefs = 3, [schema.BufferT()], []
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs = [], []
    for value in inputs:
        if isinstance(value, np.ndarray):
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(value.tobytes(), np.uint8)
            model.buffers.append(buffer)
            _add(graph, value.shape, value.dtype.name, len(model.buffers) - 1)
        else:
            graph.inputs.append(_add(graph, value, given, 0))
    operator = schema.OperatorT()
    operator.inputs = list(range(len(graph.tensors)))
    operator.outputs = graph.outputs = [_add(graph, shape, result, 0)]
    _options(operator, name, result)
    graph.operators, model.subgraphs = [operator], [graph]
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(tflite.BuiltinOperator, name)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
    model.operatorCodes = [code]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _add(graph, shape, dtype, buffer):
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = f"t{len(graph.tensors)}", list(shape), buffer
    tensor.type = getattr(schema.TensorType, dtype.upper())
    tensor.hasRank = True
    if dtype in ("int8", "int16"):
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [0.0625], [0]
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _options(operator, name, result):
    kind = {
        **dict.fromkeys(REDUCED, "ReducerOptions"),
        "ARG_MAX": "ArgMaxOptions",
        "ARG_MIN": "ArgMinOptions",
        "DEPTH_TO_SPACE": "DepthToSpaceOptions",
        "MIRROR_PAD": "MirrorPadOptions",
        "REVERSE_SEQUENCE": "ReverseSequenceOptions",
        "SPACE_TO_DEPTH": "SpaceToDepthOptions",
    }.get(name)
    if kind is None:
        return
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
    operator.builtinOptions = options = getattr(schema, f"{kind}T")()
    options.outputType = getattr(schema.TensorType, result.upper())
    options.blockSize, options.seqDim = 2, 1
