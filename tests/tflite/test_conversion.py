import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import sft_keras
from sft_keras.errors import ConversionError, DataError, GateError, UnsupportedError
from sft_keras.tflite import (
    LiteModel,
    child,
    conversion,
    convert,
    converter,
    export,
    runtimes,
)


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
    monkeypatch.setattr(converter, "run", lambda *_: LiteModel(aborting.content, "'net'"))
    with pytest.raises(GateError, match=r"(?s)The gate refuses 'net'.*aborts TFLite Micro"):
        convert(qat_model)


def test_weights_too_large_for_constants_are_converted_too(pair, monkeypatch):
    model = two_inputs(keras)
    expected = convert(model, dtype="float32")
    monkeypatch.setattr(export, "MOST_BYTES", 0)
    found = convert(model, dtype="float32")
    outputs = [runtimes.run("litert", lite.content, pair) for lite in (expected, found)]
    for one, other in zip(*outputs, strict=True):
        np.testing.assert_array_equal(one, other)


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
    with pytest.raises(UnsupportedError, match="int8, int16x8"):
        convert(plain(keras), dtype="int4")
    with pytest.raises(UnsupportedError, match=r"got str"):
        convert("model.keras")
    with pytest.raises(UnsupportedError, match="never built"):
        convert(keras.Sequential([keras.layers.Dense(2)]))
    image = keras.Input((None, None, 1), name="image")
    anysize = keras.Model(image, keras.layers.GlobalMaxPooling2D()(image))
    with pytest.raises(UnsupportedError, match=r"'image' .* dynamic shape"):
        convert(anysize)


BEYOND_INT8 = {
    "UpSampling2D": (lambda x: x.UpSampling2D(interpolation="bicubic", name="odd"), "bicubic"),
    "Resizing": (lambda x: x.Resizing(2, 2, interpolation="lanczos3", name="odd"), "lanczos3"),
    "Conv1DTranspose": (
        lambda x: x.TimeDistributed(x.Conv1DTranspose(2, 2, dilation_rate=2, name="odd")),
        "on a CPU",
    ),
    "Softmax": (lambda x: x.Softmax(axis=(1, 2), name="odd"), "several axes"),
}


@pytest.mark.usefixtures("no_child")
@pytest.mark.parametrize(("make", "reason"), BEYOND_INT8.values(), ids=BEYOND_INT8)
def test_a_layer_that_no_int8_file_computes_is_named_before_the_work(make, reason, flavor, pair):
    inner = flavor.Sequential([flavor.Input((4, 4, 1)), make(flavor.layers)])
    model = flavor.Sequential([flavor.Input((4, 4, 1)), inner])
    with pytest.raises(UnsupportedError, match=f"'odd' is a .*{reason}"):
        convert(model, pair[0])


def reads_a_mask(library, kind, nested=False):
    """A model in which a layer of some kind reads the mask of an Embedding."""
    layers = library.layers
    make = {
        "LSTM": lambda x: layers.LSTM(4, name="reader")(x),
        "Bidirectional": lambda x: layers.Bidirectional(layers.GRU(4), name="reader")(x),
        "MultiHeadAttention": lambda x: layers.MultiHeadAttention(2, 2, name="reader")(x, x),
        "GlobalAveragePooling1D": lambda x: layers.GlobalAveragePooling1D(name="reader")(x),
        "Conv1D": lambda x: layers.Conv1D(4, 3, name="reader")(x),
    }[kind]
    tokens = library.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True, name="embedding")(tokens)
    inside = library.Input((6, 4))
    y = library.Model(inside, make(inside))(x) if nested else make(x)
    return library.Model(tokens, layers.Dense(3, name="head")(layers.Flatten()(y)))


TOKENS = np.arange(240, dtype="int32").reshape(40, 6) % 9


@pytest.mark.usefixtures("no_child")
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    "kind", ["LSTM", "Bidirectional", "MultiHeadAttention", "GlobalAveragePooling1D"]
)
def test_a_layer_that_reads_a_mask_is_named_before_the_work(kind, nested, flavor):
    model = reads_a_mask(flavor, kind, nested)
    with pytest.raises(UnsupportedError, match=f"'reader' is a {kind} that reads a mask.*mask_zer"):
        convert(model, TOKENS)


@pytest.mark.usefixtures("in_process")
def test_a_mask_that_nobody_reads_is_no_matter(flavor, randomize):
    model = randomize(reads_a_mask(flavor, "Conv1D"))
    lite = convert(model, TOKENS, target="litert")
    (found,) = runtimes.run("litert", lite.content, [TOKENS])
    expected = model.predict(TOKENS, verbose=0)
    assert np.std(lite.dequantize_output(found) - expected) < 0.05 * np.std(expected)


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


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (16, 6, 6, 1)).astype("float32")


def wide(library):
    """More than 1024 weights in its largest layer, the converter's least for small types."""
    layers = library.layers
    stack = [layers.Conv2D(8, 3, activation="relu"), layers.Flatten(), layers.Dense(16)]
    return library.Sequential([library.Input((6, 6, 1), name="x"), *stack], name="wide")


MODES = {
    "int8": ("int8", "int8", {"int8", "int32"}),
    "int16x8": ("int16", "int16", {"int16", "int8", "int32", "int64"}),
    "dynamic": ("float32", "float32", {"float32", "int8", "int32"}),
    "float16": ("float32", "float32", {"float32", "float16", "int32"}),
    "float32": ("float32", "float32", {"float32", "int32"}),
}


@pytest.mark.parametrize("dtype", MODES)
@pytest.mark.usefixtures("in_process")
def test_every_mode_computes_what_the_model_does(dtype, flavor, images, randomize):
    model = randomize(wide(flavor))
    lite = convert(model, images, dtype=dtype)
    (x,), (y,), dtypes = lite.inputs, lite.outputs, {t.dtype for t in lite.file.tensors}
    assert (x.dtype, y.dtype) == MODES[dtype][:2]
    assert dtypes <= MODES[dtype][2]
    assert {"dynamic": "int8", "float16": "float16"}.get(dtype, "int32") in dtypes
    (got,) = runtimes.run("litert", lite.content, [x.quantize(images)])
    expected = np.asarray(model(images))
    error = np.abs(y.dequantize(got) - expected).max() / np.abs(expected).max()
    assert error < {"float32": 1e-5, "float16": 2e-3, "int16x8": 0.02}.get(dtype, 0.05)


@pytest.mark.usefixtures("in_process")
def test_small_types_that_nothing_came_of_are_refused(images):
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Conv2D(2, 3)])
    with pytest.raises(GateError, match="No weights became int8"):
        convert(model, dtype="dynamic")


def camera(library, dtype):
    """A network that takes pixels in a dtype of its own."""
    layers = library.layers
    x = image = library.Input((6, 6, 1), dtype=dtype, name="image")
    for layer in (layers.Rescaling(1 / 127.5, -1), layers.Conv2D(2, 3), layers.Flatten()):
        x = layer(x)
    return library.Model(image, x)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "float64"])
@pytest.mark.usefixtures("in_process")
def test_an_input_of_any_numbers_is_quantized(dtype, flavor, images, randomize):
    model, data = randomize(camera(flavor, dtype)), images.astype(dtype)
    lite = convert(model, data, input_dtype="uint8")
    (x,) = lite.inputs
    assert (x.dtype, x.scale, x.zero_point) == ("uint8", 1.0, 0)
    (got,) = runtimes.run("litert", lite.content, [lite.quantize_input(data)])
    expected = np.asarray(model(data))
    assert np.abs(lite.dequantize_output(got) - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("value", [0.5, 256, -1])
@pytest.mark.usefixtures("no_child")
def test_data_that_an_input_of_bytes_cannot_hold_is_refused(value):
    with pytest.raises(DataError, match=f"'image' holds {value}.*, which its dtype uint8 cannot"):
        convert(camera(keras, "uint8"), np.full((4, 6, 6, 1), value))


@pytest.mark.parametrize("dtypes", [("uint8", "uint8"), ("float32", "float32"), ("uint8", None)])
@pytest.mark.usefixtures("in_process")
def test_inputs_and_outputs_of_another_dtype(dtypes, images, randomize):
    model = randomize(wide(tf_keras))
    lite = convert(model, images, input_dtype=dtypes[0], output_dtype=dtypes[1])
    assert (lite.inputs[0].dtype, lite.outputs[0].dtype) == (dtypes[0], dtypes[1] or "int8")
    (got,) = runtimes.run("litert", lite.content, [lite.quantize_input(images)])
    expected = np.asarray(model(images))
    assert np.abs(lite.dequantize_output(got) - expected).max() < 0.05 * np.abs(expected).max()


def test_a_dtype_that_the_mode_has_not_is_refused(images):
    with pytest.raises(UnsupportedError, match=r"input_dtype of a file in int16x8 'uint8'"):
        convert(wide(keras), images, dtype="int16x8", input_dtype="uint8")


@pytest.mark.parametrize("dtype", ["int16x8", "float32", "float16", "dynamic"])
def test_a_model_trained_for_int8_is_refused_in_other_dtypes(qat_model, dtype):
    with pytest.raises(UnsupportedError, match=f"trained for int8, not {dtype}"):
        convert(qat_model, dtype=dtype)


@pytest.mark.usefixtures("in_process")
def test_inputs_may_have_the_names_of_what_saves_them():
    x, y = keras.Input((4,), name="file"), keras.Input((4,), name="allow_pickle")
    model = keras.Model([x, y], keras.layers.Dense(2)(keras.layers.Concatenate()([x, y])))
    rng = np.random.default_rng(0)
    lite = convert(model, {name: rng.normal(size=(20, 4)) for name in ("file", "allow_pickle")})
    assert [details.name for details in lite.inputs] == ["file", "allow_pickle"]


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("name", ["_x", "é", "self", "class", "x y"])
def test_whatever_an_input_is_called(name, flavor):
    x = flavor.Input((4,), name=name)
    model = flavor.Model(x, flavor.layers.Dense(2, name="out")(x))
    data = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
    lite = convert(model, data, target="litert")
    assert lite.inputs[0].name.isidentifier()
    lite.quantize_input(data)


@pytest.mark.parametrize("dtype", ["float32", "float16", "dynamic"])
@pytest.mark.usefixtures("in_process")
def test_float_files_of_mixed_precision(flavor, dtype):
    flavor.mixed_precision.set_global_policy("mixed_float16")
    try:
        x = flavor.Input((6, 6, 2))
        y = flavor.layers.GlobalAveragePooling2D()(flavor.layers.Conv2D(64, 4)(x))
        model = flavor.Model(x, flavor.layers.Dense(3, dtype="float32")(y))
    finally:
        flavor.mixed_precision.set_global_policy("float32")
    images = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype("float32")
    lite = convert(model, dtype=dtype)
    (found,) = runtimes.run("litert", lite.content, [images])
    assert np.abs(found - np.asarray(model(images))).max() < 0.01


@pytest.mark.parametrize("option", ["dtype", "input_dtype", "output_dtype"])
@pytest.mark.parametrize("dtype", [tf.int8, np.int8, np.dtype("int8")])
@pytest.mark.usefixtures("no_child")
def test_a_dtype_is_given_by_name(option, dtype, images):
    with pytest.raises(UnsupportedError, match=rf"{option}.*int8.* is unknown; choose one of int8"):
        convert(wide(keras), images, **{option: dtype})


@pytest.mark.usefixtures("in_process")
def test_dense_has_one_range_for_old_runtimes_of_microcontrollers(images, randomize):
    model = randomize(wide(keras))

    def ranges(target):
        lite = convert(model, images, target=target)
        (dense,) = [op for op in lite.file.operators if op.name == "FULLY_CONNECTED"]
        return dense.inputs[1].scales.size

    assert ranges("tflm") == 1
    assert ranges("litert") == 16


@pytest.mark.usefixtures("in_process")
def test_an_operator_that_microcontrollers_lack_passes_for_phones(images):
    stack = [keras.layers.Conv2D(8, 3, activation="gelu"), keras.layers.Flatten()]
    model = keras.Sequential([keras.Input((6, 6, 1)), *stack])
    with pytest.raises(GateError, match=r"GELU.*missing from TFLite Micro.*target='litert'"):
        convert(model, images)
    assert "GELU" in {op.name for op in convert(model, images, target="litert").file.operators}


@pytest.mark.usefixtures("in_process")
def test_a_layer_that_calibration_leaves_float_is_told_another_way_out(images):
    stack = [keras.layers.Conv2D(2, 3), keras.layers.ReLU(threshold=0.5)]
    model = keras.Sequential([keras.Input((6, 6, 1)), *stack])
    with pytest.raises(GateError, match="works on float32: replace that layer or activation"):
        convert(model, images)


RECURRENT = {
    "LSTM": (lambda x: x.LSTM(4, return_sequences=True), "UNIDIRECTIONAL_SEQUENCE_LSTM"),
    "both ways": (lambda x: x.Bidirectional(x.LSTM(3)), "UNIDIRECTIONAL_SEQUENCE_LSTM"),
    "GRU": (lambda x: x.GRU(4), "FULLY_CONNECTED"),
    "SimpleRNN": (lambda x: x.SimpleRNN(4), "FULLY_CONNECTED"),
}


@pytest.mark.parametrize(("make", "operator"), RECURRENT.values(), ids=RECURRENT)
@pytest.mark.usefixtures("in_process")
def test_recurrent_layers_run_on_microcontrollers(flavor, make, operator, randomize):
    stack = [make(flavor.layers), flavor.layers.Flatten(), flavor.layers.Dense(3)]
    model = randomize(flavor.Sequential([flavor.Input((6, 4)), *stack]))
    data = np.random.default_rng(0).normal(size=(64, 6, 4)).astype("float32")
    lite = convert(model, data)
    operators = {op.name for op in lite.file.operators}
    assert operator in operators
    assert "WHILE" not in operators
    expected = np.asarray(model(data))
    for runtime in ("litert", "tflm"):
        if runtimes.named(runtime).available():
            (got,) = runtimes.run(runtime, lite.content, [lite.quantize_input(data)])
            error = np.abs(lite.dequantize_output(got) - expected).mean() / np.abs(expected).max()
            assert error < 0.02


@pytest.mark.usefixtures("in_process")
def test_tokens_stay_integers(flavor, randomize):
    layers = flavor.layers
    stack = [layers.Embedding(10, 4), layers.LayerNormalization(), layers.Flatten()]
    tokens = flavor.Input((6,), dtype="int32")
    x = tokens
    for layer in [*stack, layers.Dense(2)]:
        x = layer(x)
    model = randomize(flavor.Model(tokens, x))
    data = np.random.default_rng(0).integers(0, 10, (64, 6))
    lite = convert(model, data)
    assert [x.dtype for x in (*lite.inputs, *lite.outputs)] == ["int32", "int8"]
    (got,) = runtimes.run("litert", lite.content, [lite.quantize_input(data)])
    expected = np.asarray(model(data))
    assert np.abs(lite.dequantize_output(got) - expected).mean() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("token", [-1, 10])
@pytest.mark.usefixtures("no_child")
def test_a_token_that_an_embedding_has_not_is_refused_before_the_work(token, flavor):
    tokens = flavor.Input((6,), dtype="int32", name="tokens")
    embedding = flavor.layers.Embedding(10, 4, name="words")
    model = flavor.Model(tokens, flavor.layers.Flatten()(embedding(tokens)))
    with pytest.raises(DataError, match=rf"'tokens' holds .*{token}.*'words' knows 0 to 9"):
        convert(model, np.full((4, 6), token))


def test_a_crash_of_the_converter_is_survived_and_told(monkeypatch):
    """What was rewritten failed, so the model itself is tried; then the error tells why."""
    tried = []

    def crash(module, arguments, timeout):
        tried.append(arguments[0])
        raise child.ChildError("crashed with SIGSEGV")

    monkeypatch.setattr(conversion.child, "run", crash)
    with pytest.raises(ConversionError, match=r"'plain': crashed with SIGSEGV"):
        convert(plain(keras), np.zeros((4, 4, 4, 1)))
    assert len(tried) == 2
