import keras
import numpy as np
import pytest
from keras import layers

from sft_keras import flavors
from sft_keras.errors import UnsupportedError
from sft_keras.quantization import copy_back, load_model, quantize
from sft_keras.quantization.graph import like, rewrite
from sft_keras.quantization.tfmot import weights_inside
from sft_keras.shrinking import proof

IMAGE, SEQUENCE, VECTOR = (8, 8, 3), (8, 3), (6,)


def unquantized(qat):
    """The layers inside the wrappers, with the trained weights."""
    made = {}

    def call(wrapper, *args, **kwargs):
        fresh = made.setdefault(wrapper.name, like(wrapper.layer))
        outputs = fresh(*args, **kwargs)
        if fresh.weights:
            fresh.set_weights(weights_inside(wrapper, fresh))
        return outputs

    return rewrite(qat, call)


def train(qat, steps=2):
    """Moves all that can be trained, far enough to tell from what it was."""
    rng = np.random.default_rng(0)
    for variable in qat.trainable_variables:
        size = 0.2 * np.abs(variable.numpy()).max() + 0.1
        variable.assign_add(rng.normal(0, size, variable.shape))
    inputs = [rng.normal(size=(2, *x.shape[1:])).astype("float32") for x in qat.inputs]
    qat(inputs, training=True)


def difference(model, other):
    inputs = proof.random_inputs(model, seed=7)
    return proof.relative_difference(proof.outputs(model, inputs), proof.outputs(other, inputs))


def norm(x, **options):
    return layers.BatchNormalization(epsilon=0.01, **options)(x)


def relu(x):
    return layers.ReLU()(x)


CASES = {
    "conv": (IMAGE, lambda x: layers.Conv2D(4, 3, padding="same", activation="relu")(x)),
    "conv, norm": (IMAGE, lambda x: relu(norm(layers.Conv2D(4, 3, use_bias=False)(x)))),
    "conv with bias, norm at the end": (IMAGE, lambda x: norm(layers.Conv2D(4, 3)(x))),
    "norm, conv": (IMAGE, lambda x: layers.Conv2D(4, 3, use_bias=False)(norm(x))),
    "norm, conv, norm": (IMAGE, lambda x: relu(norm(layers.Conv2D(4, 3, groups=1)(norm(x))))),
    "norm alone": (IMAGE, lambda x: layers.Conv2D(4, 3)(relu(norm(x)))),
    "norm alone on vectors": (VECTOR, lambda x: layers.Dense(4)(relu(norm(x)))),
    "norm alone on sequences": (SEQUENCE, lambda x: layers.Conv1D(4, 3)(relu(norm(x)))),
    "no gamma, no beta": (
        IMAGE,
        lambda x: relu(norm(layers.Conv2D(4, 3)(x), scale=False, center=False)),
    ),
    "depthwise": (
        IMAGE,
        lambda x: norm(layers.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False)(norm(x))),
    ),
    "transposed": (IMAGE, lambda x: relu(norm(layers.Conv2DTranspose(4, 3, strides=2)(x)))),
    "separable": (
        IMAGE,
        lambda x: norm(layers.SeparableConv2D(4, 3, depth_multiplier=2, use_bias=False)(norm(x))),
    ),
    "separable, active": (IMAGE, lambda x: layers.SeparableConv2D(4, 3, activation="tanh")(x)),
    "dense": (VECTOR, lambda x: relu(norm(layers.Dense(4)(norm(x))))),
    "conv 1-D": (SEQUENCE, lambda x: relu(norm(layers.Conv1D(4, 3, padding="causal")(x)))),
    "separable 1-D": (SEQUENCE, lambda x: norm(layers.SeparableConv1D(4, 3)(norm(x)))),
    "depthwise 1-D": (SEQUENCE, lambda x: norm(layers.DepthwiseConv1D(3)(norm(x)))),
    "pixels": (IMAGE, lambda x: layers.Conv2D(4, 3)(layers.Rescaling(1 / 255, -1.0)(x))),
    "scaled before": (
        IMAGE,
        lambda x: layers.Conv2D(4, 3, use_bias=False)(layers.Rescaling(2.0, -1.0)(x)),
    ),
    "scaled behind": (IMAGE, lambda x: relu(layers.Conv2D(4, 3, use_bias=False)(x) * 2.0 - 1.0)),
    "normalized": (
        IMAGE,
        lambda x: layers.Conv2D(4, 3)(
            layers.Normalization(mean=[1.0, 2, 3], variance=[4.0, 5, 6])(x)
        ),
    ),
    "hard": (IMAGE, lambda x: layers.Conv2D(4, 3, activation="hard_silu")(x)),
    "residual": (
        IMAGE,
        lambda x: relu(layers.Add()([x, norm(layers.Conv2D(3, 3, padding="same")(x))])),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_copy_computes_what_the_trained_model_does_without_rounding(case, randomize):
    shape, network = CASES[case]
    keras.backend.clear_session()
    x = keras.Input(shape)
    model = randomize(keras.Model(x, network(x)))
    before = model.get_weights()
    qat = quantize(model)
    train(qat)
    copy = copy_back(qat, model)
    assert difference(copy, unquantized(qat)) <= 1e-5
    assert difference(copy, model) > 1e-2
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert [x.name for x in copy.layers] == [x.name for x in model.layers]


def test_nested_models_and_shared_layers(flavor, randomize):
    conv = flavor.layers.Conv2D(3, 1, name="conv")
    inner = flavor.Sequential([flavor.Input((6, 6, 3)), conv, flavor.layers.BatchNormalization()])
    x = flavor.Input((6, 6, 3))
    shared = flavor.layers.Conv2D(3, 3, padding="same", name="conv")
    model = randomize(flavor.Model(x, inner(shared(flavor.layers.ReLU()(shared(x))))))
    qat = quantize(model)
    train(qat)
    copy = copy_back(qat, model)
    assert flavors.library(copy) is flavor
    assert difference(copy, unquantized(qat)) <= 1e-5


def test_the_statistics_of_a_normalization_stay_those_of_its_input(randomize):
    x = keras.Input(IMAGE)
    y = layers.Conv2D(4, 3, name="conv")(layers.BatchNormalization()(x))
    y = layers.BatchNormalization(name="norm")(y)
    model = randomize(keras.Model(x, relu(y)))
    data = np.random.default_rng(0).normal(size=(2, *IMAGE)).astype("float32")
    normalized = []
    for network in (model, copy_back(quantize(model), model)):
        norm = network.get_layer("norm")
        read = keras.Model(network.input, network.get_layer("conv").output)(data)
        normalized.append((read - norm.moving_mean) / np.sqrt(norm.moving_variance))
    assert np.abs(normalized[0]) == pytest.approx(np.abs(normalized[1]), rel=1e-3, abs=1e-3)


def test_what_was_fitted_and_saved_comes_back(tmp_path, randomize):
    x = keras.Input((4,))
    model = randomize(keras.Model(x, layers.Dense(2)(relu(norm(layers.Dense(3)(x))))))
    model.compile("sgd", "mse")
    qat = quantize(model)
    qat.fit(np.ones((8, 4)), np.zeros((8, 2)), verbose=0)
    qat.save(tmp_path / "qat.keras")
    copy, again = (copy_back(q, model) for q in (qat, load_model(tmp_path / "qat.keras")))
    assert difference(copy, again) == 0
    assert difference(copy, unquantized(qat)) <= 1e-5


def test_an_untrained_model_comes_back_as_it_was(randomize):
    x = keras.Input(IMAGE)
    y = norm(layers.SeparableConv2D(4, 3)(norm(layers.Conv2D(4, 3)(x))))
    model = randomize(keras.Model(x, y))
    assert difference(copy_back(quantize(model), model), model) <= 1e-5


def test_another_model_is_refused(randomize):
    x = keras.Input((4,))
    model = keras.Model(x, layers.Dense(2, name="two")(x))
    other = keras.Model(x, layers.Dense(3, name="two")(x))
    with pytest.raises(UnsupportedError, match="Layer 'two' of quantize"):
        copy_back(quantize(other), model)


def test_a_rebuilt_layer_is_refused_by_name(randomize):
    x = keras.Input(SEQUENCE)
    model = randomize(keras.Model(x, layers.Dense(2)(layers.GRU(3, name="gru")(x))))
    with pytest.raises(UnsupportedError, match=r"'gru' \(GRU\) was rebuilt"):
        copy_back(quantize(model), model)


def test_a_scale_of_zero_is_refused_by_name(randomize):
    x = keras.Input(IMAGE)
    y = layers.Rescaling([0.0, 1.0, 2.0], name="muted")(layers.Conv2D(3, 3)(x))
    model = randomize(keras.Model(x, relu(y)))
    with pytest.raises(UnsupportedError, match="'muted' multiplies a channel by 0"):
        copy_back(quantize(model), model)


def test_a_normalization_without_parameters_that_cannot_hold_them_is_refused(randomize):
    x = keras.Input(IMAGE)
    y = layers.BatchNormalization(scale=False, name="norm")(x)
    model = randomize(keras.Model(x, relu(y)))
    qat = quantize(model)
    wrapper = qat.get_layer("norm")
    kernel = next(w for w in wrapper.weights if "kernel" in w.name)
    kernel.assign(-kernel)
    with pytest.raises(UnsupportedError, match="'norm' has no gamma"):
        copy_back(qat, model)
