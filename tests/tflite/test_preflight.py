"""What a target cannot run of a file, held against the runtimes and Vela where they are here."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tflite
from keras import layers
from tflite_mutations import narrow_softmax, set_operator, set_type, set_version, tensor_of

import sft_keras
from sft_keras.errors import UnsupportedError
from sft_keras.tflite import LiteModel, child, runtimes, targets


def texts(lite, target, stops=True):
    return [f.text for f in sft_keras.check(lite, target).findings if f.stops == stops]


@pytest.mark.parametrize("target", targets.names())
def test_a_sound_file_runs_everywhere(qat_lite, target):
    preflight = sft_keras.check(qat_lite, target)
    assert preflight.runs
    assert str(preflight).startswith(f"{qat_lite.name} runs on {targets.named(target).title}")
    assert preflight.to_dict()["runs"] is True


def test_a_target_nobody_knows_is_refused(qat_lite):
    with pytest.raises(UnsupportedError, match=r"'toaster' is unknown; choose one of cmsis-nn"):
        sft_keras.check(qat_lite, "toaster")


def test_an_operator_stops_only_what_lacks_it(mutate):
    lite = mutate(lambda m: set_operator(m, 3, tflite.BuiltinOperator.GELU))
    for target in ("tflm", "cmsis-nn"):
        (text,) = texts(lite, target)
        assert text.startswith("GELU 'net/quant_pool")
        assert "missing from TFLite Micro" in text
        assert "does not run" in str(sft_keras.check(lite, target))
    assert sft_keras.check(lite, "litert").runs
    assert sft_keras.check(lite, "ethos-u55-128").runs  # Vela's list has it


def test_an_operator_in_a_version_of_the_future_is_named(mutate):
    newest = targets.named("tflite-runtime-2.14").versions["CONV_2D"]
    lite = mutate(lambda m: set_version(m, 0, newest + 1))
    text, _ = texts(lite, "tflite-runtime-2.14")  # another layer shares the operator's code
    assert "first" in text
    assert f"of version {newest + 1}, and tflite-runtime 2.14 knows {newest} at most" in text
    assert sft_keras.check(lite, "litert").runs
    assert sft_keras.check(lite, "tflm").runs  # it does not look
    with pytest.raises(child.ChildError, match="CONV_2D"):
        runtimes.run("tflite-runtime", lite.content, [np.zeros((1, 8, 8, 1), np.int8)])


def test_a_float_island_is_slow_and_no_edge_tpu_takes_it(mutate):
    lite = mutate(lambda m: set_type(tensor_of(m, 0, "Outputs", 0), tflite.TensorType.FLOAT32))
    assert all("float32" in text for text in texts(lite, "tflm", stops=False))
    assert len(texts(lite, "tflm", stops=False)) == 2
    stops = texts(lite, "coral-edgetpu")
    assert len(stops) == 2
    assert "only takes int8, uint8, int32" in stops[0]


def test_a_softmax_that_aborts_is_named(mutate):
    assert any("aborts TFLite Micro" in text for text in texts(mutate(narrow_softmax), "tflm"))


@pytest.mark.parametrize(("height", "stops"), [(8, False), (None, True)])
def test_an_unknown_size_only_stops_what_cannot_be_told_it(height, stops):
    keras.utils.set_random_seed(0)
    x = layers.Conv2D(2, 3, padding="same")(image := keras.Input((height, 8, 1)))
    model = keras.Model(image, layers.Dense(3)(layers.GlobalMaxPooling2D()(x)))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)  # leaves the batch open, too
    lite = LiteModel(converter.convert())
    for target, expected in (("tflm", stops), ("litert", False)):
        findings = sft_keras.check(lite, target).findings
        told = [finding.stops for finding in findings if "the dynamic shape" in finding.text]
        assert told == [expected]
    if not stops:
        images = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
        for runtime in ("tflm", "litert"):
            (found,) = runtimes.run(runtime, lite.content, [images])
            np.testing.assert_allclose(found, model.predict(images, verbose=0), atol=1e-5)


@pytest.fixture(scope="module")
def dense():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((64,)), layers.Dense(64, name="hidden"), layers.Dense(3)])


def test_a_dense_with_many_ranges_is_misread_by_old_versions(dense):
    data = np.random.default_rng(0).normal(size=(16, 64)).astype("float32")
    lite = sft_keras.convert(dense, data, target="litert")
    for target in ("tflm", "tflite-runtime-2.14"):
        assert any("has a range for each output" in text for text in texts(lite, target))
        assert sft_keras.check(sft_keras.convert(dense, data, target=target), target).runs
    assert sft_keras.check(lite, "litert").runs


@pytest.mark.parametrize("dtype", ["dynamic", "float16"])
def test_weights_that_only_phones_unpack_are_named(dense, dtype):
    lite = sft_keras.convert(dense, dtype=dtype)
    assert any("unpacks weights" in text and "hidden" in text for text in texts(lite, "tflm"))
    assert sft_keras.check(lite, "litert").runs


def test_what_stays_on_the_cpu_is_what_vela_leaves_there():
    pytest.importorskip("ethosu", reason="ethos-u-vela is not installed")
    tokens = keras.Input((6,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(9, 8, name="words")(tokens))
    model = keras.Model(tokens, layers.Dense(4, activation="relu")(x))
    lite = sft_keras.convert(model, np.random.default_rng(0).integers(0, 9, (20, 6), "int32"))
    npu = sft_keras.micro.ethos_u({"small": lite})["small"]
    slow = texts(lite, "ethos-u55-128", stops=False)
    assert [text.partition(" ")[0] for text in slow] == list(npu.cpu_operators) == ["GATHER"]
    assert sft_keras.check(npu.lite, "ethos-u55-128").runs
    assert not sft_keras.check(npu.lite, "litert").runs
    (text,) = texts(lite, "coral-edgetpu", stops=False)
    behind = sum(1 for _ in lite.file.operators) - 1
    assert f"and all {behind} operators behind it" in text


def test_filters_that_an_npu_pays_for_in_vain_are_counted(qat_lite):
    slow = texts(qat_lite, "ethos-u55-128", stops=False)
    assert ["4 filters, and 16" in slow[0], "6 filters, and 16" in slow[1]] == [True, True]
    assert len(slow) == 2
    assert texts(qat_lite, "tflm", stops=False) == []
