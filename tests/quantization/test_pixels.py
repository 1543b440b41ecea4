"""Inputs that take a camera's bytes."""

import keras
import numpy as np
import pytest

from sft_keras.quantization.pixels import pinned, pixel_inputs


def model_of(library, *args, **kwargs):
    x = library.Input((4, 4, 1), name="image")
    return library.Model(x, library.layers.Rescaling(*args, **kwargs)(x))


BYTES = {"to 1": (1 / 255,), "to ±1": (1 / 127.5, -1), "by 256": (1 / 256,)}
OTHERS = {"features": (2.0,), "to 1 from 10": (0.1,), "by channel": ([0.1, 0.2, 0.3],)}


@pytest.mark.parametrize("arguments", BYTES.values(), ids=BYTES)
def test_an_input_that_is_scaled_from_bytes(flavor, arguments):
    assert pixel_inputs(model_of(flavor, *arguments)) == {"image"}


@pytest.mark.parametrize("arguments", OTHERS.values(), ids=OTHERS)
def test_other_scales_say_nothing_of_bytes(flavor, arguments):
    x = flavor.Input((4, 4, 3), name="image")
    model = flavor.Model(x, flavor.layers.Rescaling(*arguments)(x))
    assert pixel_inputs(model) == set()


def test_an_input_that_others_read_too_is_not_bytes():
    x = keras.Input((4, 4, 1))
    model = keras.Model(x, [keras.layers.Rescaling(1 / 255)(x), keras.layers.Conv2D(1, 1)(x)])
    assert pixel_inputs(model) == set()


def test_pinned_samples_span_all_bytes_and_are_copies():
    dark = np.full((3, 4, 4, 1), 7.0, "float32")
    both = pinned(dark)
    assert (both.min(), both.max()) == (0, 255)
    assert (both == 7).sum() == dark.size - 2
    assert (dark == 7).all()


@pytest.mark.parametrize("value", [-1.0, 256.0])
def test_what_is_beyond_bytes_is_left_alone(value):
    sample = np.full((2, 3), value)
    assert pinned(sample) is sample
