import importlib.util
import json

import keras
import numpy as np
import pytest
from keras import layers

import sft_keras
from sft_keras import convert, micro
from sft_keras.errors import ArgumentError, MissingExtraError

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("ethosu"), reason="Vela is missing")


def network(filters):
    keras.utils.set_random_seed(0)
    x = layers.Conv2D(filters, 3, activation="relu")(image := keras.Input((16, 16, 4)))
    x = layers.Conv2D(filters, 3, activation="relu")(x)
    model = keras.Model(image, layers.Dense(4)(layers.Flatten()(x)))
    return convert(model, np.random.default_rng(0).normal(size=(16, 16, 16, 4)))


@pytest.fixture(scope="module")
def report():
    return micro.ethos_u({"dense": network(16), "pruned": network(8)})


def test_the_pruned_file_takes_less_of_all(report):
    dense, pruned = report["dense"], report["pruned"]
    assert dense.npu_share == pruned.npu_share == 1
    assert pruned.cycles < dense.cycles
    assert pruned.flash_bytes < dense.flash_bytes
    assert pruned.sram_bytes < dense.sram_bytes


def test_the_compiled_file_is_for_the_npu(report, tmp_path):
    report["pruned"].lite.save(tmp_path / "npu.tflite")
    loaded = sft_keras.LiteModel.load(tmp_path / "npu.tflite")
    assert {operator.name for operator in loaded.file.operators} == {"CUSTOM:ethos-u"}


def test_it_prints_and_serializes(report):
    lines = str(report).splitlines()
    assert lines[0].split()[0] == "file"
    assert lines[-1].startswith("ethos-u55-128")
    rows = json.loads(json.dumps(report.to_dict()))["rows"]
    assert rows["dense"]["cycles"] == report["dense"].cycles


def test_what_is_not_there_is_refused(report, monkeypatch):
    with pytest.raises(ArgumentError, match="'ethos-u1' is unknown"):
        micro.ethos_u({"a": report["dense"].lite}, "ethos-u1")
    with pytest.raises(ArgumentError, match="no file"):
        micro.ethos_u({})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install"):
        micro.ethos_u({"a": report["dense"].lite})
