import time

import flatbuffers
import pytest
from tflite_mutations import set_length

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


def test_a_file_that_puts_nothing_out_is_refused(mutate):
    with pytest.raises(FileError, match="nothing to put out"):
        mutate(lambda model: set_length(model.Subgraphs(0)._tab, 2, 0))


def shared_tables(tensors, graphs, name="t"):
    """A file whose offsets all lead to one tensor and to one subgraph."""
    builder = flatbuffers.Builder()

    def table(slots, fields):
        builder.StartObject(slots)
        for slot, offset in fields.items():
            builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
        return builder.EndObject()

    def vector(offset, count):
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()

    buffers = vector(table(3, {}), 1)
    graph = table(6, {0: vector(table(12, {3: builder.CreateString(name)}), tensors)})
    builder.Finish(table(8, {2: vector(graph, graphs), 4: buffers}), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize(
    ("tensors", "graphs", "name"), [(600, 600, "t"), (600, 1, 600 * "t"), (1, 600, 600 * "t")]
)
def test_a_file_that_unfolds_to_far_more_than_it_holds_is_refused(tensors, graphs, name):
    content = shared_tables(tensors, graphs, name)
    assert len(content) < 6000
    start = time.perf_counter()
    with pytest.raises(FileError, match=r"'a\.tflite' is truncated or corrupt .*share"):
        schema.read(content, "'a.tflite'")
    assert time.perf_counter() - start < 1


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
