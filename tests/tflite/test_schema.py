import pytest

from sft_keras.errors import FileError
from sft_keras.tflite import schema


def test_reads_operators_tensors_and_signature(qat_lite):
    file = schema.read(qat_lite.content)
    assert [op.name for op in file.operators] == [
        "CONV_2D",
        "DEPTHWISE_CONV_2D",
        "CONV_2D",
        "MEAN",
        "FULLY_CONNECTED",
        "SOFTMAX",
    ]
    first = next(file.operators)
    data, weights, bias = first.inputs
    assert data.name == "image"
    assert data.shape == (1, 8, 8, 1)
    assert data.data is None
    assert weights.dtype == "int8"
    assert weights.data.size == 4 * 3 * 3
    assert weights.scales.shape == (4,)
    assert bias.dtype == "int32"
    assert "first" in first.outputs[0].name
    (signature,) = file.signatures
    assert (signature.key, list(signature.inputs), list(signature.outputs)) == (
        "serving_default",
        ["image"],
        ["head"],
    )


def test_every_truncation_is_refused(qat_lite):
    content = qat_lite.content
    for length in range(8, len(content), 7):
        with pytest.raises(FileError):
            schema.read(content[:length], "'cut.tflite'")


def test_errors_name_the_file(qat_lite):
    with pytest.raises(FileError, match=r"'a\.tflite' is truncated or corrupt"):
        schema.read(qat_lite.content[:-100], "'a.tflite'")


@pytest.mark.parametrize(
    ("content", "what"), [(b"", "is empty"), (b"x", "is not a"), (b"PK\3\4" * 99, "is not a")]
)
def test_what_is_no_tflite_file_is_refused(content, what):
    with pytest.raises(FileError, match=what):
        schema.read(content)


def test_reorder_io_keeps_names_and_length(qat_lite):
    content = schema.reorder_io(qat_lite.content, ["image"], ["head"])
    assert content == qat_lite.content
