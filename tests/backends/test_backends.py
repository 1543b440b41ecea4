"""Pruning and shrinking on every backend of Keras that is installed: `make test-backends`."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.backends
BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}


def run(backend, name, folder):
    """What a function of `backend_process.py` gives on a backend."""
    if importlib.util.find_spec(BACKENDS[backend]) is None:
        pytest.skip(f"{backend} is not installed; make test-backends installs it")
    script = Path(__file__).with_name("backend_process.py")
    environment = {**os.environ, "KERAS_BACKEND": backend, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, str(script), name, str(folder)],
        capture_output=True,
        text=True,
        timeout=900,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def tensorflow_masks(tmp_path_factory):
    return run("tensorflow", "masks", tmp_path_factory.mktemp("masks"))


@pytest.fixture(scope="module", params=["jax", "torch"])
def other(request):
    return request.param


@pytest.fixture(scope="module", params=BACKENDS)
def fitted(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return folder, run(request.param, "fit", folder)


def test_masks_cut_what_they_should(tensorflow_masks):
    assert tensorflow_masks["difference"] < 1e-6
    assert tensorflow_masks["macs"][1] < tensorflow_masks["macs"][0] / 2
    assert len(tensorflow_masks["plans"]["l1"]) == 4
    assert tensorflow_masks["plans"]["l1"] != tensorflow_masks["plans"]["geometric_median"]


def test_same_weights_give_the_same_masks_and_costs(other, tensorflow_masks, tmp_path):
    found = run(other, "masks", tmp_path)
    assert found["plans"] == tensorflow_masks["plans"]
    assert found["macs"] == tensorflow_masks["macs"]
    assert found["difference"] < 1e-6


def test_phases_act_inside_the_compiled_step(fitted):
    _, found = fitted
    assert found["phases"] == [0, 1, 0, 2, 2, 2]
    with_l1, without = found["losses"], found["losses_without_l1"]
    assert with_l1[0] > without[0] + 0.05  # the penalty is part of the loss
    assert abs(with_l1[1] - without[1]) < 0.05  # and of that of no other phase
    assert found["pruned"] == 14
    assert all(found["masked_is_zero"])


def test_validation_is_what_the_shrunk_model_gives(fitted):
    _, found = fitted
    assert found["val_loss"] == pytest.approx(found["small_loss"], abs=1e-5)


def test_a_restart_goes_on_where_it_was(fitted):
    _, found = fitted
    assert found["resumed_mask"]
    assert found["resumed_difference"] < 1e-6


def test_what_needs_tensorflow_says_how_to_go_on(other, tmp_path):
    sentences = run(other, "refusals", tmp_path)["sentences"]
    assert len(sentences) == 4
    assert all(f"Keras runs on {other} in this process" in text for text in sentences)
    assert all("KERAS_BACKEND=tensorflow" in text for text in sentences)


def test_models_of_another_backend_become_int8_files(fitted):
    folder, _ = fitted
    found = run("tensorflow", "int8", folder)
    assert found["optimizer"] == "Adam"
    for way in ("after training", "aware"):
        assert found[way]["dtypes"] == ["int8", "int8"]
        assert found[way]["agrees"] > 0.85


def test_jax_on_two_devices(tmp_path):
    found = run("jax", "devices", tmp_path)
    assert found["devices"] == 2
    assert found["same_mask"]
    assert all(found["masked_is_zero"])
    assert found["difference"] < 1e-3
