"""Files whose layers compute in different dtypes."""

import dataclasses

import keras
import numpy as np
import pytest
import tf_keras

import sft_keras
from sft_keras.errors import ArgumentError, GateError, UnsupportedError
from sft_keras.tflite import convert, gate, runtimes, schema

pytestmark = pytest.mark.usefixtures("all_in_process")

LAYERS = keras.layers


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = LAYERS.Conv2D(8, 3, activation="relu", name="stem")(image)
    y = LAYERS.Conv2D(8, 3, padding="same", activation="relu", name="block_1")(x)
    y = LAYERS.Conv2D(8, 3, padding="same", name="block_2")(y)
    x = LAYERS.GlobalAveragePooling2D(name="pool")(LAYERS.Add(name="add")([x, y]))
    model = keras.Model(image, LAYERS.Dense(3, name="head")(x), name="net")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).normal(size=(40, 8, 8, 3)).astype("float32")


@pytest.fixture(scope="module")
def float_block(model, x):
    """A file with one layer in float."""
    return convert(model, x, layer_dtypes={"block_1": "float32"})


def outputs_of(lite, x, runtime="tflm"):
    (found,) = runtimes.run(runtime, lite.content, [lite.quantize_input(x)])
    return lite.dequantize_output(found)


def computing(lite, dtype):
    """Names of the operators that put out `dtype`, but for those that only convert to it."""
    return [
        operator.outputs[0].name
        for operator in lite.file.operators
        if operator.outputs[0].dtype == dtype and operator.name not in ("QUANTIZE", "DEQUANTIZE")
    ]


@pytest.mark.parametrize(("dtype", "stored"), [("float32", "float32"), ("int16x8", "int16")])
def test_chosen_layers_and_no_others_have_their_dtype(model, x, dtype, stored):
    lite = convert(model, x, layer_dtypes={"block_?": dtype})
    assert len(computing(lite, stored)) == 2
    assert "block_2" in computing(lite, stored)
    assert len(computing(lite, "int8")) == 4
    expected = model.predict(x, verbose=0)
    for runtime in ("tflm", "litert"):
        assert np.abs(outputs_of(lite, x, runtime) - expected).max() < 8 * lite.outputs[0].scale


def test_models_made_before_leave_no_trace_in_a_file(float_block, model, x):
    keras.Sequential([keras.Input((2,)), LAYERS.Dense(2)])
    assert convert(model, x, layer_dtypes={"block_1": "float32"}).content == float_block.content


def test_a_float_layer_takes_its_error_out(model, x):
    expected = model.predict(x, verbose=0)

    def error(**options):
        return np.abs(outputs_of(convert(model, x, **options), x) - expected).mean()

    assert error(layer_dtypes={"pool": "float32", "head": "float32"}) < 0.8 * error()


def test_ends_of_chosen_layers_have_their_dtype(model, x):
    lite = convert(model, x, layer_dtypes={"stem": "float32", "head": "int16x8"})
    assert (lite.inputs[0].dtype, lite.outputs[0].dtype) == ("float32", "int16")
    assert [lite.inputs[0].name, lite.outputs[0].name] == ["image", "head"]
    expected = model.predict(x, verbose=0)
    assert np.abs(outputs_of(lite, x) - expected).max() < 0.05 * np.abs(expected).max()


def test_ends_of_the_rest_can_be_converted(model, x):
    lite = convert(
        model, x, layer_dtypes={"block_1": "float32"}, input_dtype="uint8", output_dtype="float32"
    )
    assert (lite.inputs[0].dtype, lite.outputs[0].dtype) == ("uint8", "float32")
    expected = model.predict(x, verbose=0)
    assert np.abs(outputs_of(lite, x) - expected).max() < 0.05 * np.abs(expected).max()


def test_quantize_leaves_layers_float_and_trains_them(model, x):
    qat = sft_keras.quantize(model, layer_dtypes={"block_1": "float32"})
    before = qat.get_layer("block_1_linear").get_weights()[0]
    qat.fit(x, np.arange(40) % 3, verbose=0)
    assert np.abs(qat.get_layer("block_1_linear").get_weights()[0] - before).max() > 0
    lite = convert(qat)
    assert computing(lite, "float32") == ["block_1"]
    difference = np.abs(outputs_of(lite, x) - qat.predict(x, verbose=0)).max()
    assert difference < 4 * lite.outputs[0].scale


def test_a_layer_without_int8_form_can_be_trained_when_it_stays_float(x):
    layers = tf_keras.layers
    norm = layers.LayerNormalization(name="norm")
    net = [tf_keras.Input((8, 8, 3)), layers.Conv2D(4, 3), norm, layers.Flatten(), layers.Dense(2)]
    model = tf_keras.Sequential(net)
    assert sft_keras.quantization.problems(model)
    qat = sft_keras.quantize(model, layer_dtypes={"norm": "float32"})
    qat.compile("adam", "mse")
    qat.fit(x, np.zeros((40, 2)), verbose=0)
    assert computing(convert(qat, target="litert"), "float32")


def test_the_name_of_a_nested_model_stands_for_its_layers(x):
    inner = keras.Sequential(
        [keras.Input((8, 8, 3)), LAYERS.Conv2D(4, 3, name="a"), LAYERS.Conv2D(4, 3, name="b")],
        name="inner",
    )
    model = keras.Sequential([inner, LAYERS.Flatten(), LAYERS.Dense(2, name="head")])
    lite = convert(model, x, layer_dtypes={"inner": "float32"})
    assert len(computing(lite, "float32")) >= 2
    assert "head" not in computing(lite, "float32")


def test_tokens_are_looked_up_by_several_parts():
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    a = LAYERS.Flatten(name="flat_a")(LAYERS.Embedding(9, 4, name="a")(tokens))
    b = LAYERS.Flatten(name="flat_b")(LAYERS.Embedding(9, 4, name="b")(tokens))
    model = keras.Model(tokens, LAYERS.Dense(2)(LAYERS.Concatenate()([a, b])))
    x = np.random.default_rng(0).integers(0, 9, (40, 5)).astype("int32")
    lite = convert(model, x, layer_dtypes={"a": "float32", "flat_a": "float32"})
    assert [details.name for details in lite.inputs] == ["tokens"]
    (found,) = runtimes.run("litert", lite.content, [x])
    error = np.abs(lite.dequantize_output(found) - model.predict(x, verbose=0)).max()
    assert error < 4 * lite.outputs[0].scale


def test_the_gate_refuses_what_is_not_as_chosen(float_block):
    lite = float_block
    with pytest.raises(GateError, match="works on float32"):
        gate.check(lite)
    promise = gate.Promise(chosen={t.name: t.dtype for t in lite.file.tensors})
    gate.check(lite, promise)
    wrong = dataclasses.replace(promise, chosen={**promise.chosen, "block_1": "int16"})
    with pytest.raises(GateError, match="'block_1' is float32, not int16"):
        gate.check(lite, wrong)


def test_weights_lie_where_kernels_can_read_them(float_block):
    content = float_block.content
    for tensor in schema.read(content).tensors:
        if tensor.data is not None:
            start = np.frombuffer(content, np.uint8).__array_interface__["data"][0]
            assert (tensor.data.__array_interface__["data"][0] - start) % 16 == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer_dtypes": {"nose": "float32"}}, "'nose', but no layer of model 'net'"),
        ({"layer_dtypes": ["head"]}, r"layer_dtypes is \['head'\]; give each layer its dtype"),
        ({"layer_dtypes": "head"}, "layer_dtypes is 'head'; give each layer its dtype"),
        ({"layer_dtypes": {"head": "int4"}}, "'head' the dtype 'int4'"),
        ({"layer_dtypes": {"head": "float32"}, "dtype": "float16"}, "dtype='int8' or 'int16x8'"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(model, x, options, message):
    with pytest.raises(ArgumentError, match=message):
        convert(model, x, **options)


def test_an_input_of_a_float_layer_cannot_be_int8(x):
    net = [keras.Input((8, 8, 3), name="image"), LAYERS.Flatten(name="flat"), LAYERS.Dense(2)]
    with pytest.raises(UnsupportedError, match="'image' is an end of layers"):
        convert(keras.Sequential(net), x, layer_dtypes={"flat": "float32"}, input_dtype="int8")


def test_a_trained_model_has_its_choice_already(model, x):
    qat = sft_keras.quantize(model)
    with pytest.raises(ArgumentError, match="give layer_dtypes to quantize"):
        convert(qat, x, layer_dtypes={"head": "float32"})
    with pytest.raises(ArgumentError, match="leaves every layer of model 'net' float32"):
        sft_keras.quantize(model, layer_dtypes={"*": "float32"})
    with pytest.raises(ArgumentError, match="for int16x8 give layer_dtypes to convert"):
        sft_keras.quantize(model, layer_dtypes={"head": "int16x8"})


def test_a_layer_that_becomes_part_of_another_is_named(x):
    norm = LAYERS.BatchNormalization(name="norm")
    net = [keras.Input((8, 8, 3)), LAYERS.Conv2D(4, 3), norm, LAYERS.Flatten()]
    with pytest.raises(ArgumentError, match="'norm' is in layer_dtypes, but becomes part"):
        sft_keras.quantize(keras.Sequential(net), layer_dtypes={"norm": "float32"})


def masked_model(library):
    layers = library.layers
    tokens = library.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True, name="embedding")(tokens)
    x = layers.MultiHeadAttention(2, 2, name="attention")(x, x)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return library.Model(tokens, layers.Dense(3, name="head")(x))


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_a_mask_stays_within_its_part(library, randomize):
    model = randomize(masked_model(library))
    tokens = np.arange(240, dtype="int32").reshape(40, 6) % 9
    with pytest.raises(UnsupportedError, match=r"'attention' is a .*reads a mask"):
        convert(model, tokens, layer_dtypes={"embedding": "float32", "pool": "float32"})
    readers = dict.fromkeys(["attention", "pool"], "float32")
    with pytest.raises(UnsupportedError, match=r"'embedding' .* hands a mask on to 'attention'"):
        convert(model, tokens, layer_dtypes=readers, target="litert")
    lite = convert(model, tokens, layer_dtypes={"embedding": "float32", **readers}, target="litert")
    (found,) = runtimes.run("litert", lite.content, [tokens])
    expected = model.predict(tokens, verbose=0)
    assert np.std(lite.dequantize_output(found) - expected) < 0.05 * np.std(expected)
