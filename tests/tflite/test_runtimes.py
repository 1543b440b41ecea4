import numpy as np
import pytest

from sft_keras.errors import MissingExtraError, UnsupportedError
from sft_keras.tflite import runtimes
from sft_keras.tflite.child import ChildError

NAMES = [runtime.name for runtime in runtimes.RUNTIMES]


def need(name):
    """Skips where a runtime has no wheel for this Python."""
    if not runtimes.named(name).available():
        pytest.skip(f"{name} is not installed")


@pytest.fixture(scope="module")
def steps(qat_lite, samples):
    return qat_lite.quantize_input(samples[0])


@pytest.mark.parametrize("name", NAMES)
def test_every_runtime_runs_the_file(name, qat_lite, steps):
    need(name)
    (scores,) = runtimes.run(name, qat_lite.content, [steps])
    assert scores.shape == (64, 3)
    assert scores.dtype == np.int8
    assert len(np.unique(scores)) > 3  # answers depend on the inputs
    assert np.abs(qat_lite.dequantize_output(scores).sum(axis=1) - 1).max() < 0.02  # softmax


def test_tflite_micro_equals_the_reference_kernels(qat_lite, steps):
    need("tflm")
    need("tflite-runtime-ref")
    micro, reference = (
        runtimes.run(name, qat_lite.content, [steps])[0] for name in ("tflm", "tflite-runtime-ref")
    )
    assert np.array_equal(micro, reference)


def test_quantized_keras_model_and_file_agree(qat_model, qat_lite, samples, steps):
    (scores,) = runtimes.run("litert", qat_lite.content, [steps])
    off = qat_lite.dequantize_output(scores) - qat_model.predict(samples[0], verbose=0)
    assert np.abs(off).max() < 0.05


@pytest.mark.parametrize("name", ["tflm", "litert-ref"])
def test_a_runtime_that_aborts_is_survived(name, aborting, steps):
    need(name)
    with pytest.raises(ChildError, match="crashed with SIGABRT"):
        runtimes.run(name, aborting.content, [steps[:1]])


def test_a_runtime_that_refuses_says_why(qat_lite, steps):
    with pytest.raises(ChildError, match=r"exit code 1: .*ValueError"):
        runtimes.run("litert", qat_lite.content[:1000], [steps[:1]])


def test_a_missing_runtime_tells_how_to_get_it(qat_lite, steps, monkeypatch):
    monkeypatch.setattr(runtimes.Runtime, "available", lambda self: False)
    with pytest.raises(MissingExtraError, match=r'pip install "sft-keras\[runtimes\]"'):
        runtimes.run("tflm", qat_lite.content, [steps])


def test_an_unknown_runtime_is_refused(qat_lite, steps):
    with pytest.raises(UnsupportedError, match="litert, litert-ref"):
        runtimes.run("abacus", qat_lite.content, [steps])
