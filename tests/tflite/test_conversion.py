import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import sft_keras
from sft_keras.errors import ConversionError, DataError, GateError, UnsupportedError
from sft_keras.tflite import conversion, convert, export, runtimes


def two_inputs(library, *, by_name=False):
    """Inputs and outputs in an order that is not the alphabetic one."""
    layers = library.layers
    right, left = library.Input((4, 4, 1), name="right"), library.Input((4, 4, 1), name="left")
    z = layers.Dense(3, name="z")(layers.Flatten()(layers.Conv2D(4, 3)(right)))
    a = layers.Dense(2, name="a")(layers.Flatten()(layers.Conv2D(4, 3)(left)))
    return library.Model({"right": right, "left": left} if by_name else [right, left], [z, a])


def plain(library):
    layers = library.layers
    return library.Sequential(
        [library.Input((4, 4, 1), name="x"), layers.Flatten(), layers.Dense(2)],
        name="plain",
    )


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(40, 4, 4, 1)).astype("float32") for _ in range(2)]


def test_post_training_quantization_keeps_the_order_of_inputs_and_outputs(pair):
    model = two_inputs(keras)
    data = tf.data.Dataset.from_tensor_slices({"right": pair[0], "left": pair[1]}).batch(8)
    lite = convert(model, data)
    assert [details.name for details in lite.inputs] == ["right", "left"]
    assert [details.name for details in lite.outputs] == ["z", "a"]
    steps = [lite.quantize_input(x, i) for i, x in enumerate(pair)]
    outputs = runtimes.run("litert", lite.content, steps)
    for i, expected in enumerate(model(pair)):
        got = lite.dequantize_output(outputs[i], i)
        assert np.abs(got - expected).max() < 4 * lite.outputs[i].scale


def test_a_float_file_equals_the_model(pair):
    model = two_inputs(tf_keras, by_name=True)
    lite = convert(model, dtype="float32")
    by_name = dict(zip(("right", "left"), pair, strict=True))
    outputs = runtimes.run("litert", lite.content, [by_name[d.name] for d in lite.inputs])
    for got, expected in zip(outputs, model(by_name), strict=True):
        assert np.abs(got - expected).max() < 1e-5


def test_the_gate_reads_every_file(qat_model, aborting, monkeypatch):
    monkeypatch.setattr(conversion, "_run_converter", lambda *_: aborting.content)
    with pytest.raises(GateError, match=r"(?s)The gate refuses 'net'.*aborts TFLite Micro"):
        convert(qat_model)


def test_a_time_limit_ends_the_converter(pair):
    with pytest.raises(ConversionError, match=r"model 'plain': no end after 0\.2 s"):
        convert(plain(keras), pair[0], timeout=0.2)


def test_int8_without_ranges_is_refused_with_the_way_out():
    with pytest.raises(UnsupportedError, match=r"sft_keras\.quantize.*representative_data="):
        convert(plain(keras))


@pytest.fixture
def no_child(monkeypatch):
    """Fails the test if the long work starts."""
    monkeypatch.setattr(conversion.child, "run", lambda *_: pytest.fail("the child was started"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((4, 5, 5, 1)), r"'x' has shape \(4, 5, 5, 1\)"),
        (np.full((4, 4, 4, 1), np.nan), "NaN"),
        (np.zeros((0, 4, 4, 1)), "no samples"),
        (np.full((4, 4, 4, 1), "a"), "dtype"),
        (iter(()), "no samples"),
    ],
)
@pytest.mark.usefixtures("no_child")
def test_bad_representative_data_is_refused_before_the_work(data, message):
    with pytest.raises(DataError, match=message):
        convert(plain(keras), data)


@pytest.mark.usefixtures("no_child")
def test_bad_models_and_arguments_are_refused_before_the_work():
    with pytest.raises(UnsupportedError, match="int8, float32"):
        convert(plain(keras), dtype="int4")
    with pytest.raises(UnsupportedError, match=r"got str"):
        convert("model.keras")
    with pytest.raises(UnsupportedError, match="never built"):
        convert(keras.Sequential([keras.layers.Dense(2)]))
    image = keras.Input((None, None, 1), name="image")
    anysize = keras.Model(image, keras.layers.GlobalMaxPooling2D()(image))
    with pytest.raises(UnsupportedError, match=r"'image' .* dynamic shape"):
        convert(anysize)


@pytest.mark.usefixtures("no_child")
@pytest.mark.parametrize("library", [keras, tf_keras])
def test_nan_weights_are_refused_by_layer(library):
    model = plain(library)
    model.layers[-1].bias.assign([np.nan, 0.0])
    with pytest.raises(UnsupportedError, match=f"'{model.layers[-1].name}' has NaN"):
        convert(model, dtype="float32")


def test_trace_knows_fake_quant(qat_model):
    assert export.trace(qat_model).has_fake_quant
    assert not export.trace(plain(tf_keras)).has_fake_quant


def test_names_in_the_signature_are_identifiers_and_unique(qat_model):
    trace = export.trace(qat_model)
    assert (trace.inputs, trace.outputs) == (["image"], ["head"])  # without TFMOT's quant_
    x = tf_keras.Input((3,), name="my/input 1")
    y = tf_keras.layers.Dense(2, name="y")(x)
    trace = export.trace(tf_keras.Model(x, [y, y]))
    assert (trace.inputs, trace.outputs) == (["my_input_1"], ["y", "y_1"])


def test_calibration_stops_at_its_limit(pair):
    endless = tf.data.Dataset.from_tensors(pair[0]).repeat()
    (samples,) = conversion._collect(plain(keras), endless)
    assert samples.shape == (conversion.CALIBRATION_SAMPLES, 4, 4, 1)
    assert samples.dtype == np.float32


def test_names_are_public():
    assert sft_keras.convert is convert
    assert sft_keras.LiteModel is sft_keras.tflite.LiteModel
    assert sft_keras.verify is sft_keras.tflite.verify
