"""Masks of attention, by value on phones' and microcontrollers' runtimes, and what is refused."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers, ops

from sft_keras.errors import ConversionError
from sft_keras.tflite import check, convert, gate, runtimes
from sft_keras.tflite.lite_model import LiteModel
from sft_keras.tflite.packing import packed

CAUSAL = np.tril(np.ones((6, 6), bool))
MANY = 1e9


def heads(x):
    return layers.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True)


def subtracted(x):
    return layers.Attention()([x, x], use_causal_mask=True)


def _attended(x, mask):
    q = layers.Dense(4)(x)
    return ops.matmul(ops.softmax(mask(ops.matmul(q, ops.transpose(q, (0, 2, 1))))), x)


def added(x):
    return _attended(x, lambda scores: ops.add(np.where(CAUSAL, 0, -1e4).astype("float32"), scores))


def selected(x):
    return _attended(x, lambda scores: ops.where(CAUSAL, scores, -np.inf))


def deselected(x):
    return _attended(x, lambda scores: ops.where(~CAUSAL, -MANY, scores))


def mixed(x):
    return _attended(x, lambda scores: scores + np.where(CAUSAL, 0.5, -MANY).astype("float32"))


@pytest.fixture(scope="module")
def sequences():
    return np.random.default_rng(0).normal(size=(64, 6, 8)).astype("float32")


def model_of(attention):
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 8))
    return keras.Model(x, layers.Dense(3)(attention(x)))


@pytest.mark.parametrize(
    ("attention", "dtype"),
    [
        (heads, "int8"),
        (heads, "int16x8"),
        (subtracted, "int8"),
        (added, "int8"),
        (selected, "int8"),
        (deselected, "int16x8"),
    ],
)
def test_masked_scores_are_masked_and_the_others_keep_their_numbers(sequences, attention, dtype):
    model = model_of(attention)
    lite = convert(model, sequences, dtype=dtype)
    expected = model.predict(sequences, verbose=0)
    for runtime in ("litert", "litert-ref", "tflm"):
        (found,) = runtimes.run(runtime, lite.content, [lite.quantize_input(sequences)])
        error = lite.dequantize_output(found) - expected
        assert np.sqrt(np.mean(error**2)) < 0.06 * np.std(expected), runtime


def test_a_mask_with_other_numbers_in_it_is_refused(sequences):
    with pytest.raises(ConversionError, match="adds a mask and other numbers in one constant"):
        convert(model_of(mixed), sequences)


def test_scores_in_the_range_of_a_mask_are_refused(sequences):
    lite = convert(model_of(heads), sequences)
    model = schema.ModelT.InitFromPackedBuf(lite.content)
    (graph,) = model.subgraphs
    (softmax,) = (
        operator
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == schema.BuiltinOperator.SOFTMAX
    )
    graph.tensors[softmax.inputs[0]].quantization.scale = np.array([4e6], np.float32)
    wide = LiteModel(packed(model))
    assert any("cannot be told apart" in x for x in gate.findings(wide, gate.Promise()))
    (found,) = check(wide, "litert").findings
    assert found.stops
    assert "cannot be told apart" in found.text
