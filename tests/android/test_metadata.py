"""Metadata in the file: read by slot and byte, as a reader of another make would."""

import io
import struct
import time
import zipfile

import flatbuffers
import numpy as np
import pytest
import tflite

from sft_keras import LiteModel
from sft_keras.android import read_metadata, tables, with_metadata
from sft_keras.errors import ArgumentError, FileError
from sft_keras.tflite import runtimes

LABELS = ["ant", "b, e", "cät"]


class Table:
    """A table of a flatbuffer, whose fields are found by their slots in the published schema."""

    def __init__(self, data, place):
        self.data, self.place = data, place

    def _at(self, form, place):
        return struct.unpack_from(form, self.data, place)[0]

    def _field(self, slot):
        index = self.place - self._at("<i", self.place)
        behind = 4 + 2 * slot
        offset = self._at("<H", index + behind) if behind < self._at("<H", index) else 0
        return self.place + offset if offset else None

    def _target(self, place):
        return place + self._at("<I", place)

    def byte(self, slot):
        return self._at("<b", self._field(slot))

    def table(self, slot):
        return Table(self.data, self._target(self._field(slot)))

    def text(self, slot):
        start = self._target(self._field(slot))
        return self.data[start + 4 : start + 4 + self._at("<I", start)].decode()

    def floats(self, slot):
        start = self._target(self._field(slot))
        return list(struct.unpack_from(f"<{self._at('<I', start)}f", self.data, start + 4))

    def tables(self, slot):
        start = self._target(self._field(slot))
        places = (start + 4 + 4 * number for number in range(self._at("<I", start)))
        return [Table(self.data, self._target(place)) for place in places]

    def has(self, slot):
        return self._field(slot) is not None


def stored(lite):
    """The metadata's bytes."""
    model = tflite.Model.GetRootAs(lite.content, 0)
    entries = [model.Metadata(i) for i in range(model.MetadataLength())]
    (entry,) = [entry for entry in entries if entry.Name() == b"TFLITE_METADATA"]
    return bytes(model.Buffers(entry.Buffer()).DataAsNumpy())


@pytest.fixture(scope="module")
def described(lite):
    return with_metadata(
        lite, name="Net", description="Insects.", version="3", labels=LABELS, mean=[1, 2, 3], std=4
    )


@pytest.fixture(scope="module")
def root(described):
    content = stored(described)
    assert content[4:8] == b"M001"
    return Table(content, struct.unpack_from("<I", content)[0])


def test_the_model_is_named(root):
    assert [root.text(slot) for slot in (0, 1, 2, 7)] == ["Net", "Insects.", "3", "1.0.0"]
    assert not root.has(4)  # no author


def test_an_image_says_how_it_is_normalized(lite, root):
    (subgraph,) = root.tables(3)
    (image,) = subgraph.tables(2)
    assert image.text(0) == "image"
    assert "int8" in image.text(1)
    content, (unit,) = image.table(3), image.tables(4)
    assert content.byte(0) == 2  # ImageProperties
    assert content.table(1).byte(0) == 1  # RGB
    assert unit.byte(0) == 1  # NormalizationOptions
    assert unit.table(1).floats(0) == [1, 2, 3]
    assert unit.table(1).floats(1) == [4, 4, 4]
    ends = [image.table(5).floats(slot)[0] for slot in (1, 0)]
    np.testing.assert_allclose(ends, lite.inputs[0].dequantize(np.int8([-128, 127])), rtol=1e-6)


def test_the_output_has_its_labels_in_the_archive_behind_the_file(described, root):
    (output,) = root.tables(3)[0].tables(3)
    (file,) = output.tables(6)
    assert output.table(3).byte(0) == 1  # FeatureProperties
    assert (file.text(0), file.byte(2)) == ("labels.txt", 2)  # TENSOR_AXIS_LABELS
    with zipfile.ZipFile(io.BytesIO(described.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["labels.txt"]
        assert archive.read("labels.txt").decode().splitlines() == LABELS


@pytest.mark.parametrize("name", ["litert", "tflite-runtime", "tflm"])
def test_every_runtime_computes_the_same(lite, described, name):
    if not runtimes.named(name).available():
        pytest.skip(f"{name} is not installed")
    x = np.random.default_rng(0).integers(-128, 128, (4, 8, 8, 3)).astype("int8")
    outputs = [runtimes.run(name, file.content, [x])[0] for file in (lite, described)]
    np.testing.assert_array_equal(*outputs)


def test_what_is_written_is_read(described):
    found = read_metadata(described)
    assert (found.name, found.description, found.version) == ("Net", "Insects.", "3")
    (image,), (classes,) = found.inputs, found.outputs
    assert (image.name, image.color_space) == ("image", "rgb")
    assert (image.mean, image.std) == ((1, 2, 3), (4, 4, 4))
    assert classes.labels == tuple(LABELS)
    assert classes.minimum == (0,)


def test_a_file_without_metadata_has_none(lite):
    assert read_metadata(lite) is None


def test_metadata_are_replaced_and_always_the_same_bytes(lite, described):
    options = {"name": "Net", "description": "Insects.", "version": "3", "labels": LABELS}
    again = with_metadata(described, **options, mean=[1, 2, 3], std=4)
    assert again.content == described.content
    plain = with_metadata(described)
    assert not zipfile.is_zipfile(io.BytesIO(plain.content))
    assert read_metadata(plain).outputs[0].labels == ()


def test_only_real_numbers_are_normalized(two):
    tokens, extra = read_metadata(with_metadata(two)).inputs
    assert (tokens.name, tokens.mean, tokens.minimum) == ("tokens", (), ())
    assert (extra.name, extra.mean, extra.std, extra.color_space) == ("extra", (0,), (1,), None)


def test_one_channel_is_grayscale(segments):
    assert read_metadata(with_metadata(segments)).inputs[0].color_space == "grayscale"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["a"]}, "1 labels, but output 'classes' has 3"),
        ({"labels": ["a", "", "c"]}, "Label 1 is ''; give one line"),
        ({"labels": ["a", "b", "c\nd"]}, "Label 2 is 'c.nd'; give one line"),
        ({"mean": [1, 2]}, "mean has 2 numbers, but input 'image' has 3 channels"),
        ({"std": [1, 0, 1]}, "std is .* above 0"),
        ({"mean": np.nan}, "mean is nan; .* finite"),
        ({"mean": 1e300}, r"mean is 1e\+300; .* finite in float32"),
        ({"std": 1e-50}, "std is 1e-50; .* above 0 in float32"),
        ({"std": 1e300}, r"std is 1e\+300; .* above 0 in float32"),
        ({"labels": ["a", "b", "\udce9"]}, "Label 2 is .* no Unicode"),
        ({"description": "caf\udce9"}, "description is .* no Unicode"),
    ],
)
def test_what_does_not_fit_is_refused(lite, options, message):
    with pytest.raises(ArgumentError, match=message):
        with_metadata(lite, **options)


def test_labels_for_two_outputs_are_refused(two):
    with pytest.raises(ArgumentError, match="2 outputs; labels are for a file with one"):
        with_metadata(two, labels=["a", "b"])


def test_metadata_that_unfold_to_far_more_than_they_hold_are_refused():
    builder = flatbuffers.Builder()

    def shared(slot, offset, count=300):
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(offset)
        vector = builder.EndVector()
        builder.StartObject(8)
        builder.PrependUOffsetTRelativeSlot(slot, vector, 0)
        return builder.EndObject()

    tensor = shared(4, shared(0, builder.CreateString(""), 1))
    builder.Finish(shared(3, shared(2, tensor)), b"M001")
    start = time.perf_counter()
    with pytest.raises(ValueError, match="share more than they hold"):
        tables.unpack(bytes(builder.Output()))
    assert time.perf_counter() - start < 1


def test_labels_that_unpack_to_too_much_are_refused(described):
    first = described.content.rindex(b"PK\3\4")
    stream = io.BytesIO()
    stream.write(described.content[:first])
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", bytes(20 << 20))
    bomb = LiteModel(stream.getvalue())
    assert bomb.size < 50_000
    with pytest.raises(FileError, match=r"labels unpack to 20,971,520 bytes"):
        read_metadata(bomb)


def test_damaged_metadata_are_refused(described):
    with pytest.raises(FileError, match="metadata of the model are damaged"):
        read_metadata(LiteModel(described.content[:-30]))
    content = stored(described)
    broken = described.content.replace(content, content[:8] + b"\xff" * (len(content) - 8))
    with pytest.raises(FileError, match="are damaged"):
        read_metadata(LiteModel(broken))
