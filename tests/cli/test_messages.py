"""What commands say of what they refuse, in the words of one who types commands."""

import subprocess
import sys

import numpy as np
import pytest

from sft_keras.cli import wording


@pytest.mark.parametrize(
    ("python", "command"),
    [
        (
            "pass it through sft_keras.quantize(model) first, or give representative_data=.",
            "pass it through `sft-keras quantize` first, or give --dataset=.",
        ),
        ("convert with input_dtype='float32'.", "convert with --input_dtype=float32."),
        (
            "convert with target='tflite-runtime-2.14'.",
            "convert with --target=tflite-runtime-2.14.",
        ),
        ("pass --overwrite (overwrite=True).", "pass --overwrite."),
        ("'a' exists; pass overwrite=True.", "'a' exists; pass --overwrite."),
        ("Layer 'conv' has NaN.", "Layer 'conv' has NaN."),
    ],
)
def test_functions_and_arguments_become_commands_and_flags(python, command):
    assert wording.for_commands(python) == command


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("compress", "--datset=digits"), "--datset; did you mean --dataset?"),
        (("compress", "--datset", "digits"), "--datset; did you mean --dataset?"),
        (("prune", "a.keras", "--overwirte", "--dataset=digits"), "did you mean --overwrite?"),
        (("compress", "--qqqq=1"), "unrecognized arguments: --qqqq\n"),
    ],
)
def test_a_misspelt_flag_is_named(cli, arguments, named):
    code, _, err = cli(*arguments)
    assert code == 2
    assert named in err


def test_a_flag_that_is_missing_is_named(cli):
    code, _, err = cli("compress", "--verbosity=0", "--epochs=3")
    assert code == 2
    assert "required: --dataset" in err


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("fresh.h5", b"\x89HDF\r\n\x1a\n rest", "an HDF5 file"),
        ("model.tflite", b"\x1c\0\0\0TFL3 rest", "a .tflite file"),
    ],
)
def test_a_file_of_another_format_is_told(cli, tmp_path, name, content, what):
    path = tmp_path / name
    path.write_bytes(content)
    code, _, err = cli("shrink", path, tmp_path / "out.keras")
    assert code == 2
    assert f"'{path}' is {what}" in err
    assert f"model.save('{path.stem}.keras')" in err


def test_a_lite_model_of_another_shape_is_quoted_once(cli, tmp_path, model_file, data_file):
    lite = tmp_path / "model.tflite"
    code, _, err = cli("convert", model_file, lite, "--dtype=float32")
    assert code == 0, err
    x, y = np.zeros((8, 5), "float32"), np.zeros(8, int)
    np.savez(tmp_path / "other.npz", x_train=x, y_train=y, x_val=x, y_val=y)
    code, _, err = cli("compare", model_file, lite, f"--dataset={tmp_path / 'other.npz'}")
    assert code == 2
    assert f"model '{lite}' takes (6, 6, 1)" in err


def test_shrink_by_a_plan_does_not_print_what_tensorflow_says(tmp_path, model_file, monkeypatch):
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    (tmp_path / "plan.json").write_text("{}")
    command = (
        f"from sft_keras.cli import main; main.run(['sft-keras', 'shrink', {str(model_file)!r}"
    )
    command += f", {str(tmp_path / 'out.keras')!r}, '--plan={tmp_path / 'plan.json'}'])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("sft-keras: ")
