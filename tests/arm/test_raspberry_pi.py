"""The example for boards, where it will run: on ARM64, with numpy and tflite-runtime alone."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from sft_keras import convert
from sft_keras.tflite import runtimes

pytestmark = pytest.mark.arm
EXAMPLE = Path(__file__).parents[2] / "examples" / "raspberry_pi.py"


def test_there_is_no_tensorflow(arm64_python):
    packages = "tensorflow", "keras", "tf_keras", "sft_keras", "ai_edge_litert"
    question = f"from importlib.util import find_spec as f; print([*map(f, {packages})])"
    assert arm64_python("-c", question).strip() == str([None] * len(packages))


def test_the_example_names_what_x86_does(arm64_python, tmp_path):
    keras.utils.set_random_seed(0)
    x = layers.Conv2D(8, 3, activation="relu")(image := keras.Input((8, 8, 1)))
    x = layers.Dense(4, activation="softmax")(layers.Flatten()(x))
    samples = np.random.default_rng(0).normal(size=(12, 8, 8, 1)).astype("float32")
    lite = convert(keras.Model(image, x), samples)
    lite.save(tmp_path / "model.tflite")
    np.save(tmp_path / "samples.npy", samples)
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    paths = [tmp_path / name for name in ("model.tflite", "samples.npy")]
    lines = arm64_python(EXAMPLE, *paths, f"--labels={tmp_path / 'labels.txt'}").splitlines()
    (scores,) = runtimes.run("tflite-runtime-ref", lite.content, [lite.quantize_input(samples)])
    best = lite.dequantize_output(scores).max(-1)
    assert len(lines) == len(samples) + 1
    for line, row, likeliest in zip(lines, scores, best, strict=False):
        label, score = line.split()[:2]
        assert score == f"{likeliest:.3f}"
        assert row["abcd".index(label)] == row.max()  # two may share it
    assert lines[-1].startswith(f"median of {len(samples)} runs")
