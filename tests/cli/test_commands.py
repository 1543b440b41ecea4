import json

import keras
import numpy as np
import pytest

import sft_keras
from sft_keras import LiteModel, android
from sft_keras.cli import files


def test_chain_of_commands_on_files(cli, tmp_path, model_file, data_file):
    pruned, small, qat, lite = (tmp_path / n for n in ("p.keras", "s.keras", "q.keras", "m.tflite"))
    data = f"--dataset={data_file}"
    for command in (
        ("prune", model_file, pruned, data, "--epochs=3", "--pruning_ratio=0.5"),
        ("shrink", pruned, small),
        ("quantize", small, qat, data, "--epochs=2"),
        ("convert", qat, lite),
    ):
        code, _, err = cli(*command)
        assert code == 0, err
    assert files.load_model(small).get_layer("conv").filters == 4
    assert sft_keras.LiteModel.load(lite).inputs[0].dtype == "int8"

    code, out, _ = cli("verify", lite, data, "--json")
    litert = next(row for row in json.loads(out)["rows"] if row["runtime"] == "litert")
    assert code == 0
    assert litert["status"] == "runs"
    assert 0 <= litert["accuracy"] <= 1

    picture = tmp_path / "layers.png"
    code, out, _ = cli("compare", small, lite, data, "--limit=5", f"--plot={picture}", "--json")
    assert code == 0
    assert json.loads(out)["samples"] == 5
    assert picture.exists()
    code, _, err = cli("compare", qat, lite, data, f"--plot={picture}")
    assert code == 2
    assert "--overwrite" in err

    code, out, _ = cli("benchmark", lite, lite, "--runs=20", "--json")
    assert code == 0
    assert [row["speed"] is None for row in json.loads(out)["rows"]] == [True, False]
    code, out, _ = cli("benchmark", lite, "--runs=2", "--profile", "--json")
    assert code == 0
    assert json.loads(out)["profiles"][0]["rows"]

    code, out, _ = cli("check", lite, "--target=tflm,litert")
    assert code == 0
    assert "runs on TFLite Micro" in out
    assert "runs on LiteRT" in out
    code, _, err = cli("check", lite, "--target=toaster")
    assert code == 2
    assert "choose one of" in err

    labels, firmware = tmp_path / "labels.txt", tmp_path / "firmware"
    labels.write_text("no\nyes\n")
    code, _, err = cli("export-micro", lite, firmware, f"--labels={labels}", "--name=net", data)
    assert code == 0, err
    assert '"yes"' in (firmware / "net_io.h").read_text()
    code, _, err = cli("export-micro", lite, firmware, f"--labels={tmp_path / 'absent'}")
    assert code == 2
    assert "cannot be read" in err

    app, flags = tmp_path / "app", (f"--labels={labels}", "--name=net", "--mean=0.5", "--std=2,2")
    code, _, err = cli("export-android", lite, app, *flags[:3])
    assert code == 0, err
    assert {path.name for path in app.iterdir()} >= {"net.tflite", "NetCompiled.kt", "labels.txt"}
    metadata = android.read_metadata(LiteModel.load(app / "net.tflite"))
    assert metadata.outputs[0].labels == ("no", "yes")
    assert metadata.inputs[0].mean == (0.5,)
    code, _, err = cli("export-android", lite, tmp_path / "other", *flags)
    assert code == 2
    assert "std has 2 numbers" in err


def test_plan_is_written_and_shrunk_by(cli, tmp_path, model_file):
    plan, small = tmp_path / "plan.json", tmp_path / "small.keras"
    flags = ("--pruning_ratio=0.75", "--criterion=l1")
    code, out, err = cli("plan", model_file, plan, *flags)
    assert code == 0, err
    assert "6 filters pruned, in 1 layers" in out
    code, _, err = cli("shrink", model_file, small, f"--plan={plan}")
    assert code == 0, err
    assert files.load_model(small).get_layer("conv").filters == 2
    code, _, err = cli("plan", model_file, plan, *flags)
    assert code == 2
    assert "--overwrite" in err


def test_bad_plan_is_one_sentence(cli, tmp_path, model_file):
    (tmp_path / "plan.json").write_text('{"version": 1, "layers": {"absent": {"prune": [0]}}}')
    for name, message in (("plan.json", "names layer 'absent'"), ("none.json", "cannot be read")):
        code, _, err = cli("shrink", model_file, tmp_path / "s.keras", f"--plan={tmp_path / name}")
        assert code == 2
        assert message in err
        assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_training_commands_print_a_line_an_epoch(cli, tmp_path, model_file, data_file):
    code, out, _ = cli(
        "prune", model_file, tmp_path / "p.keras", f"--dataset={data_file}", "--epochs=3"
    )
    assert code == 0
    assert [f"Epoch {i}/3" in out for i in (1, 2, 3)] == [True] * 3
    assert out.count("pruned_filters") == 3


def test_ratio_by_layer_and_excluded_layers(cli, tmp_path, model_file, data_file):
    out = tmp_path / "out.keras"
    for flag, pruned in (("--pruning_ratio=conv=0.25", 2), ("--exclude=conv", 0)):
        code, _, err = cli(
            "prune", model_file, out, f"--dataset={data_file}", "--epochs=2", flag, "--overwrite"
        )
        assert code == 0, err
        kernel = files.load_model(out).get_layer("conv").get_weights()[0]
        assert np.sum(~kernel.any(axis=(0, 1, 2))) == pruned


def test_unknown_layer_in_a_ratio_is_one_sentence(cli, tmp_path, model_file, data_file):
    code, _, err = cli(
        "prune",
        model_file,
        tmp_path / "p.keras",
        f"--dataset={data_file}",
        "--pruning_ratio=absent=0.5",
    )
    assert code == 2
    assert "'absent'" in err
    assert "Traceback" not in err


def test_float_model_converts_with_a_dataset_and_is_refused_without(
    cli, tmp_path, model_file, data_file
):
    code, _, err = cli("convert", model_file, tmp_path / "m.tflite")
    assert code == 2
    assert "pass it through `sft-keras quantize` first, or give --dataset=." in err
    code, _, err = cli("convert", model_file, tmp_path / "m.tflite", f"--dataset={data_file}")
    assert code == 0, err
    code, out, _ = cli("inspect", tmp_path / "m.tflite")
    assert code == 0
    assert "1 x CONV_2D" in out
    assert "Passes the gate for int8." in out
    code, _, err = cli("convert", model_file, tmp_path / "m.tflite", f"--dataset={data_file}")
    assert code == 2
    assert "--overwrite" in err


def test_inspect_shows_costs_and_groups(cli, model_file):
    code, out, _ = cli("inspect", model_file)
    assert code == 0
    assert str(sft_keras.cost(files.load_model(model_file))) in out
    assert "is a model output" in out


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_corrupt_tflite_is_one_sentence(cli, tmp_path, command, data_file):
    (tmp_path / "m.tflite").write_bytes(b"not a model")
    flags = [f"--dataset={data_file}"] if command == "verify" else []
    code, out, err = cli(command, tmp_path / "m.tflite", *flags)
    assert code == 2
    assert not out
    assert "is not a .tflite file" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["prune", "quantize"])
def test_model_without_compile_settings_is_refused(cli, tmp_path, command, small_model, data_file):
    small_model(compiled=False).save(tmp_path / "in.keras")
    code, _, err = cli(
        command, tmp_path / "in.keras", tmp_path / "out.keras", f"--dataset={data_file}"
    )
    assert code == 2
    assert "compile" in err
    assert not (tmp_path / "out.keras").exists()


def test_nan_weights_are_refused(cli, tmp_path, small_model):
    model = small_model()
    model.get_layer("conv").set_weights([np.full((3, 3, 1, 8), np.nan)])
    model.save(tmp_path / "in.keras")
    code, _, err = cli("shrink", tmp_path / "in.keras", tmp_path / "out.keras")
    assert code == 2
    assert "'conv' has NaN" in err
    assert [p.name for p in tmp_path.iterdir()] == ["in.keras"]


def test_dataset_of_another_shape_is_refused(cli, tmp_path, model_file):
    code, _, err = cli("prune", model_file, tmp_path / "out.keras", "--dataset=digits")
    assert code == 2
    assert "(8, 8, 1)" in err
    assert "(6, 6, 1)" in err


def test_dataset_with_more_classes_than_outputs_is_refused(cli, tmp_path, model_file):
    x, y = np.zeros((6, 6, 6, 1)), np.arange(6) % 3
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_val=x, y_val=y)
    code, _, err = cli(
        "prune", model_file, tmp_path / "out.keras", f"--dataset={tmp_path / 'data.npz'}"
    )
    assert code == 2
    assert "3 classes" in err


def test_model_that_puts_out_single_numbers_is_refused(cli, tmp_path, data_file):
    image = keras.Input((6, 6, 1))
    keras.Model(image, keras.ops.sum(image, axis=(1, 2, 3))).save(tmp_path / "in.keras")
    code, _, err = cli(
        "prune", tmp_path / "in.keras", tmp_path / "out.keras", f"--dataset={data_file}"
    )
    assert code == 2
    assert "puts out single numbers" in err


def test_model_with_two_inputs_is_refused(cli, tmp_path):
    inputs = [keras.Input((4,)), keras.Input((4,))]
    model = keras.Model(inputs, keras.layers.Add()(inputs))
    model.save(tmp_path / "in.keras")
    code, _, err = cli("prune", tmp_path / "in.keras", tmp_path / "out.keras", "--dataset=digits")
    assert code == 2
    assert "2 inputs" in err


def with_loss(model, loss):
    model.compile("adam", loss)
    return model


def with_two_outputs(model):
    two = keras.Model(model.inputs, [model.outputs[0], keras.layers.ReLU()(model.outputs[0])])
    return with_loss(two, ["sparse_categorical_crossentropy", "mse"])


@pytest.mark.parametrize("command", ["prune", "quantize", "compress"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda model: with_loss(model, "categorical_crossentropy"),
            "has the loss categorical_crossentropy and a dataset's labels are class numbers; "
            "compile it with sparse_categorical_crossentropy",
        ),
        (
            lambda model: with_loss(model, keras.losses.BinaryCrossentropy()),
            "has the loss BinaryCrossentropy and",
        ),
        (lambda model: with_loss(model, None), "has no loss"),
        (with_two_outputs, "has 2 outputs and a dataset has labels for one; use the Python"),
    ],
    ids=["one-hot", "binary", "no loss", "two outputs"],
)
def test_models_that_class_numbers_cannot_train_are_refused(
    cli, tmp_path, data_file, small_model, command, change, reason
):
    path, out = tmp_path / "model.keras", tmp_path / "out.keras"
    change(small_model()).save(path)
    given = (f"--model={path}", f"--output_dir={out}") if command == "compress" else (path, out)
    code, _, err = cli(command, *given, f"--dataset={data_file}", "--epochs=1")
    assert code == 2
    assert reason in err
    assert err.count("\n") == 1
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]
