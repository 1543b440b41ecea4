"""What passes make keeps apart: names, ranges, dtypes and weights of layers that look alike."""

from collections import OrderedDict

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers

import sft_keras
from sft_keras import flavors
from sft_keras.errors import UnsupportedError
from sft_keras.quantization import deployment, problems, quantize, to_tf_keras
from sft_keras.shrinking import proof
from sft_keras.tflite import convert, export, runtimes


@pytest.fixture(autouse=True)
def _fresh_names():
    keras.backend.clear_session()
    tf_keras.backend.clear_session()


def difference(model, other):
    inputs = proof.random_inputs(model, seed=3)
    return proof.relative_difference(proof.outputs(model, inputs), proof.outputs(other, inputs))


def images(*stack):
    x = keras.Input((8, 8, 4))
    return x, [layer(x) for layer in stack]


def test_sums_of_sums_have_layers_of_their_own():
    x, parts = images(*(layers.Conv2D(4, 1) for _ in range(3)))
    a = layers.Add(name="add")(parts)
    b = layers.Add(name="add_1")([a, *parts[:2]])
    c = layers.Add(name="add_2")([b, *parts[1:]])
    qat = quantize(keras.Model(x, c))
    names = [layer.name for layer in qat.layers if "add" in layer.name]
    assert len(names) == 6
    assert qat.output_names == [next(name for name in names if name.endswith("add_2"))]
    calls = [call.layer.name for call in flavors.calls(qat)]
    assert sorted(name for name in calls if "add" in name) == sorted(names)


def test_a_layer_may_have_the_name_that_a_pass_would_give():
    x = keras.Input((4,))
    y = layers.Dense(4, "relu", name="head")(layers.Dense(4, name="head_linear")(x))
    names = [layer.name for layer in quantize(keras.Model(x, y)).layers]
    assert len(set(names)) == len(names) == 5


TWICE = {
    "group normalization": (lambda: layers.GroupNormalization(2), (8, 8, 4), 2),
    "upsampling of sequences": (lambda: layers.UpSampling1D(2), (8, 4), 1),
    "recurrent": (lambda: layers.GRU(3, return_sequences=True), (8, 4), 1),
    "convolution of sequences": (lambda: layers.Conv1D(4, 3, padding="same"), (8, 4), 1),
}


@pytest.mark.parametrize("case", TWICE)
def test_a_layer_called_on_two_sizes_is_rewritten_for_both(case):
    make, shape, axes = TWICE[case]
    layer, x = make(), keras.Input(shape)
    pool = (layers.MaxPooling1D, layers.MaxPooling2D)[axes - 1]()
    model = keras.Model(x, [layers.Flatten()(layer(x)), layers.Flatten()(layer(pool(x)))])
    assert difference(model, deployment.deployable(model)) <= 1e-5
    if not problems(model):
        assert len(quantize(model).trainable_weights) == len(model.trainable_weights) or (
            case == "recurrent"  # a kernel a gate
        )


def test_one_rescaling_for_colours_and_for_grey():
    rescaling = layers.Rescaling(1 / 255)
    colour, grey = keras.Input((8, 8, 3)), keras.Input((8, 8, 1))
    ends = [layers.Conv2D(2, 3)(rescaling(x)) for x in (colour, grey)]
    model = keras.Model([colour, grey], layers.Add()(ends))
    assert difference(model, deployment.deployable(model)) <= 1e-5
    assert problems(model) == []


def tower(name):
    x = keras.Input((8,))
    y = layers.Dense(4, "relu", name="fc1")(x)
    return keras.Model(x, layers.Dense(4, name="fc2")(y), name=name)


@pytest.fixture
def towers():
    ends = [keras.Input((8,), name=name) for name in "ab"]
    both = [tower(name)(x) for name, x in zip(("left", "right"), ends, strict=True)]
    return keras.Model(ends, layers.Dense(2, name="out")(layers.Concatenate()(both)))


@pytest.mark.parametrize(
    ("chosen", "stay"),
    [
        ("right", {"right_fc1_linear", "right_fc1", "right_fc2"}),
        ("fc2", {"fc2", "right_fc2"}),
        ("left/fc2", {"fc2"}),
        ("right/*", {"right_fc1_linear", "right_fc1", "right_fc2"}),
    ],
)
def test_layers_of_one_name_in_two_models_are_told_apart(towers, chosen, stay):
    qat = quantize(towers, layer_dtypes={chosen: "float32"})
    plain = {x.name for x in qat.layers if type(x).__name__ not in ("Int8Wrapper", "InputLayer")}
    assert plain == stay


def test_the_chosen_of_two_models_are_float_in_the_file(towers):
    x = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")
    lite = convert(towers, [x, x], layer_dtypes={"right": "float32"})
    floats = [op for op in lite.file.operators if op.name == "FULLY_CONNECTED"]
    assert sorted(op.outputs[0].dtype for op in floats) == ["float32"] * 2 + ["int8"] * 3


def heads(library, structure):
    x = library.Input((4,), name="x")
    made = [library.layers.Dense(n, name=name)(x) for name, n in (("zz", 3), ("aa", 2))]
    return library.Model(x, structure(zip(("zz", "aa"), made, strict=True)))


@pytest.mark.parametrize("structure", [dict, OrderedDict])
@pytest.mark.parametrize("library", [keras, tf_keras], ids=["keras", "tf_keras"])
def test_outputs_by_name_keep_their_names(library, structure):
    model = heads(library, structure)
    for candidate in (model, deployment.deployable(model)):
        traced = export.trace(candidate).function.structured_outputs
        assert {name: x.shape[1] for name, x in traced.items()} == {"zz": 3, "aa": 2}
    if library is tf_keras:
        assert to_tf_keras(model).output_names == model.output_names


def test_an_ordered_dict_out_of_order_is_refused_by_training_and_right_without():
    model = heads(keras, OrderedDict)
    with pytest.raises(UnsupportedError, match="its outputs in an OrderedDict; take a plain dict"):
        quantize(model)
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    lite = convert(model, x, input_dtype="float32", output_dtype="float32")
    for got, want in zip(runtimes.run("litert", lite.content, [x]), model(x).values(), strict=True):
        assert np.abs(got - np.asarray(want)).max() < 0.1


def test_inputs_of_an_ordered_dict_are_calibrated_by_their_own_samples():
    small, large = keras.Input((4,), name="small"), keras.Input((4,), name="large")
    ends = [layers.Dense(2)(small), layers.Dense(2)(large)]
    model = keras.Model(OrderedDict(z=small, a=large), layers.Concatenate()(ends))
    rng = np.random.default_rng(0)
    data = {"small": rng.normal(size=(64, 4)), "large": 100 * rng.normal(size=(64, 4))}
    lite = convert(model, {key: x.astype("float32") for key, x in data.items()})
    scales = {tensor.name: tensor.scale for tensor in lite.inputs}
    assert scales["large"] > 30 * scales["small"]


def test_nested_models_give_their_outputs_their_names():
    x = keras.Input((4,))
    ends = [
        keras.Sequential([keras.Input((4,)), layers.Dense(1)], name=name)(x)
        for name in ("age", "size")
    ]
    model = keras.Model(x, ends)
    model.compile("sgd", loss={"age": "mse", "size": "mae"})
    qat = quantize(model)
    assert qat.output_names == ["age", "size"]
    data = np.ones((8, 4), "float32")
    target = np.ones((8, 1), "float32")
    history = qat.fit(data, {"age": target, "size": target}, verbose=0).history
    assert np.isfinite(history["age_loss"]).all()


def test_a_frozen_recurrent_layer_stays_frozen():
    model = keras.Sequential([keras.Input((4, 3)), layers.LSTM(2), layers.Dense(2)])
    model.layers[0].trainable = False
    assert len(quantize(model).trainable_weights) == 2


def test_a_float_layer_called_twice_feeds_int8_layers():
    ends, encoder = [keras.Input((4,)) for _ in "ab"], layers.Dense(4, name="enc")
    model = keras.Model(ends, layers.Add()([encoder(x) for x in ends]))
    qat = quantize(model, layer_dtypes={"enc": "float32"})
    names = sorted(layer.name for layer in qat.layers if "enc" in layer.name)
    assert names == ["enc", "enc_int8", "enc_int8_1"]


@pytest.mark.parametrize("name", ["Input layer", "_x", "größe"])
def test_an_input_may_have_a_name_that_tensorflow_does_not_take(name):
    x = keras.Input((4,), name=name)
    model = keras.Model(x, layers.Dense(2)(x))
    assert quantize(model).input_names == [name]


def test_a_mask_between_float_and_int8_is_refused_by_name():
    x = keras.Input((6,), dtype="int32")
    y = layers.Embedding(9, 4, mask_zero=True, name="words")(x)
    model = keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling1D()(y)))
    (problem,) = problems(model, layer_dtypes={"words": "float32"})
    assert str(problem).startswith("'words' is a Embedding whose mask no int8 layer reads")


def test_a_stateful_layer_is_refused_by_name():
    model = keras.Sequential(
        [keras.Input(batch_shape=(1, 4, 3)), layers.LSTM(2, stateful=True, name="memory")]
    )
    x = np.zeros((8, 4, 3), "float32")
    for options in ({"representative_data": x}, {"dtype": "float32"}):
        with pytest.raises(UnsupportedError, match="Layer 'memory' is stateful"):
            convert(model, **options)


def test_a_constant_state_is_refused_by_name():
    x = keras.Input((4, 3))
    y = layers.GRU(2, name="memory")(x, initial_state=keras.ops.ones((1, 2)))
    (problem,) = problems(keras.Model(x, y))
    assert str(problem) == "'memory' is a GRU with a constant state; make the state an Input."


def test_layers_may_be_called_by_keyword():
    x = keras.Input((4,))
    y = layers.ReLU()(inputs=x)
    model = keras.Model(x, layers.Activation("hard_sigmoid")(inputs=y))
    assert difference(model, to_tf_keras(model)) <= 1e-5


def test_a_nested_model_may_be_called_by_the_names_of_its_inputs():
    ends = [keras.Input((3,), name=name) for name in ("b", "a")]
    inner = keras.Model(ends, layers.Subtract()(ends))
    given = {name: keras.Input((3,)) for name in ("a", "b")}
    model = keras.Model(list(given.values()), layers.Dense(2)(inner(given)))
    assert difference(model, to_tf_keras(model)) <= 1e-5


@pytest.mark.parametrize("library", [keras, tf_keras], ids=lambda library: library.__name__)
def test_an_input_that_nobody_reads_is_refused_where_dtypes_are_mixed(library):
    x, unread = library.Input((4,)), library.Input((2,), name="unread")
    y = library.layers.Dense(2, name="head")(library.layers.Dense(3)(x))
    if library is keras and keras.__version__.startswith("3.12."):
        with pytest.raises(ValueError, match="`inputs` not connected to `outputs`"):
            keras.Model([x, unread], y)
        return
    model = library.Model([x, unread], y)
    data = [np.ones((8, 4), "float32"), np.ones((8, 2), "float32")]
    with pytest.raises(UnsupportedError, match="Input 'unread' is read by no layer"):
        convert(model, data, layer_dtypes={"head": "float32"})


def test_a_custom_class_may_have_the_name_of_a_layer_of_keras():
    class Softmax(keras.layers.Layer):
        def call(self, x):
            return x * 2.0

    x = keras.Input((4,))
    lite = convert(keras.Model(x, Softmax()(x)), np.ones((8, 4), "float32"))
    assert lite.outputs[0].shape == (1, 4)


def test_output_padding_of_nothing_is_kept():
    conv = layers.Conv1DTranspose(2, 3, strides=2, padding="same", output_padding=0)
    model = keras.Sequential([keras.Input((6, 3)), conv])
    if "output_padding" not in conv.get_config():  # Keras 3.12 loses it when it saves the layer
        with pytest.raises(UnsupportedError, match=r"get_config\(\) leaves something out"):
            problems(model)
        return
    assert problems(model) == []
    assert flavors.outputs(quantize(model))[0].shape == (None, 11, 2)


def test_layers_that_stay_float_in_a_trained_model_are_told(caplog):
    x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(3)])
    model.compile("sgd", "mse")
    qat = quantize(model)
    qat.fit(x, np.zeros((32, 3)), verbose=0)
    with_softmax = tf_keras.Model(qat.input, tf_keras.layers.Softmax(name="late")(qat.output))
    with caplog.at_level("WARNING"):
        sft_keras.convert(with_softmax)
    assert "stay float32: 'late'" in caplog.text
