"""The script for boards, with neither TensorFlow, Keras nor sft_keras to import."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from sft_keras import convert
from sft_keras.tflite import runtimes

SCRIPT = Path(__file__).parents[2] / "examples" / "raspberry_pi.py"
ALONE = """
import sys
for name in ("tensorflow", "keras", "tf_keras", "sft_keras", *sys.argv.pop(1).split(",")):
    sys.modules[name] = None
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("board")
    x = np.random.default_rng(0).normal(size=(12, 6, 6, 1)).astype("float32")
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)]
    )
    lite = convert(model, x)
    lite.save(folder / "model.tflite")
    np.save(folder / "samples.npy", x)
    (folder / "labels.txt").write_text("a\nb\nc\n")
    (found,) = runtimes.run("litert", lite.content, [lite.quantize_input(x)])
    np.save(folder / "best.npy", found.argmax(-1))
    return folder


def run(folder, *arguments, without="ai_edge_litert", model="model.tflite"):
    command = [sys.executable, "-c", ALONE, without, SCRIPT, folder / model, *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("without", ["ai_edge_litert", "tflite_runtime"])
def test_it_prints_the_likeliest_labels(folder, without):
    runtime = {"ai_edge_litert": "tflite_runtime", "tflite_runtime": "ai_edge_litert"}[without]
    pytest.importorskip(runtime)
    labels = f"--labels={folder / 'labels.txt'}"
    done = run(folder, folder / "samples.npy", labels, "--top=1", without=without)
    assert done.returncode == 0, done.stderr
    *lines, last = done.stdout.splitlines()
    expected = ["abc"[i] for i in np.load(folder / "best.npy")]
    assert [line.split()[0] for line in lines] == expected
    assert re.fullmatch(r"median of 12 runs: \d+\.\d+ ms", last)


def test_samples_and_labels_must_fit(folder, tmp_path):
    np.save(tmp_path / "wide.npy", np.zeros((2, 7, 7, 1)))
    done = run(folder, tmp_path / "wide.npy", without="")
    assert done.returncode == 1
    assert "has shape (2, 7, 7, 1); the model takes (n, *(6, 6, 1))" in done.stderr
    (tmp_path / "labels.txt").write_text("a\n")
    done = run(folder, folder / "samples.npy", f"--labels={tmp_path / 'labels.txt'}", without="")
    assert "has 1 labels, the model 3 outputs" in done.stderr
