import os

import numpy as np
import pytest
import tflite
from tflite_mutations import set_type, tensor_of

from sft_keras.errors import DataError, FileError, UnsupportedError
from sft_keras.tflite import LiteModel
from sft_keras.tflite.lite_model import TensorDetails


def test_inputs_and_outputs_have_the_keras_names(qat_lite):
    (image,), (head,) = qat_lite.inputs, qat_lite.outputs
    assert (image.name, image.shape, image.dtype) == ("image", (1, 8, 8, 1), "int8")
    assert (head.name, head.shape, head.dtype) == ("head", (1, 3), "int8")
    assert (head.scale, head.zero_point) == (1 / 256, -128)  # of every int8 softmax
    assert "image int8[1, 8, 8, 1] -> head int8[1, 3]" in repr(qat_lite)
    assert qat_lite.size == len(qat_lite.content)


def test_quantizing_and_back_is_within_half_a_step(qat_lite):
    (image,) = qat_lite.inputs
    low, high = ((np.array([-128, 127]) - image.zero_point) * image.scale).tolist()
    x = np.linspace(low, high, 1001)
    back = image.dequantize(qat_lite.quantize_input(x))
    assert np.abs(back - x).max() <= image.scale / 2 * 1.0001


def test_quantizing_rounds_halves_away_from_zero_and_saturates():
    details = TensorDetails("x", (1, 4), "int8", 1.0, 0)
    values = np.array([0.5, -0.5, 2.5, 300.0, -300.0])
    assert details.quantize(values).tolist() == [1, -1, 3, 127, -128]


def test_a_float_tensor_is_left_alone():
    details = TensorDetails("x", (1, 4), "float32", None, 0)
    assert details.quantize(np.array([0.25])).tolist() == [0.25]
    assert details.dequantize(np.array([0.25])).dtype == np.float32


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_is_not_quantized(qat_lite, bad):
    with pytest.raises(DataError, match="'image'"):
        qat_lite.quantize_input(np.array([1.0, bad]))


def test_dequantize_output(qat_lite):
    assert qat_lite.dequantize_output(np.array([-128, 0], "int8")).tolist() == [0.0, 0.5]


def test_save_and_load(qat_lite, tmp_path):
    path = tmp_path / "model.tflite"
    qat_lite.save(path)
    assert LiteModel.load(path) == qat_lite
    assert os.listdir(tmp_path) == ["model.tflite"]


def test_save_keeps_an_existing_file_unless_told(qat_lite, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_text("precious")
    with pytest.raises(FileError, match="exists; pass overwrite=True"):
        qat_lite.save(path)
    assert path.read_text() == "precious"
    qat_lite.save(path, overwrite=True)
    assert path.read_bytes() == qat_lite.content


def test_save_where_nothing_can_be_written(qat_lite, tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        qat_lite.save(tmp_path / "nowhere" / "model.tflite")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileError, match="cannot be written"):
        qat_lite.save(tmp_path / "folder", overwrite=True)
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: set_type(t, tflite.TensorType.INT4), UnsupportedError, "is int4, which no"),
        (lambda t: set_scale(t, np.inf), FileError, "has scale inf"),
        (lambda t: set_scale(t, 0), FileError, "has scale 0.0"),
        (lambda t: set_scale(t, 3e38), FileError, "has scale 3.0"),
        (lambda t: set_zero_point(t, 200), FileError, "has .* zero point 200, which int8"),
    ],
)
def test_an_input_that_no_array_can_hold_is_refused(mutate, change, error, message):
    lite = mutate(lambda model: change(tensor_of(model, 0, "Inputs", 0)))
    with pytest.raises(error, match=f"'image' of the model {message}"):
        _ = lite.inputs


def set_scale(tensor, scale):
    tensor.Quantization().ScaleAsNumpy()[:] = scale


def set_zero_point(tensor, number):
    tensor.Quantization().ZeroPointAsNumpy()[:] = number


def test_load_refuses_missing_and_damaged_files(qat_lite, tmp_path):
    path = tmp_path / "model.tflite"
    with pytest.raises(FileError, match=r"model\.tflite' cannot be read"):
        LiteModel.load(path)
    with pytest.raises(FileError, match=r"model\.tflite' cannot be read"):
        LiteModel.load(f"\0{path}")
    path.write_bytes(qat_lite.content[:2000])
    with pytest.raises(FileError, match=r"model\.tflite' is truncated"):
        LiteModel.load(path)
    path.write_bytes(b"")
    with pytest.raises(FileError, match=r"model\.tflite' is empty"):
        LiteModel.load(path)
