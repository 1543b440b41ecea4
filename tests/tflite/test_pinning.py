"""What is joined keeps its own range for those who read it besides."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from sft_keras.tflite import convert, runtimes

pytestmark = pytest.mark.usefixtures("all_in_process")


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(64, 6)).astype("float32")


def dense(units, largest):
    """A layer whose outputs are about as large as `largest`."""
    return layers.Dense(units, kernel_initializer=keras.initializers.RandomNormal(0, largest / 6))


def hidden(inputs):
    return layers.Dense(4, activation="relu")(inputs)


def concatenated(*tensors):
    return layers.Concatenate()(list(tensors))


def names(lite):
    return [operator.name for operator in lite.file.operators]


def errors(lite, model, x, runtime):
    """The error of each output, in standard deviations of its numbers."""
    found = runtimes.run(runtime, lite.content, [lite.quantize_input(x)])
    expected = keras.tree.flatten(model.predict(x, verbose=0))
    return [
        np.sqrt(np.mean((output.dequantize(numbers) - wanted) ** 2)) / np.std(wanted)
        for output, numbers, wanted in zip(lite.outputs, found, expected, strict=True)
    ]


def reshaped(small, large):
    return layers.Concatenate(axis=2)([layers.Reshape((2, -1))(x) for x in (small, large)])


def nested(small, large):
    return concatenated(concatenated(small, dense(2, 0.2)(large)), large)


def split(small, large):
    first, second = ops.split(small, 2, axis=1)
    return concatenated(first, large), layers.Dense(2)(second)


JOINED = {
    "concatenated": concatenated,
    "stacked": lambda small, large: ops.stack([small, large], axis=1),
    "twice": lambda small, large: concatenated(small, large, small),
    "reshaped": reshaped,
    "nested": nested,
    "split": split,
    "selected": lambda small, large: ops.where(np.arange(4) < 2, small, large),
    "padded": lambda small, large: ops.pad(small, ((0, 0), (1, 1)), constant_values=300.0),
}
"""Ways to join a small tensor, which a Dense reads too, to one a hundred times as large."""


@pytest.fixture(scope="module")
def joined(x):
    """A model that joins in all these ways, its input too, and its file."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    outputs = [concatenated(inputs, dense(4, 300.0)(inputs))]
    for join in JOINED.values():
        small = hidden(inputs)
        outputs += [join(small, dense(4, 300.0)(inputs)), layers.Dense(3)(small)]
    fixed = layers.Activation("sigmoid")(hidden(inputs))
    outputs += [concatenated(fixed, dense(4, 300.0)(inputs)), layers.Dense(3)(fixed)]
    model = keras.Model(inputs, keras.tree.flatten(outputs))
    return model, convert(model, x)


@pytest.mark.parametrize("runtime", ["litert", "litert-ref", "tflm"])
def test_what_is_joined_keeps_its_range_for_others(joined, x, runtime):
    model, lite = joined
    assert max(errors(lite, model, x, runtime)) < 0.03


def test_only_what_is_read_besides_is_brought_to_the_range_of_what_it_is_joined_to(joined):
    _, lite = joined
    assert names(lite).count("QUANTIZE") == len(JOINED) + 2  # the input and what is fixed


def test_an_output_that_is_joined_keeps_its_range(x):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    small = layers.Dense(4, name="small")(inputs)
    model = keras.Model(inputs, [concatenated(small, dense(3, 300.0)(inputs)), small])
    lite = convert(model, x)
    assert [output.name for output in lite.outputs][1] == "small"
    assert max(errors(lite, model, x, "tflm")) < 0.03


def alike():
    inputs = keras.Input((6,))
    branch = layers.Dense(6, kernel_initializer="identity")(inputs)
    return keras.Model(inputs, [concatenated(inputs, branch), layers.Dense(3)(inputs)])


def read_once():
    inputs = keras.Input((6,))
    small = hidden(inputs)
    return keras.Model(inputs, concatenated(small, dense(3, 300.0)(inputs), small))


@pytest.mark.parametrize("build", [alike, read_once])
def test_nothing_is_added_where_no_reader_needs_another_range(x, build):
    keras.utils.set_random_seed(0)
    lite = convert(build(), x)
    assert "QUANTIZE" not in names(lite)


def test_bytes_as_inputs_keep_their_range():
    keras.utils.set_random_seed(0)
    pixels = keras.Input((4,), name="pixels")
    scaled = layers.Rescaling(1 / 255)(pixels)
    large = dense(4, 300.0)(scaled)
    model = keras.Model(pixels, [concatenated(scaled, large), layers.Dense(3)(scaled)])
    x = np.random.default_rng(0).integers(0, 256, (64, 4)).astype("float32")
    lite = convert(model, x, input_dtype="uint8")
    assert lite.inputs[0].scale == pytest.approx(1, rel=0.01)
    assert max(errors(lite, model, x, "tflm")) < 0.03
