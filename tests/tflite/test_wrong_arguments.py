"""What is given where a `LiteModel` is taken is refused in one sentence, by every function."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from dense_file import dense_file

import sft_keras
from sft_keras import android, micro, tflite
from sft_keras.errors import ArgumentError

X = np.zeros((4, 8), "float32")
MODEL = keras.Sequential([keras.Input((8,)), keras.layers.Dense(2)])
LITE, _, _ = dense_file((1, 8))
OF_ONE = {
    "verify": lambda lite: sft_keras.verify(lite, X),
    "check": lambda lite: sft_keras.check(lite, "tflm"),
    "compare_layers": lambda lite: sft_keras.compare_layers(MODEL, lite, X),
    "profile": tflite.profile,
    "arena_size": tflite.arena_size,
    "to_onnx": lambda lite: tflite.to_onnx(lite, "out.onnx"),
    "memory_by_operator": micro.memory_by_operator,
    "micro.export": lambda lite: micro.export(lite, "out"),
    "android.export": lambda lite: android.export(lite, "out"),
    "with_metadata": android.with_metadata,
    "read_metadata": android.read_metadata,
}
BY_NAME = {
    "benchmark": tflite.benchmark,
    "latency": tflite.latency,
    "ethos_u": micro.ethos_u,
}
VALUES = {
    "str": ("a.tflite", "not str; read the file with LiteModel.load('a.tflite')."),
    "Path": (Path("a.tflite"), "Path; read the file with LiteModel.load('a.tflite')."),
    "bytes": (LITE.content, "not bytes; wrap the bytes of a file: LiteModel(content)."),
    "model": (MODEL, "not Sequential; convert the model first: sft_keras.convert(model)."),
    "None": (None, "not NoneType; make one with sft_keras.convert(model), or LiteModel.load"),
    "dict": ({"a": LITE}, "not dict; make one with sft_keras.convert(model), or LiteModel.load"),
}


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", OF_ONE)
def test_what_is_no_lite_model_is_refused(name, kind):
    value, way_out = VALUES[kind]
    with pytest.raises(ArgumentError, match=re.escape(way_out)) as refused:
        OF_ONE[name](value)
    assert str(refused.value).startswith(f"{name}() takes a LiteModel, not ")


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("name", BY_NAME)
def test_what_is_no_lite_model_is_refused_under_its_name(name, kind):
    value, way_out = VALUES[kind]
    with pytest.raises(ArgumentError, match=re.escape(way_out)) as refused:
        BY_NAME[name]({"good": LITE, "bad": value})
    assert str(refused.value).startswith(f"{name}() with 'bad' takes a LiteModel, not ")


NAMELESS = ["a.tflite", [LITE], MODEL, None]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in BY_NAME for value in NAMELESS),
        *((name, LITE) for name in BY_NAME if name != "latency"),  # which takes one file, too
    ],
)
def test_files_without_names_are_refused(name, value):
    with pytest.raises(ArgumentError, match=r"by name.* give a dict such as {"):
        BY_NAME[name](value)


@pytest.mark.parametrize("models", [[MODEL], MODEL, LITE, "a.keras", None])
def test_report_refuses_models_without_names(models):
    with pytest.raises(ArgumentError, match=r"report\(\) takes models by name.* give a dict"):
        sft_keras.report(models, X)


@pytest.mark.parametrize("value", ["a.tflite", Path("a.keras"), b"", None, X])
def test_report_refuses_what_is_no_model(value):
    with pytest.raises(ArgumentError, match=r"report\(\) with 'bad' .* load it with"):
        sft_keras.report({"good": MODEL, "bad": value}, X)


@pytest.mark.parametrize("value", ["a.keras", LITE, None])
def test_layers_are_compared_with_a_model(value):
    with pytest.raises(sft_keras.errors.SftKerasError, match=r"Expected a keras\.Model"):
        sft_keras.compare_layers(value, LITE, X)
