import dataclasses
import json

import numpy as np
import pytest
import tflite
from tflite_mutations import tensor_of

from sft_keras.errors import DataError, GateError, UnsupportedError
from sft_keras.tflite import runtimes, verification, verify

NAMES = [runtime.name for runtime in runtimes.RUNTIMES]


@pytest.fixture(scope="module")
def verified(qat_lite, samples):
    return verify(qat_lite, samples)


def test_every_runtime_has_a_row(verified):
    assert [row.runtime for row in verified.rows] == NAMES
    for row in verified.rows:
        if runtimes.named(row.runtime).available():
            assert row.status == "runs"
            assert row.agreement > 0.9
        else:
            assert "pip install" in row.status


def test_tflite_micro_matches_the_reference(verified):
    if verified["tflm"].status != "runs" or verified.reference != "tflite-runtime-ref":
        pytest.skip("tflite-micro or tflite-runtime is not installed")
    assert verified.tflm_matches_reference is True
    assert verified.conv_net
    verified.require_match()
    assert verified["tflm"].largest_difference == 0
    assert verified["tflm"].agreement == 1


def test_accuracy_is_that_of_the_quantized_model(verified, qat_model, samples):
    x, y = samples
    keras_accuracy = np.mean(qat_model.predict(x, verbose=0).argmax(axis=-1) == y)
    assert abs(verified["litert"].accuracy - keras_accuracy) <= 2 / len(x)


def test_one_hot_labels_and_a_limit(verified, qat_lite, samples, only_litert):
    x, y = samples
    row = verify(qat_lite, (x, np.eye(3)[y]))["litert"]
    assert row.accuracy == verified["litert"].accuracy
    assert verify(qat_lite, (x, y), limit=10).samples == 10


def test_labels_that_are_no_classes_give_no_accuracy(qat_lite, samples, only_litert):
    x, y = samples
    for labels in (y + 0.5, np.zeros((len(x), 2))):
        assert verify(qat_lite, (x, labels))["litert"].accuracy is None
    assert verify(qat_lite, x)["litert"].accuracy is None


def test_of_single_numbers_no_argmax_is_compared():
    numbers = np.array([1, 5, 3], "int8")
    row = verification._row("litert", [numbers], [numbers], None)
    assert (row.differing, row.agreement) == (0, None)


def test_it_prints_as_a_table_and_goes_to_json(verified):
    lines = str(verified).splitlines()
    assert len(lines) == len(NAMES) + 2
    assert lines[0].split()[:3] == ["runtime", "runs", "accuracy"]
    assert lines[-1].startswith("64 samples; compared with")
    assert json.loads(json.dumps(verified.to_dict()))["samples"] == 64


@pytest.fixture
def only_litert(monkeypatch):
    kept = tuple(r for r in runtimes.RUNTIMES if r.name == "litert")
    monkeypatch.setattr(runtimes, "RUNTIMES", kept)


def test_without_other_runtimes_litert_is_the_reference(qat_lite, samples, only_litert):
    verified = verify(qat_lite, samples)
    assert verified.reference == "litert"
    assert verified.tflm_matches_reference is None


def test_a_runtime_that_is_not_installed_is_a_row(qat_lite, samples, monkeypatch):
    ghosts = [dataclasses.replace(r, package="no_such_package") for r in runtimes.RUNTIMES[1:]]
    monkeypatch.setattr(runtimes, "RUNTIMES", (runtimes.RUNTIMES[0], *ghosts))
    verified = verify(qat_lite, samples, limit=4)
    assert verified["tflm"].status == 'not installed (pip install "sft-keras[runtimes]")'
    assert verified["tflm"].accuracy is None


def test_a_runtime_that_crashes_is_a_row(aborting, samples):
    if not runtimes.named("tflm").available():
        pytest.skip("tflite-micro is not installed")
    verified = verify(aborting, samples, limit=4)
    assert verified["tflm"].status == "crashed with SIGABRT"
    assert verified["litert"].status == "runs"
    assert verified.tflm_matches_reference is None
    assert "crashed with SIGABRT" in str(verified)


def test_where_reference_kernels_are_wrong_none_is_the_reference(summing, samples):
    _, lite = summing
    verified = verify(lite, samples, limit=8)
    assert verified.reference == "litert"
    assert verified.broken == {"SUM": ("litert-ref", "tflite-runtime-ref")}
    assert "SUM is computed wrongly by litert-ref and tflite-runtime-ref" in str(verified)
    assert json.loads(json.dumps(verified.to_dict()))["broken"]["SUM"] == [*verified.broken["SUM"]]
    assert verified["litert-ref"].largest_difference > 50
    if verified["tflm"].runs:
        assert verified["tflm"].largest_difference <= 1


@pytest.mark.parametrize("factor", [1, 255])
def test_data_in_another_unit_is_noticed(qat_lite, samples, factor, only_litert):
    verified = verify(qat_lite, samples[0] * factor, limit=8)
    (clipped,) = verified.clipped
    assert (clipped.share > 0.5) == (factor > 1)
    assert ("of the values for input 'image' lie outside" in str(verified)) == (factor > 1)
    assert json.loads(json.dumps(verified.to_dict()))["clipped"][0]["name"] == "image"


def test_a_mismatch_is_noticed():
    rows = [
        verification._row(
            name, [np.array([[1, last]], "int8")], [np.array([[1, 127]], "int8")], None
        )
        for name, last in (("tflite-runtime-ref", 127), ("tflm", -128))
    ]
    verified = verification.Verification(tuple(rows), 1, "tflite-runtime-ref")
    assert verified.tflm_matches_reference is False
    assert verified["tflm"].largest_difference == 255  # does not wrap around in int8
    assert verified["tflm"].differing == 0.5
    assert verified["tflm"].agreement == 0
    verified.require_match()  # of other networks nothing is promised
    with pytest.raises(GateError, match="differs from tflite-runtime-ref by up to 255 int8 steps"):
        dataclasses.replace(verified, conv_net=True).require_match()


def test_bad_data_and_dynamic_files_are_refused(qat_lite, mutate, samples):
    with pytest.raises(DataError, match="'image'"):
        verify(qat_lite, np.zeros((4, 9, 9, 1)))

    def widen(model: tflite.Model):
        tensor = tensor_of(model, 0, "Inputs", 0)
        signature = tensor.ShapeSignatureAsNumpy()
        (signature if tensor.ShapeSignatureLength() else tensor.ShapeAsNumpy())[0] = -1

    with pytest.raises(UnsupportedError, match="'image' of the model has shape"):
        verify(mutate(widen), samples)
