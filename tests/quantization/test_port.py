import keras
import numpy as np
import pytest
import tf_keras
from keras import layers, ops

from sft_keras import flavors
from sft_keras.errors import UnsupportedError
from sft_keras.quantization import to_tf_keras
from sft_keras.shrinking import proof


def same(model, port):
    inputs = proof.random_inputs(model, seed=7)
    return proof.relative_difference(proof.outputs(model, inputs), proof.outputs(port, inputs))


def on_images(*stack, shape=(8, 8, 3)):
    return keras.Sequential([keras.Input(shape), *stack])


LAYERS = {
    "conv": lambda: layers.Conv2D(4, 3, strides=2, padding="same", activation="relu"),
    "dilated": lambda: layers.Conv2D(4, 3, dilation_rate=2),
    "grouped": lambda: layers.Conv2D(6, 3, groups=3),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
    "separable": lambda: layers.SeparableConv2D(4, 3, activation="swish"),
    "transposed": lambda: layers.Conv2DTranspose(4, 3, strides=2, padding="same"),
    "dense": lambda: layers.Dense(5, activation="softmax"),
    "batch norm": lambda: layers.BatchNormalization(epsilon=0.1),
    "batch norm, no scale": lambda: layers.BatchNormalization(scale=False, center=False),
    "leaky": lambda: layers.LeakyReLU(negative_slope=0.2),
    "relu6": lambda: layers.ReLU(6.0),
    "activation": lambda: layers.Activation("leaky_relu"),
    "average pooling": lambda: layers.AveragePooling2D(2, padding="same"),
    "global pooling": lambda: layers.GlobalAveragePooling2D(keepdims=True),
    "padding": lambda: layers.ZeroPadding2D(((1, 0), (2, 3))),
    "cropping": lambda: layers.Cropping2D(1),
    "up sampling": lambda: layers.UpSampling2D(2, interpolation="bilinear"),
    "reshape": lambda: layers.Reshape((-1, 6)),
    "permute": lambda: layers.Permute((2, 3, 1)),
    "dropout": lambda: layers.Dropout(0.5, seed=1),
    "rescaling": lambda: layers.Rescaling([1.0, 2.0, 3.0], offset=-1.0),
    "normalization": lambda: layers.Normalization(mean=[1.0, 2, 3], variance=[4.0, 5, 6]),
    "layer norm": lambda: layers.LayerNormalization(),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_layer_keeps_its_outputs_and_name(make, randomize):
    model = randomize(on_images(make()))
    port = to_tf_keras(model)
    assert flavors.is_tf_keras(port)
    assert same(model, port) <= 1e-5
    assert port.layers[1].name == model.layers[0].name


def test_adapted_normalization():
    normalization = layers.Normalization()
    normalization.adapt(np.random.default_rng(0).normal(3, 2, (64, 3)))
    model = keras.Sequential([keras.Input((3,)), normalization])
    assert same(model, to_tf_keras(model)) <= 1e-5


def test_regularizers_stay_but_those_of_pruning(randomize):
    from sft_keras.regularizers import FilterL1

    model = randomize(
        on_images(
            layers.Conv2D(2, 3, kernel_regularizer=keras.regularizers.L2(0.3)),
            layers.Conv2D(2, 3, kernel_regularizer=FilterL1(0.1)),
        )
    )
    port = to_tf_keras(model)
    assert port.layers[1].kernel_regularizer.l2 == pytest.approx(0.3)
    assert port.layers[2].kernel_regularizer is None


def test_operators_become_layers(flavor):
    x = flavor.Input((4, 4, 2))
    y = flavor.layers.Conv2D(2, 3, padding="same")(x)
    out = 2.0 - ((x + y) * y - x * 3.0) / 4.0 + 1.0
    model = flavor.Model(x, out)
    port = to_tf_keras(model)
    kinds = [type(layer).__name__ for layer in port.layers]
    assert sorted(kinds[2:]) == ["Add", "Multiply", *["Rescaling"] * 4, "Subtract"]
    assert same(model, port) <= 1e-5


def test_activation_operators():
    x = keras.Input((4,))
    model = keras.Model(x, ops.relu6(ops.sigmoid(keras.activations.relu(x))))
    assert same(model, to_tf_keras(model)) <= 1e-5


def test_nested_models_are_flattened_and_stay_shared(flavor, randomize):
    inner = flavor.Sequential([flavor.Input((6, 6, 2)), flavor.layers.Conv2D(2, 1, name="conv")])
    x = flavor.Input((6, 6, 2))
    y = inner(inner(flavor.layers.Conv2D(2, 3, padding="same", name="conv")(x)))
    model = randomize(flavor.Model(x, y))
    port = to_tf_keras(model)
    assert [layer.name for layer in port.layers[1:]] == ["conv", f"{inner.name}_conv"]
    assert same(model, port) <= 1e-5


def test_dictionaries_of_inputs_and_outputs_stay(randomize):
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    y = layers.Dense(2)(layers.Concatenate()([a, b]))
    model = randomize(keras.Model({"a": a, "b": b}, {"y": y, "same": a}))
    data = {"a": np.ones((1, 3)), "b": np.zeros((1, 3))}
    assert set(to_tf_keras(model)(data)) == {"y", "same"}


def test_integer_images_and_half_precision(randomize):
    x = keras.Input((4, 4, 1), dtype="uint8")
    y = layers.Rescaling(1 / 255)(x)
    y = layers.Conv2D(2, 3, dtype="mixed_float16")(y)
    port = to_tf_keras(randomize(keras.Model(x, y)))
    assert {layer.compute_dtype for layer in port.layers} == {"float32"}


def test_the_original_does_not_change(flavor, randomize):
    model = randomize(flavor.Sequential([flavor.Input((4,)), flavor.layers.Dense(2)]))
    before = model.get_weights()
    port = to_tf_keras(model)
    port.layers[1].kernel.assign_add(np.ones((4, 2)))
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


class Doubling(layers.Layer):
    def call(self, x):
        return 2 * x


def test_all_that_cannot_be_ported_is_named_at_once():
    x = keras.Input((8, 8, 2))
    y = Doubling(name="custom")(x)
    y = layers.Lambda(lambda t: t + 1, name="lambda")(y)
    y = layers.Conv2D(2, 3, name="fine")(y)
    y = layers.Activation("hard_sigmoid", name="sigmoid")(y)
    y = layers.RMSNormalization(name="rms")(y)
    model = keras.Model(x, 1 / ops.sort(y))
    with pytest.raises(UnsupportedError) as e:
        to_tf_keras(model)
    for name in ("custom", "lambda", "sigmoid", "rms", "sort", "divide"):
        assert f"'{name}" in str(e.value) or f" '{name}'" in str(e.value)
    assert "'fine'" not in str(e.value)


def test_nan_weights_are_refused_by_name():
    model = on_images(layers.Conv2D(2, 3, name="broken"))
    model.layers[0].bias.assign([np.nan, 0])
    with pytest.raises(UnsupportedError, match=r"'broken' has NaN or infinite weights"):
        to_tf_keras(model)


def test_channels_first_is_refused():
    model = keras.Sequential(
        [keras.Input((2, 6, 6)), layers.MaxPooling2D(data_format="channels_first", name="pool")]
    )
    with pytest.raises(UnsupportedError, match=r"'pool' is channels_first"):
        to_tf_keras(model)


def test_a_port_that_computes_something_else_is_refused(monkeypatch):
    model = on_images(layers.Conv2D(2, 3))
    monkeypatch.setattr(tf_keras.layers.Conv2D, "call", lambda self, x: x[:, 1:-1, 1:-1, :2])
    with pytest.raises(UnsupportedError, match="changed the outputs"):
        to_tf_keras(model)


@pytest.mark.parametrize("thing", ["text", layers.Dense(1)])
def test_what_is_no_model_is_refused(thing):
    with pytest.raises(UnsupportedError, match=r"Expected a keras.Model"):
        to_tf_keras(thing)
