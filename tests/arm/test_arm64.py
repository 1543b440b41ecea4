"""int8 files on the ARM64 instruction set, under an emulator, against the same files on x86."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from sft_keras import convert
from sft_keras.tflite import runtimes

pytestmark = pytest.mark.arm
IMAGE, SEQUENCE = (12, 12, 3), (6, 4)


def convolutions(x):
    for filters in (8, 12):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
        x = layers.MaxPooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))
    return layers.GlobalAveragePooling2D()(x)


def separable(x):
    x = layers.ReLU(6.0)(layers.Conv2D(8, 3, strides=2, padding="same")(x))
    x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.ReLU(6.0)(layers.Conv2D(12, 1)(x))
    return layers.Flatten()(layers.AveragePooling2D(2)(x))


def residual(x):
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    for _ in range(2):
        y = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
        x = layers.ReLU()(layers.Add()([x, layers.Conv2D(8, 3, padding="same")(y)]))
    return layers.GlobalMaxPooling2D()(x)


def branches(x):
    y = layers.Conv2D(6, 3, dilation_rate=2, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D()(layers.Concatenate()([layers.Conv2D(6, 1)(x), y]))
    x = layers.Conv2DTranspose(6, 3, strides=2, padding="same")(x)
    return layers.GlobalAveragePooling2D()(layers.UpSampling2D()(x))


def gated(x):
    x = layers.Conv2D(8, 3, activation="silu")(x)
    y = layers.Conv2D(8, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    return layers.Flatten()(layers.Conv2D(4, 3, activation="tanh")(layers.Multiply()([x, y])))


def perceptron(x):
    return layers.Dense(16, activation="relu")(layers.Dense(32, activation="relu")(x))


def recurrent(x):
    return layers.GRU(5)(layers.LSTM(6, return_sequences=True)(x))


def attention(x):
    y = layers.MultiHeadAttention(2, 4)(x := layers.Dense(8)(x), x)
    return layers.GlobalAveragePooling1D()(layers.LayerNormalization()(layers.Add()([x, y])))


# A network's input shape, and by how many steps ARM64's default kernels may be off the reference
# kernels: their MEAN, FULLY_CONNECTED and BATCH_MATMUL round some values the other way.
NETWORKS = {
    convolutions: (IMAGE, 0),
    separable: (IMAGE, 0),
    residual: (IMAGE, 0),
    branches: (IMAGE, 0),
    gated: (IMAGE, 2),
    perceptron: ((20,), 2),
    recurrent: (SEQUENCE, 0),
    attention: (SEQUENCE, 1),
}
every_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda f: f.__name__)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, randomize, arm64_python):
    """What x86's reference kernels and ARM64's kernels of both kinds give, by network and kind."""
    folder = tmp_path_factory.mktemp("arm64")
    found = {}
    for network, (shape, _) in NETWORKS.items():
        name = network.__name__
        logits = layers.Dense(5)(network(inputs := keras.Input(shape)))
        model = randomize(keras.Model(inputs, [logits, layers.Softmax()(logits)]))
        samples = np.random.default_rng(0).normal(size=(50, *shape)).astype("float32")
        lite = convert(model, samples)
        steps = lite.quantize_input(samples)
        (folder / f"{name}.tflite").write_bytes(lite.content)
        np.save(folder / f"{name}.npy", steps)
        x86 = runtimes.run("tflite-runtime-ref", lite.content, [steps])
        found[f"{name} x86"] = np.concatenate(x86, axis=-1)
    arm64_python(Path(__file__).with_name("run_lite.py"), folder)
    return found | dict(np.load(folder / "outputs.npz"))


def off(outputs, network, kernels):
    """By how many steps ARM64 is off x86's reference kernels, at most."""
    expected, found = (outputs[f"{network.__name__} {x}"] for x in ("x86", kernels))
    assert expected.dtype == found.dtype == np.int8
    assert len(np.unique(expected)) > 50  # answers depend on the inputs
    return np.abs(found.astype(int) - expected).max()


def test_the_machine_is_arm64(outputs):
    assert outputs["machine"] == "aarch64"


@every_network
def test_reference_kernels_give_the_outputs_of_x86_bit_for_bit(network, outputs):
    assert off(outputs, network, "reference") == 0


@every_network
def test_default_kernels_do_so_too_or_are_a_step_or_two_off(network, outputs):
    assert off(outputs, network, "default") <= NETWORKS[network][1]
