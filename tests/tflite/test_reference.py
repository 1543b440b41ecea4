"""What is said to be computed wrongly is, and nothing else is, on the runtimes themselves."""

import numpy as np
import pytest
from dense_file import dense_file

import sft_keras
from sft_keras.tflite import runtimes
from sft_keras.tflite.reference import is_sound, wrong_runtimes

NAMES = [runtime.name for runtime in runtimes.RUNTIMES]
FORMS = {
    "sequence": {"shape": (1, 5, 8)},
    "no bias": {"shape": (1, 5, 8), "bias": False},
    "image": {"shape": (1, 2, 3, 8)},
    "vector": {"shape": (1, 8)},
    "flattened": {"shape": (1, 5, 8), "keep": False},
    "one scale": {"shape": (1, 5, 8), "scales": 1},
    "int16": {"shape": (1, 5, 8), "dtype": "int16"},
    "int16 no bias": {"shape": (1, 5, 8), "dtype": "int16", "bias": False},
}
WRONG = {
    **dict.fromkeys(("sequence", "no bias", "image", "int16 no bias"), ("tflite-runtime-ref",)),
    "int16": ("tflite-runtime", "tflite-runtime-ref"),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_dense_is_told_from_those_that_are_computed_rightly(form):
    lite, steps, expected = dense_file(**FORMS[form])
    said = wrong_runtimes(lite.file).get("FULLY_CONNECTED", ())
    assert said == WRONG.get(form, ())
    for name in NAMES:
        if runtimes.named(name).available():
            (found,) = runtimes.run(name, lite.content, [steps])
            off = np.abs(found.astype(float).reshape(expected.shape) - expected).max()
            assert (off > 10) == (name in said), (name, off)
            assert is_sound(name, lite.file) == (name not in said)


def test_a_dense_on_sequences_is_compared_with_sound_kernels():
    lite, steps, _ = dense_file((1, 5, 8))
    verified = sft_keras.verify(lite, lite.inputs[0].dequantize(steps))
    assert verified.reference == "litert-ref"
    assert verified.conv_net
    verified.require_match()
    if verified["tflite-runtime-ref"].runs:
        assert verified["tflite-runtime-ref"].largest_difference > 10
        assert "FULLY_CONNECTED is computed wrongly by tflite-runtime-ref" in str(verified)
    if verified["tflm"].runs:
        assert verified["tflm"].largest_difference <= 1


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_a_target_that_computes_it_wrongly_stops_it(dtype):
    lite, _, _ = dense_file((1, 5, 8), dtype=dtype)
    preflight = sft_keras.check(lite, "tflite-runtime-2.14")
    assert not preflight.runs
    assert "has a range for each output" in str(preflight)
    assert sft_keras.check(dense_file((1, 5, 8), scales=1)[0], "tflite-runtime-2.14").runs
