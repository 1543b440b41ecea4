"""The proof: what float32 rounds away passes in networks of any depth, a mistake does not."""

import numpy as np
import pytest
import tf_keras
from tf_keras import layers

from sft_keras.errors import UnsupportedError
from sft_keras.quantization.equality import MOST, require_equal
from sft_keras.shrinking import proof


def amplifying(depth=48):
    """A network that makes far more than 1e-5 of one rounding; its outputs are not constant."""
    tf_keras.backend.clear_session()
    rng = np.random.default_rng(0)
    x = y = tf_keras.Input((16,))
    for _ in range(depth):
        dense, norm = layers.Dense(16), layers.BatchNormalization()
        y = layers.Activation("relu")(norm(dense(y)))
        dense.set_weights([rng.normal(size=(16, 16)), rng.normal(size=16)])
        before = tf_keras.Model(x, dense.output)(rng.normal(size=(8, 16)).astype("float32"))
        moments = np.mean(before, 0), np.var(before, 0)
        norm.set_weights([np.full(16, 3.0), rng.normal(size=16), *moments])
    return tf_keras.Model(x, y)


def changed(model, change):
    copy = tf_keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        if isinstance(layer, layers.BatchNormalization):
            change(layer)
    return copy


def rounded_otherwise(norm):
    gamma = norm.gamma.numpy()
    norm.gamma.assign(np.nextafter(gamma, gamma + 1))


def of_another_epsilon(norm):
    norm.moving_variance.assign_add(np.full(16, 1e-3))


def difference(model, other):
    inputs = proof.random_inputs(model)
    return proof.relative_difference(proof.outputs(model, inputs), proof.outputs(other, inputs))


def test_rounding_passes_however_deep_the_network():
    model = amplifying()
    outputs = proof.outputs(model, proof.random_inputs(model))[0]
    assert outputs.std(0).max() > 0.1 * np.abs(outputs).max()
    other = changed(model, rounded_otherwise)
    assert difference(model, other) > proof.FLOAT32_TOLERANCE
    require_equal(model, other)


def test_a_mistake_is_refused_in_the_same_network():
    model = amplifying()
    with pytest.raises(UnsupportedError, match="Step 'fold' changed the outputs"):
        require_equal(model, changed(model, of_another_epsilon), "fold")


def chaotic_on_noise(factor=1.0, rounded=1.0, sure=False):
    """Of negative numbers it makes chaos; what is positive, such as pixels, it takes gently.

    With `sure`, a softmax makes zeros and ones of the chaos.
    """
    tf_keras.backend.clear_session()
    rng = np.random.default_rng(0)
    x = tf_keras.Input((16,))
    y = layers.ReLU()(layers.Rescaling(-1.0)(x))
    for _ in range(80):
        dense = layers.Dense(16, "tanh", use_bias=False)
        y = dense(y)
        dense.set_weights([rng.normal(size=(16, 16)) * rounded])
    gentle = layers.Dense(16)
    gentle_outputs = gentle(x)
    gentle.set_weights([rng.normal(size=(16, 16)) * factor / 255, np.zeros(16)])
    if sure:
        y = layers.Rescaling(1e9)(y)
    outputs = layers.Add()([gentle_outputs, y])
    if sure:
        outputs = layers.Softmax()(outputs)
    return tf_keras.Model(x, outputs)


@pytest.mark.parametrize("sure", [False, True])
def test_a_network_of_images_is_compared_on_what_images_are_made_of(sure):
    model = chaotic_on_noise(sure=sure)
    few = (1 + steps * np.finfo("float32").eps for steps in range(1, 9))
    others = (chaotic_on_noise(sure=sure, rounded=rounded) for rounded in few)
    other = next((other for other in others if difference(model, other) > MOST), model)
    assert difference(model, other) > MOST
    require_equal(model, other)


@pytest.mark.parametrize("sure", [False, True])
def test_a_mistake_in_a_network_of_images_is_refused(sure):
    with pytest.raises(UnsupportedError, match="changed the outputs"):
        require_equal(chaotic_on_noise(sure=sure), chaotic_on_noise(sure=sure, factor=1.001))


def test_a_model_that_is_another_when_made_from_its_config_is_refused(forgetful_layer):
    model, forgotten = (
        tf_keras.Sequential([tf_keras.Input((4,)), forgetful_layer(tf_keras, factor)])
        for factor in (1.001, 1.0)
    )
    with pytest.raises(UnsupportedError, match=r"'scaled' \(Scaled\).*get_config\(\) leaves"):
        require_equal(model, forgotten)
