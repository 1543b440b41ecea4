"""Operators that work in place do not write over what is read again, in whatever graph."""

import time

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from sft_keras import LiteModel, check
from sft_keras.tflite import convert, overwriting, runtimes
from sft_keras.tflite.mending import mended
from sft_keras.tflite.packing import packed

SHAPES = ((24,), (4, 6), (2, 12), (2, 3, 4))
OPTIONS = {"RESHAPE": "Reshape", "ADD": "Add", "MUL": "Mul", "SUB": "Sub", "SOFTMAX": "Softmax"}
QUANTIZED = (schema.TensorType.INT8, 0.05)


class Graph:
    """A file in the making: one input, operators on tensors of 24 numbers, one output."""

    def __init__(self, is_quantized=False):
        self.dtype, self.scale = QUANTIZED if is_quantized else (schema.TensorType.FLOAT32, None)
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model = schema.ModelT()
        self.model.version, self.model.subgraphs = 3, [self.graph]
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.graph.inputs = [self.tensor(SHAPES[0])]

    def tensor(self, shape):
        tensor = schema.TensorT()
        tensor.name, tensor.shape = f"t{len(self.graph.tensors)}".encode(), list(shape)
        tensor.type, tensor.buffer, tensor.quantization = self.dtype, 0, None
        if self.scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [self.scale], [0]
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def shape(self, number):
        return tuple(self.graph.tensors[number].shape)

    def operator(self, name, inputs, shape):
        """Puts an operator in; returns the number of its output."""
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = 2 if self.scale is not None and name != "RESHAPE" else 1
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = list(inputs), [self.tensor(shape)]
        kind = OPTIONS[name] + "Options"
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        operator.builtinOptions = getattr(schema, kind + "T")()
        if name == "RESHAPE":
            operator.builtinOptions.newShape = list(shape)
        if name == "SOFTMAX":
            operator.builtinOptions.beta = 1.0
        self.graph.operators.append(operator)
        return operator.outputs[0]

    def reshape(self, number, shape):
        return self.operator("RESHAPE", [number], shape)

    def binary(self, name, first, second):
        return self.operator(name, [first, second], self.shape(first))

    def content(self, output):
        self.graph.outputs = [output]
        return packed(self.model)


def run(content, kernels=OpResolverType.BUILTIN_REF, preserve=False):
    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=kernels,
        experimental_preserve_all_tensors=preserve,
    )
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    x = np.random.default_rng(0).normal(size=24)
    x = x.astype("float32") if details["dtype"] == np.float32 else np.rint(x * 20).astype("int8")
    interpreter.set_tensor(details["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def copies_in(content):
    _, copies = overwriting.mended(content)
    return copies


def reshaped_twice(graph):
    """Of a tensor that is read once, a reshape is read twice: by another reshape, and later."""
    root = graph.binary("ADD", 0, 0)
    view = graph.reshape(root, (4, 6))
    changed = graph.binary("MUL", graph.reshape(view, (24,)), 0)
    return graph.binary("ADD", graph.reshape(changed, (4, 6)), view)


def changed_in_place(graph):
    """What was itself written in place of a tensor that is read once is read twice."""
    root = graph.binary("ADD", graph.binary("ADD", 0, 0), 0)
    changed = graph.binary("MUL", graph.reshape(root, (4, 6)), graph.reshape(0, (4, 6)))
    return graph.binary("ADD", graph.reshape(changed, (24,)), root)


def changed_on_a_copy(graph):
    """What has the place of a copy is read twice."""
    root = graph.binary("ADD", 0, 0)
    view = graph.reshape(root, (4, 6))
    changed = graph.binary("MUL", graph.reshape(view, (24,)), 0)
    again = graph.binary("MUL", graph.reshape(changed, (4, 6)), graph.reshape(0, (4, 6)))
    total = graph.binary("ADD", graph.reshape(changed, (4, 6)), again)
    return graph.binary("ADD", total, view)


@pytest.mark.parametrize("is_quantized", [False, True], ids=["float32", "int8"])
@pytest.mark.parametrize(
    ("build", "copies"), [(reshaped_twice, 1), (changed_in_place, 1), (changed_on_a_copy, 2)]
)
def test_what_is_read_again_is_kept(build, copies, is_quantized):
    graph = Graph(is_quantized)
    content = graph.content(build(graph))
    expected = run(content, preserve=True)
    assert not np.array_equal(run(content), expected)
    assert copies_in(content) == copies
    np.testing.assert_array_equal(run(mended(content)), expected)
    assert copies_in(mended(content)) == 0


def test_nothing_is_copied_where_the_tensor_itself_is_read_again():
    graph = Graph()
    root = graph.binary("ADD", 0, 0)
    changed = graph.binary("MUL", graph.reshape(root, (4, 6)), graph.reshape(0, (4, 6)))
    content = graph.content(graph.binary("ADD", graph.reshape(changed, (24,)), root))
    np.testing.assert_array_equal(run(content), run(content, preserve=True))
    assert copies_in(content) == 0
    assert mended(content) is content


@st.composite
def graphs(draw):
    graph = Graph(draw(st.booleans()))
    made, unread = [graph.binary("ADD", 0, 0)], set()
    for _ in range(draw(st.integers(3, 14))):
        number = draw(st.sampled_from(made[-3:]))
        unread.discard(number)
        if draw(st.booleans()):
            made.append(graph.reshape(number, draw(st.sampled_from(SHAPES))))
        else:
            alike = [n for n in (*made, 0) if graph.shape(n) == graph.shape(number)]
            other = draw(st.sampled_from(alike))
            unread.discard(other)
            made.append(graph.binary(draw(st.sampled_from(["ADD", "SUB", "MUL"])), number, other))
        unread.add(made[-1])
    output = graph.reshape(made[-1], (24,))
    for number in draw(st.permutations(sorted(unread - {made[-1]}))):
        output = graph.binary("SUB", graph.reshape(number, (24,)), output)
    return graph.content(output)


@settings(max_examples=150, deadline=None)
@given(content=graphs())
def test_drawn_graphs_give_the_numbers_of_a_place_for_each_tensor(content):
    changed = mended(content)
    assert copies_in(changed) == 0
    for kernels in (OpResolverType.BUILTIN_REF, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        expected = run(content, kernels, preserve=True)
        np.testing.assert_array_equal(run(changed, kernels), expected)


def test_a_file_from_elsewhere_is_checked_for_it():
    graph = Graph(is_quantized=True)
    content = graph.content(reshaped_twice(graph))
    report = check(LiteModel(content, "elsewhere"), "litert")
    assert not report.runs
    assert "MUL 't4' writes over 't3', whose numbers are read again" in str(report)
    assert check(LiteModel(content, "elsewhere"), "tflm").runs
    assert check(LiteModel(mended(content), "here"), "litert").runs


def test_a_long_chain_is_planned_at_once():
    graph = Graph()
    number = graph.binary("ADD", 0, 0)
    for _ in range(5000):
        number = graph.binary("ADD", graph.reshape(number, (24,)), 0)
    content = graph.content(number)
    start = time.process_time()
    assert copies_in(content) == 0
    assert time.process_time() - start < 20


def test_recurrent_layers_in_a_row_are_the_same_on_all_kernels_of_litert():
    keras.utils.set_random_seed(0)
    sequence = keras.Input((6, 4))
    x = layers.LSTM(6, return_sequences=True)(sequence)
    model = keras.Model(sequence, layers.GRU(5, return_sequences=True)(x))
    x = np.random.default_rng(0).normal(size=(64, 6, 4)).astype("float32")
    lite = convert(model, x)
    feeds = [lite.quantize_input(x)]
    found = [runtimes.run(name, lite.content, feeds)[0] for name in ("litert", "litert-ref")]
    assert np.abs(np.subtract(*found, dtype=int)).max() <= 2
