"""The folder for an Android project; `test_kotlin.py` compiles and runs what is in it."""

import pytest
from ai_edge_litert import schema_py_generated as schema

from sft_keras import LiteModel, android
from sft_keras.errors import ArgumentError, FileError, UnsupportedError

LABELS = ["ant", "bee", "cät"]


@pytest.fixture(scope="module")
def app(lite, tmp_path_factory):
    folder = tmp_path_factory.mktemp("android") / "app"
    android.export(lite, folder, name="flower_net", package="org.flowers", labels=LABELS, std=2)
    return folder


def test_the_file_in_it_has_metadata(lite, app):
    file = LiteModel.load(app / "flower_net.tflite")
    assert repr(file).partition(",")[0] == repr(lite).partition(",")[0]
    metadata = android.read_metadata(file)
    assert metadata.name == "flower_net"
    assert metadata.outputs[0].labels == tuple(LABELS)
    assert (app / "labels.txt").read_text(encoding="utf-8").splitlines() == LABELS


def test_the_kotlin_has_this_models_numbers(lite, app):
    text = (app / "FlowerNetTensors.kt").read_text()
    assert "package org.flowers\n" in text
    assert "val INPUT_0_SHAPE = intArrayOf(1, 8, 8, 3)" in text
    assert f"const val INPUT_0_ZERO_POINT = {lite.inputs[0].zero_point}\n" in text
    scale = text.partition("INPUT_0_SCALE = ")[2].partition("f\n")[0]
    assert float(scale) == pytest.approx(lite.inputs[0].scale)
    for runner, call in (("Compiled", "CompiledModel.create("), ("Interpreter", "Interpreter(")):
        text = (app / f"FlowerNet{runner}.kt").read_text()
        assert f"class FlowerNet{runner}(" in text
        assert call in text


def test_a_name_in_the_file_stays_in_its_comment_and_string(lite, renamed, tmp_path):
    android.export(
        renamed(lite, 'a"*/\n```\nval INJECTED = 1 // ${x}'), tmp_path / "app", name="net"
    )
    for path in (tmp_path / "app").iterdir():
        lines = path.read_bytes().splitlines() if path.suffix != ".tflite" else []
        assert not [line for line in lines if line.startswith((b"```\nval", b"val"))]
    text = (tmp_path / "app" / "NetTensors.kt").read_text()
    assert 'Input 0, "a"* /?```?val INJECTED = 1 // ${x}": int8.' in text
    assert '"a\\u0022*/\\u000a```\\u000aval' in (tmp_path / "app" / "NetCompiled.kt").read_text()


def test_a_file_that_remembers_is_run_by_what_can_reset_it(remembering, tmp_path):
    android.export(remembering, tmp_path / "app")
    names = {path.name for path in (tmp_path / "app").iterdir()}
    assert names == {"model.tflite", "ModelTensors.kt", "ModelInterpreter.kt", "README.md"}
    code = (tmp_path / "app" / "ModelInterpreter.kt").read_text()
    assert code.index("resetVariableTensors()") < code.index("runForMultipleInputsOutputs")
    readme = (tmp_path / "app" / "README.md").read_text()
    assert "ModelInterpreter(context).use" in readme
    assert "Compiled" not in readme


def test_a_file_without_memory_is_not_reset(app):
    assert "reset" not in (app / "FlowerNetInterpreter.kt").read_text()


def test_the_readme_names_every_file(app):
    words = {word.strip(",|") for word in (app / "README.md").read_text().split()}
    assert {f"`{path.name}`" for path in app.iterdir() if path.suffix != ".md"} <= words


def test_a_float_file_is_not_quantized_in_kotlin(segments, tmp_path):
    android.export(segments, tmp_path / "app")
    text = "".join(path.read_text() for path in (tmp_path / "app").glob("*.kt"))
    assert "writeFloat(input0)" in text
    assert "quantize" not in text
    assert not (tmp_path / "app" / "labels.txt").exists()


def test_files_that_are_there_stay_unless_they_may_be_replaced(lite, app):
    with pytest.raises(FileError, match="is not empty"):
        android.export(lite, app)
    before = sorted(path.name for path in app.iterdir())
    android.export(lite, app, name="flower_net", labels=LABELS, overwrite=True)
    assert sorted(path.name for path in app.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["a"]}, "1 labels, but output 'classes' has 3"),
        ({"name": "7 models"}, "'7 models'; give an identifier"),
        ({"package": "com.Example"}, "'com.Example'; give a Kotlin package"),
        ({"package": "org.in.flowers"}, "'org.in.flowers'; give a Kotlin package"),
        ({"std": -1}, "std is -1"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(lite, tmp_path, options, message):
    with pytest.raises(ArgumentError, match=message):
        android.export(lite, tmp_path / "app", **options)
    assert not list(tmp_path.iterdir())


def test_a_size_that_is_not_known_is_refused(lite, edited, tmp_path):
    def change(graph):
        graph.tensors[graph.inputs[0]].shapeSignature = [-1, 8, 8, 3]

    with pytest.raises(UnsupportedError, match=r"'image' of the model has .*\[-1, 8, 8, 3\]"):
        android.export(edited(lite, change), tmp_path / "app")


def test_a_dtype_that_kotlin_lacks_is_refused(lite, edited, tmp_path):
    def change(graph):
        graph.tensors[graph.inputs[0]].type = schema.TensorType.INT16

    with pytest.raises(UnsupportedError, match=r"'image' of the model is int16, .*'float32'"):
        android.export(edited(lite, change), tmp_path / "app")


def test_a_whole_number_with_a_scale_is_refused(lite, edited, tmp_path):
    def change(graph):
        graph.tensors[graph.inputs[0]].type = schema.TensorType.INT32

    with pytest.raises(UnsupportedError, match="'image' of the model is int32 with a scale"):
        android.export(edited(lite, change), tmp_path / "app")


def test_a_single_number_may_be_put_out(lite, edited, tmp_path):
    def change(graph):
        tensor = graph.tensors[graph.outputs[0]]
        tensor.shape, tensor.shapeSignature = [], None

    android.export(edited(lite, change), tmp_path / "app")
    assert "OUTPUT_0_SIZE = 1\n" in (tmp_path / "app" / "ModelTensors.kt").read_text()


def test_labels_for_whole_numbers_are_refused(segments, edited, tmp_path):
    def change(graph):
        graph.tensors[graph.outputs[0]].type = schema.TensorType.INT32

    with pytest.raises(ArgumentError, match="'places' holds int32, no scores"):
        android.export(edited(segments, change), tmp_path / "app", labels=LABELS)
