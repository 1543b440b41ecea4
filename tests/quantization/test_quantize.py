import keras
import numpy as np
import pytest
import tf_keras
from keras import layers

import sft_keras
from sft_keras.errors import GateError, UnsupportedError
from sft_keras.quantization import copy_back, int8, problems, quantize, to_tf_keras
from sft_keras.quantization.passes import PASSES
from sft_keras.tflite import convert, runtimes


def conv_norm_relu(x, filters, size=3, **options):
    x = layers.Conv2D(filters, size, padding="same", use_bias=False, **options)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def plain(x):
    return layers.GlobalAveragePooling2D()(conv_norm_relu(conv_norm_relu(x, 16), 32, strides=2))


def residual(x):
    x = conv_norm_relu(x, 16, strides=2)
    y = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(16, 3, padding="same")(x))
    return layers.Flatten()(layers.ReLU()(layers.Add()([x, y])))


def depthwise_separable(x):
    x = conv_norm_relu(x, 24, strides=2)
    for _ in range(2):
        x = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        x = conv_norm_relu(x, 24, 1)
    return layers.Flatten()(layers.Dropout(0.1)(x))


def dense_with_norm(x):
    x = layers.Dense(48)(layers.Flatten()(x))
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def branches(x):
    x = conv_norm_relu(x, 12)
    x = layers.Concatenate()([conv_norm_relu(x, 8, 1), conv_norm_relu(x, 8)])
    return layers.Flatten()(layers.MaxPooling2D()(x))


def norm_after_activation(x):
    x = layers.Rescaling(2.0, offset=-1.0)(x)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    x = layers.MaxPooling2D()(layers.BatchNormalization(momentum=0.9)(x))
    return layers.Flatten()(layers.Conv2D(16, 3, activation="relu6")(x))


def gated(x):
    x = conv_norm_relu(x, 16, strides=2)
    gate = layers.Dense(16, activation="sigmoid")(layers.GlobalAveragePooling2D()(x))
    x = x * layers.Reshape((1, 1, 16))(gate)
    return layers.Flatten()(layers.Average()([x, conv_norm_relu(x, 16), conv_norm_relu(x, 16, 1)]))


def encoder_decoder(x):
    x = conv_norm_relu(x, 8)
    y = conv_norm_relu(x, 16, strides=2)
    y = layers.Conv2DTranspose(8, 3, strides=2, padding="same")(y)
    y = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(y))
    return layers.Flatten()(layers.Concatenate()([x, y]))


def sequence(x):
    x = layers.Conv1D(24, 3, padding="causal")(layers.Reshape((8, 8))(x))
    x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
    return layers.Flatten()(layers.SeparableConv1D(24, 3, activation="relu")(x))


TRAINED = [plain, residual, depthwise_separable, dense_with_norm, branches]
ODD = [norm_after_activation, gated, encoder_decoder, sequence]


@pytest.mark.parametrize("network", TRAINED, ids=lambda f: f.__name__)
def test_three_epochs_keep_the_accuracy_in_an_int8_file(network, digits, to_file):
    keras.utils.set_random_seed(0)
    train, (images, labels) = digits
    x = keras.Input((8, 8, 1))
    model = keras.Model(x, layers.Dense(10, activation="softmax")(network(x)))
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    model.fit(*train, epochs=6, batch_size=64, verbose=0)
    model.optimizer.learning_rate = 1e-3
    qat = quantize(model)
    qat.fit(*train, epochs=3, batch_size=64, verbose=0)
    before, after = (m.evaluate(images, labels, verbose=0)[1] for m in (model, qat))
    assert before > 0.85
    assert after >= before - 0.01
    file = to_file(qat)
    assert file.floats == []
    predicted = [np.argmax(file(image[None])[0]) for image in images[:100]]
    assert np.mean(predicted == np.argmax(qat.predict(images[:100], verbose=0), -1)) >= 0.98


@pytest.mark.parametrize("network", ODD, ids=lambda f: f.__name__)
def test_odd_networks_are_int8_and_compute_the_same(network, to_file, see_data, randomize):
    x = keras.Input((8, 8, 1))
    qat = quantize(randomize(keras.Model(x, layers.Dense(3)(network(x)))))
    data = see_data(qat)
    file = to_file(qat)
    assert file.floats == []
    outputs, step = file(*data)
    assert np.abs(outputs - qat(data, training=False)).max() <= 8 * step


def norm_after(layer, shape=(8, 8, 3)):
    x = tf_keras.Input(shape)
    norm = tf_keras.layers.BatchNormalization(gamma_initializer="uniform")
    return tf_keras.Model(x, norm(layer(x)))


BREAKING = {
    "dense": lambda: norm_after(tf_keras.layers.Dense(4), (6,)),
    "dilated": lambda: norm_after(tf_keras.layers.Conv2D(4, 3, dilation_rate=2)),
    "transposed": lambda: norm_after(tf_keras.layers.Conv2DTranspose(4, 3, strides=2)),
    "separable": lambda: norm_after(tf_keras.layers.SeparableConv2D(4, 3)),
    "pooled": lambda: norm_after(tf_keras.layers.MaxPooling2D()),
}


@pytest.mark.parametrize("case", BREAKING)
def test_what_breaks_without_the_passes_is_int8_with_them(case, to_file, see_data, randomize):
    model = randomize(BREAKING[case]())
    qat = quantize(model)
    see_data(qat)
    assert to_file(qat).floats == []
    assert int8.problems(to_tf_keras(model))
    unfolded = without_folding(model)
    assert [p.reason for p in int8.problems(unfolded)] == ["is a Affine that has no int8 form"]
    mutant = int8.apply(unfolded)
    see_data(mutant)
    with pytest.raises(GateError, match=r"MUL .*batch_normalization.* works on float32"):
        convert(mutant)


def without_folding(model):
    """The port of a model, rewritten by all passes but those that bring scales into kernels."""
    unfolded = to_tf_keras(model)
    for rewrite in PASSES:
        if rewrite.__name__ not in ("fold_backward", "affine_to_depthwise"):
            unfolded = rewrite(unfolded)
    return unfolded


@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2D", "Dense"])
def test_zero_gamma(kind, flavor, to_file, see_data, randomize):
    make = {"Conv2D": (3, 3), "DepthwiseConv2D": (3,), "Dense": (3,)}[kind]
    norm = flavor.layers.BatchNormalization()
    layer = getattr(flavor.layers, kind)(*make)
    model = randomize(flavor.Sequential([flavor.Input((8, 8, 3)), layer, norm]))
    norm.gamma.assign([0.0, 1.0, -1.0])
    norm.beta.assign([0.5, 1.0, 1.0])
    qat = quantize(model)
    data = see_data(qat)
    file = to_file(qat)
    assert file.floats == []
    assert file(*data)[0][..., 0] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("kind", ["Conv2D", "Dense"])
def test_filters_of_zeros_keep_their_bias(kind, to_file, see_data):
    make = {"Conv2D": (2, 3), "Dense": (2,)}[kind]
    layer = getattr(layers, kind)(*make, kernel_initializer="zeros", bias_initializer="ones")
    qat = quantize(keras.Sequential([keras.Input((8, 8, 1)), layer]))
    data = see_data(qat)
    file = to_file(qat)
    assert file.floats == []
    assert file(*data)[0] == pytest.approx(1, abs=0.05)


def test_sequential_and_functional_of_both_kerases(flavor, randomize):
    stack = [flavor.layers.Conv2D(2, 3, name="conv"), flavor.layers.Flatten(name="flat")]
    model = randomize(flavor.Sequential([flavor.Input((8, 8, 1), name="image"), *stack]))
    names = ["image", "image_int8", "conv", "flat"]
    for either in (model, flavor.Model(model.inputs, model.outputs)):
        qat = quantize(either)
        assert isinstance(qat, tf_keras.Model)
        assert [layer.name for layer in qat.layers] == names


def test_quantized_before_training_the_original_stays(flavor, randomize):
    model = randomize(flavor.Sequential([flavor.Input((4,)), flavor.layers.Dense(2)]))
    model.compile("adam", "mse")
    before = model.get_weights()
    qat = quantize(model)
    qat.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


AUGMENTING = {
    "RandomBrightness": {"factor": 0.5, "value_range": (0, 1)},
    "RandomContrast": {"factor": 0.9},
    "RandomFlip": {},
    "RandomRotation": {"factor": 0.5},
    "RandomTranslation": {"height_factor": 0.5, "width_factor": 0.5},
    "RandomZoom": {"height_factor": 0.5},
}


@pytest.mark.parametrize("kind", AUGMENTING)
def test_augmentation_is_trained_with_and_gone_in_the_file(kind, flavor, to_file, randomize):
    augment = getattr(flavor.layers, kind)(**AUGMENTING[kind], seed=1)
    convolution = flavor.layers.Conv2D(2, 3)
    model = randomize(flavor.Sequential([flavor.Input((8, 8, 3)), augment, convolution]))
    data = np.random.default_rng(0).uniform(size=(8, 8, 8, 3)).astype("float32")
    qat = quantize(model)
    assert not np.allclose(qat(data, training=True), qat(data, training=False), atol=0.01)
    file = to_file(qat)
    assert file.floats == []
    outputs, step = file(data[:1])
    assert np.abs(outputs - qat(data[:1], training=False)).max() <= 2 * step


def test_what_a_pruned_and_shrunk_model_is_quantized_too(to_file, see_data, randomize):
    x = keras.Input((8, 8, 1))
    y = layers.BatchNormalization(name="norm")(layers.Conv2D(4, 3, name="conv")(x))
    model = randomize(keras.Model(x, layers.Dense(2)(layers.Flatten()(layers.ReLU()(y)))))
    kept = np.array([0.0, 1, 0, 1])
    for weight in (*model.get_layer("conv").weights, *model.get_layer("norm").weights[:2]):
        weight.assign(np.asarray(weight) * kept)
    qat = quantize(sft_keras.shrink(model))
    assert qat.get_layer("conv").layer.filters == 2
    see_data(qat)
    assert to_file(qat).floats == []


class Custom(layers.Layer):
    def call(self, x):
        return x


def test_all_problems_are_found_at_once():
    x = keras.Input((8, 8, 2))
    y = layers.Conv2D(2, 3, activation="elu", name="elu")(x)
    y = Custom(name="custom")(y)
    y = layers.BatchNormalization(axis=1, name="rows")(y)
    y = layers.LayerNormalization(name="layer_norm")(y)
    model = keras.Model(x, layers.Dense(2, name="fine")(y))
    model.compile(keras.optimizers.Lamb(), "mse")
    found = problems(model)
    names = {"compile(optimizer=...)", "custom", "elu", "rows", "layer_norm"}
    assert {problem.layer for problem in found} == names
    assert all(problem.reason and problem.way_out for problem in found)
    with pytest.raises(UnsupportedError) as e:
        quantize(model)
    assert str(e.value).count("\n") == len(found)
    assert all(f"'{name}'" in str(e.value) for name in names)


def test_an_input_of_any_size_is_a_problem(flavor):
    x = flavor.Input((None, None, 3), name="image")
    model = flavor.Model(x, flavor.layers.GlobalMaxPooling2D()(flavor.layers.Conv2D(2, 3)(x)))
    (problem,) = problems(model)
    assert problem.layer == "image"
    assert "dynamic shape ('batch', None, None, 3)" in problem.reason
    with pytest.raises(UnsupportedError, match=r"'image' is an Input .* fixed sizes"):
        quantize(model)


def test_a_transposed_convolution_with_dilation_is_a_problem():
    transposed = layers.Conv2DTranspose(2, 3, dilation_rate=2, name="up")
    model = keras.Sequential([keras.Input((8, 8, 3)), transposed])
    (problem,) = problems(model)
    assert problem.layer == "up"
    assert "with dilation_rate, which TensorFlow cannot compute on a CPU" in problem.reason


def test_a_lambda_for_an_activation_is_a_problem_by_its_name():
    dense = layers.Dense(2, activation=lambda x: x * 2, name="own")
    (problem,) = problems(keras.Sequential([keras.Input((4,)), dense]))
    assert (problem.layer, problem.reason[:25]) == ("own", "has activation '<lambda>'")


def test_a_model_without_problems():
    assert problems(keras.Sequential([keras.Input((4,)), layers.Dense(2)])) == []


class Subclassed(keras.Model):
    def call(self, x):
        return x


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (lambda: Subclassed(), "subclass of keras.Model"),
        (lambda: keras.Sequential([layers.Dense(2)]), "never built"),
        (lambda: "model.keras", "Expected a keras.Model"),
    ],
)
def test_models_that_cannot_be_read(model, match):
    with pytest.raises(UnsupportedError, match=match):
        quantize(model())
    with pytest.raises(UnsupportedError, match=match):
        problems(model())


def test_the_package_converts_what_quantize_returns(randomize):
    model = randomize(
        keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.BatchNormalization()])
    )
    model.compile("adam", "mse")
    qat = quantize(model)
    data = np.random.default_rng(0).normal(size=(16, 8, 8, 1))
    qat.fit(data, np.zeros((16, 6, 6, 2)), verbose=0)
    assert len(sft_keras.convert(qat).content) > 0


def test_a_quantized_model_that_saw_no_data_is_not_converted():
    net = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="head")], name="net")
    qat = quantize(net)
    with pytest.raises(UnsupportedError, match=r"of model 'net' has a range that saw no data.*fit"):
        sft_keras.convert(qat)
    qat.compile("sgd", "mse")
    qat.evaluate(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    with pytest.raises(UnsupportedError, match="saw no data"):
        sft_keras.convert(qat)


def small_net():
    image = keras.Input((8, 8, 1), name="image")
    x = layers.Rescaling(1 / 255, name="scaling")(image)
    x = layers.Conv2D(6, 3, activation="relu", name="conv")(x)
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(6, 3, name="conv_2")(x))
    return keras.Model(image, layers.Dense(3, name="head")(layers.Flatten()(x)))


@pytest.fixture
def bytes_in():
    return np.random.default_rng(0).uniform(20, 90, (32, 8, 8, 1)).astype("float32")


@pytest.mark.parametrize("trained", [True, False], ids=["QAT", "PTQ"])
def test_bytes_go_in_as_they_are(trained, bytes_in):
    """Though the data is dark, so that its own range is not that of bytes."""
    model = small_net()
    if trained:
        qat = quantize(model)
        qat(bytes_in, training=True)
        lite = sft_keras.convert(qat, input_dtype="uint8")
    else:
        lite = sft_keras.convert(model, bytes_in, input_dtype="uint8")
    (image,) = lite.inputs
    assert (image.dtype, image.scale, image.zero_point) == ("uint8", 1.0, 0)
    # What scales the pixels went into the kernel.
    assert [op.name for op in lite.file.operators][:2] == ["QUANTIZE", "CONV_2D"]


def test_a_kernel_that_scales_pixels_trains_like_any_other(bytes_in):
    model = small_net()
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    qat = quantize(model)
    before = copy_back(qat, model).get_weights()[0]
    qat.fit(bytes_in, np.ones((len(bytes_in), 3)), epochs=1, batch_size=len(bytes_in), verbose=0)
    after = copy_back(qat, model).get_weights()[0]
    assert 0 < np.abs(after - before).max() < 0.05 * np.std(before)


def test_recurrent_layers_are_trained_step_by_step():
    keras.utils.set_random_seed(0)
    x = keras.Input((5, 3))
    model = keras.Model(x, layers.Dense(2)(layers.GRU(4)(x)))
    model.compile("adam", "mse")
    data = np.random.default_rng(0).normal(size=(64, 5, 3)).astype("float32")
    target = data.sum((1, 2))[:, None] * np.ones((1, 2))
    qat = quantize(model)
    history = qat.fit(data, target, epochs=8, batch_size=8, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
    lite = sft_keras.convert(qat)
    (got,) = runtimes.run("litert", lite.content, [lite.quantize_input(data)])
    expected = np.asarray(qat(data))
    steps = np.abs(lite.dequantize_output(got) - expected) / lite.outputs[0].scale
    assert np.round(steps.max(), 3) <= 4


@pytest.mark.parametrize("batch_size", [1, 8, 32])
def test_outputs_of_a_regression_are_not_cut_off(batch_size):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16, "relu")])
    model.add(keras.layers.Dense(1))
    model.compile(keras.optimizers.Adam(1e-5), "mse")
    x = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
    y = model.predict(x, verbose=0)
    qat = quantize(model)
    qat.fit(x, y, batch_size=batch_size, epochs=2, verbose=0)
    assert qat.evaluate(x, y, verbose=0) < 2e-3 * np.var(y)
