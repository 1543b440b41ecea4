"""Functions that LiteRT reads from a table in int16: how far off it is, and what is refused."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers, ops
from one_operator import file_of

from sft_keras import check
from sft_keras.errors import GateError
from sft_keras.tflite import LiteModel, constants, convert, gate, lookup_tables, runtimes, scales
from sft_keras.tflite.packing import packed

pytestmark = pytest.mark.usefixtures("all_in_process")

NUMBERS = np.arange(1, 2**15, dtype=np.int16)[None]


def table_of(name, largest, largest_output):
    """A file of one operator whose input and output reach up to two numbers."""
    form = [NUMBERS.shape], NUMBERS.shape
    model = schema.ModelT.InitFromPackedBuf(file_of(name, "int16", form))
    for tensor, end in zip(model.subgraphs[0].tensors, (largest, largest_output), strict=True):
        tensor.quantization.scale = np.array([end / NUMBERS.max()], np.float32)
    return LiteModel(packed(model))


@pytest.mark.parametrize(
    ("name", "largest", "largest_output"),
    [
        ("LOG", 10, 2.3),
        ("LOG", 7100, 8.86),  # the first line is too steep for the kernel
        ("RSQRT", 10, 10),
        ("EXP", 100, 7.4),
        ("GELU", 12, 12),
    ],
)
def test_the_worst_error_is_that_of_the_kernel(name, largest, largest_output, monkeypatch):
    lite = table_of(name, largest, largest_output)
    (operator,) = lite.file.operators
    step, output_step = (float(t.scales[0]) for t in (*operator.inputs, *operator.outputs))
    (found,) = runtimes.run("litert", lite.content, [NUMBERS])
    expected = lookup_tables.FUNCTIONS[name](NUMBERS * step)
    error = np.abs(found * output_step - expected)[np.abs(expected) < largest_output]
    monkeypatch.setattr(lookup_tables, "least", lambda tensor, made: step)
    assert lookup_tables.worst_error(operator, {}) == pytest.approx(
        error.max() / largest_output, abs=2e-4
    )


@pytest.fixture
def vectors():
    keras.utils.set_random_seed(0)
    return np.random.default_rng(0).normal(size=(64, 6)).astype("float32")


def error_of(model, lite, x):
    (found,) = runtimes.run("litert", lite.content, [lite.quantize_input(x)])
    expected = model.predict(x, verbose=0)
    return np.sqrt(np.mean((lite.dequantize_output(found) - expected) ** 2)) / np.std(expected)


def test_a_wide_softplus_is_refused_in_int16_and_float32_is_a_way_out(vectors):
    model = keras.Sequential([keras.Input((6,)), layers.Activation("softplus", name="plus")])
    x = 3 * vectors
    with pytest.raises(GateError, match=r"LOG .* off by up to 1\d\d% .* leave that layer float"):
        convert(model, x, dtype="int16x8", target="litert")
    lite = convert(model, x, dtype="int16x8", target="litert", layer_dtypes={"plus": "float32"})
    assert error_of(model, lite, x) < 1e-3


@pytest.mark.parametrize(("factor", "most"), [(1, 0.05), (3, None)])
def test_a_wide_softplus_is_refused_in_int8_and_a_narrow_one_is_right(factor, most, vectors):
    model = keras.Sequential([keras.Input((6,)), layers.Activation("softplus", name="plus")])
    x = factor * vectors
    if most is None:
        with pytest.raises(GateError, match=r"LOG .* of int8 .* off by up to \d\d% .* layer float"):
            convert(model, x, target="litert")
        lite = convert(model, x, target="litert", layer_dtypes={"plus": "float32"})
    else:
        lite = convert(model, x, target="litert")
    assert error_of(model, lite, x) < (most or 0.02)


def test_a_logarithm_of_numbers_close_to_zero_is_refused_in_int16(vectors):
    x = keras.Input((6,))
    model = keras.Model(x, ops.log(ops.softmax(4 * x) + 1e-7))
    with pytest.raises(GateError, match=r"LOG .* is read from a table"):
        convert(model, vectors, dtype="int16x8", target="litert")


def ordinary():
    x = keras.Input((6,))
    y = layers.Activation("softplus")(layers.RMSNormalization()(x))
    y = layers.Activation("elu")(layers.Dense(5, activation="gelu")(y))
    return keras.Model(x, ops.log(ops.exp(y) + 0.5))


def test_functions_that_bend_little_pass(vectors):
    model = ordinary()
    lite = convert(model, vectors, dtype="int16x8", target="litert")
    assert {operator.name for operator in lite.file.operators} >= lookup_tables.FUNCTIONS.keys()
    assert error_of(model, lite, vectors) < 0.03


def test_microcontrollers_compute_what_phones_look_up():
    file = table_of("RSQRT", 10, 10).file
    assert len(list(scales.faithful_tables(file, gate.Promise("int16x8", "litert")))) == 1
    assert list(scales.faithful_tables(file, gate.Promise("int16x8", "tflm"))) == []


def test_the_least_number_is_read_from_what_computes_it(vectors):
    lite = convert(ordinary(), vectors, dtype="int16x8", target="litert")
    made = constants.made_by(lite.file)
    logarithms = [o.inputs[0] for o in lite.file.operators if o.name == "LOG"]
    assert [lookup_tables.least(t, made) for t in logarithms] == pytest.approx([1, 0.5], rel=1e-3)
    assert lookup_tables.least(lite.file.subgraphs[0].inputs[0], made) == -np.inf


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize(
    ("scale", "zero"), [(0, 0), (np.nan, 0), (-1, 0), (1e30, 0), (1, -(2**62))]
)
def test_scales_that_are_no_scales_are_read(dtype, scale, zero):
    model = schema.ModelT.InitFromPackedBuf(file_of("LOG", dtype, ([(1, 4)], (1, 4))))
    for tensor in model.subgraphs[0].tensors:
        tensor.quantization.scale = np.array([scale], np.float32)
        tensor.quantization.zeroPoint = np.array([zero], np.int64)
    assert isinstance(str(check(LiteModel(packed(model)), "litert")), str)


@pytest.mark.parametrize("name", ["ADD", "RESHAPE"])
def test_what_is_computed_from_itself_is_no_endless_work(name):
    form = ([(1, 4)] * (2 if name == "ADD" else 1), (1, 4))
    model = schema.ModelT.InitFromPackedBuf(file_of("LOG", "int8", ([(1, 4)], (1, 4))))
    other = schema.ModelT.InitFromPackedBuf(file_of(name, "int8", form))
    (loop,) = other.subgraphs[0].operators
    loop.opcodeIndex = len(model.operatorCodes)
    model.operatorCodes += other.operatorCodes
    (log,) = model.subgraphs[0].operators
    loop.inputs = loop.outputs = [int(log.inputs[0])] * len(loop.inputs)
    loop.outputs = loop.outputs[:1]
    model.subgraphs[0].operators.insert(0, loop)
    lite = LiteModel(packed(model))
    assert constants.made_by(lite.file) == {}
    assert isinstance(str(check(lite, "litert")), str)


def test_many_sums_of_sums_are_not_followed_for_ever(vectors):
    x = keras.Input((6,))
    y = layers.ReLU()(x)
    for _ in range(40):
        y = layers.Add()([y, y])
    model = keras.Model(x, ops.log(y / 2**40 + 1.0))
    lite = convert(model, vectors, dtype="int16x8", target="litert")
    assert {"ADD", "LOG"} <= {operator.name for operator in lite.file.operators}
