"""The ranges that the converter measures, and what is left behind of measuring them."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

from sft_keras.tflite import calibration, convert

pytestmark = pytest.mark.usefixtures("all_in_process")

RAMP = np.linspace(0, 1000, 24, dtype="float32").reshape(6, 4)


@pytest.fixture(scope="module")
def sequences():
    return np.random.default_rng(0).normal(size=(64, 6, 8)).astype("float32")


@pytest.mark.parametrize("dtype", ["int8", "int16x8"])
def test_what_is_added_has_a_range_of_its_own(sequences, dtype):
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 8))
    hidden = layers.Dense(4, activation="relu")(x)
    model = keras.Model(x, layers.Dense(3)(hidden + RAMP))
    lite = convert(model, sequences, dtype=dtype)
    names = [operator.name for operator in lite.file.operators]
    assert names == ["FULLY_CONNECTED", "ADD", "FULLY_CONNECTED"]
    largest = keras.Model(x, hidden).predict(sequences, verbose=0).max()
    branch = next(lite.file.operators).outputs[0]
    steps = {"int8": 255, "int16x8": 32767}[dtype]
    assert branch.scales[0] == pytest.approx(largest / steps, rel=0.01)
    model = schema.ModelT.InitFromPackedBuf(lite.content)
    (graph,) = model.subgraphs
    assert len(model.operatorCodes) == 2
    named = {i for x in graph.operators for i in (*x.inputs, *x.outputs)}
    assert len(graph.tensors) == len(named - {-1})


def test_a_file_with_nothing_written_in_place_keeps_its_bytes(qat_lite):
    assert calibration.cleaned(qat_lite.content) is qat_lite.content
