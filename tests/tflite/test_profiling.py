"""Each operator is timed alone, and computes alone what it does in the whole file."""

import json

import keras
import numpy as np
import pytest
from keras import layers

import sft_keras
from sft_keras.errors import UnsupportedError
from sft_keras.tflite import LiteModel, lite_cost, profile, profiling, runtimes


def test_every_operator_has_a_row(qat_lite):
    found = profile(qat_lite, runs=3, warmup=1)
    operators = list(qat_lite.file.operators)
    assert [row.operator for row in found.rows] == [operator.name for operator in operators]
    assert sum(row.macs for row in found.rows) == lite_cost.macs(qat_lite)
    assert all(row.milliseconds > 0 for row in found.rows)
    assert found.sum_milliseconds == pytest.approx(sum(row.milliseconds for row in found.rows))
    lines = str(found).splitlines()
    assert len(lines) == len(operators) + 2
    shares = [float(line.split("%")[0].split()[-1]) for line in lines[1:-1]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert json.loads(json.dumps(found.to_dict()))["name"] == qat_lite.name


def test_alone_an_operator_computes_what_it_does_in_the_whole(qat_lite):
    value = np.random.default_rng(0).integers(-128, 128, (4, 8, 8, 1), np.int8)
    (expected,) = runtimes.run("litert-ref", qat_lite.content, [value])
    for content in profiling._operators_alone(qat_lite):  # a chain
        (value,) = runtimes.run("litert-ref", content, [value])
    np.testing.assert_array_equal(value, expected)


def test_an_operator_of_two_inputs_and_one_with_states_run_alone():
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 4))
    y = layers.LSTM(4, return_sequences=True)(x)
    model = keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.Add()([x, y]))))
    data = np.random.default_rng(0).normal(size=(16, 6, 4)).astype("float32")
    found = profile(sft_keras.convert(model, data), runs=2, warmup=0)
    assert {"UNIDIRECTIONAL_SEQUENCE_LSTM", "ADD"} <= {row.operator for row in found.rows}


def test_control_flow_is_refused(qat_lite, monkeypatch):
    graph = qat_lite.file.subgraphs[0]
    lite = LiteModel(qat_lite.content)
    monkeypatch.setitem(vars(lite), "file", type(lite.file)((graph, graph), ()))
    with pytest.raises(UnsupportedError, match="has control flow"):
        profile(lite)
