"""examples/spoken_digits.py"""

import os
import re
import shutil
import tarfile
import wave

import numpy as np
import pytest

RATE = 8000

# Prints what `load` makes of each path: the shapes, range and words, or the error.
LOAD = """
import pathlib, sys
import numpy as np
import spoken_digits
for path in sys.argv[1:]:
    try:
        x_train, y_train, x_test, y_test, words = spoken_digits.load(pathlib.Path(path))
        print(path, x_train.shape, x_test.shape, np.isfinite(x_train).all(), x_train.min(), *words)
    except (OSError, ValueError) as error:
        print(path, error)
"""


def write_wav(path, pitch, rate=RATE, channels=1, seconds=0.5):
    tone = 8000 * np.sin(2 * np.pi * pitch * np.arange(int(rate * seconds) * channels) / rate)
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, 2, rate, 0, "NONE", ""))
        file.writeframes(tone.astype("<i2").tobytes())


@pytest.fixture
def recordings(tmp_path):
    """Two words of two speakers, twelve recordings each, the first five of them for testing."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for word, pitch in (("high", 2000), ("low", 300)):
        for speaker in ("ann", "bob"):
            for index in range(12):
                write_wav(folder / f"{word}_{speaker}_{index}.wav", pitch + 10 * index)
    return folder


@pytest.fixture
def with_wav(recordings, tmp_path):
    """A copy of the recordings, in a folder of this name, with one more."""

    def copy(folder, name, **how):
        shutil.copytree(recordings, tmp_path / folder)
        write_wav(tmp_path / folder / name, pitch=300, **how)
        return folder

    return copy


def test_an_archive_becomes_a_tflite_file_and_a_table(recordings, example, is_tflite, tmp_path):
    with tarfile.open(tmp_path / "words.tar.gz", "w:gz") as archive:
        archive.add(recordings, "words")
    flags = ("--data=words.tar.gz", "--out=out", "--epochs=2", "--qat_epochs=1")
    printed = example("spoken_digits.py", *flags)
    assert is_tflite("out/model.tflite")
    assert (tmp_path / "out" / "labels.txt").read_text() == "high\nlow\n"
    table = printed[printed.rindex("float ") :]
    float_macs, pruned_macs = (int(n.replace(",", "")) for n in re.findall("([0-9,]+) MACs", table))
    assert pruned_macs < float_macs / 2
    assert "accuracy" in table


def test_load_takes_odd_recordings_and_names_those_it_cannot_use(with_wav, python, tmp_path):
    (tmp_path / "empty").mkdir()
    odd = [
        with_wav("silent", "low_ann_12.wav", seconds=0),
        with_wav("long", "low_ann_12.wav", seconds=3),
        with_wav("one", "low_12.wav"),
        with_wav("fast", "low_ann_12.wav", rate=16000),
        with_wav("stereo", "low_ann_13.wav", channels=2),
        with_wav("name", "low.wav"),
        "empty",
    ]
    process = python("-c", LOAD, *odd)
    assert process.returncode == 0, process.stderr
    silent, long, one, fast, stereo, name, empty = process.stdout.splitlines()
    for line in (silent, long, one):
        assert line.endswith("(29, 32, 32, 1) (20, 32, 32, 1) True -1.0 high low")
    assert "low_ann_12.wav is not mono, 16 bits, 8000 Hz" in fast
    assert "low_ann_13.wav is not mono" in stereo
    assert "low.wav is not named" in name
    assert "needs WAV files" in empty


@pytest.mark.parametrize("name", ["nowhere", "broken.tar.gz"])
def test_it_refuses_what_it_cannot_read(refusal, tmp_path, name):
    (tmp_path / "broken.tar.gz").write_bytes(b"\x1f\x8b broken")
    printed = refusal("spoken_digits.py", f"--data={name}", "--out=out")
    assert f"--data={name} cannot be used: " in printed
    assert not (tmp_path / "out").exists()


def test_it_does_not_replace_a_folder(refusal, recordings):
    assert "recordings exists" in refusal("spoken_digits.py", "--data=x", f"--out={recordings}")


# Reads damaged copies of a recording; prints how many were sound enough, and what the others are.
READ_DAMAGED = """
import pathlib, sys
import numpy as np
import spoken_digits
sound, rng = pathlib.Path(sys.argv[1]).read_bytes(), np.random.default_rng(0)
read, messages = 0, set()
for number in range(int(sys.argv[2])):
    content = bytearray(sound)
    for place in rng.integers(48 if number % 2 else len(sound), size=rng.integers(1, 6)):
        content[place] = rng.integers(256)
    if number % 3 == 0:
        del content[rng.integers(len(content)):]
    try:
        second = spoken_digits.read_second("a.wav", bytes(content))
        assert second.shape == (8000,) and np.isfinite(second).all()
        read += 1
    except ValueError as error:
        messages.add(str(error))
assert all(text.startswith("a.wav is not ") and "\\n" not in text for text in messages), messages
print(read, len(messages))
"""


def test_damaged_recordings_are_read_or_named(recordings, python):
    count = os.environ.get("SFT_BROKEN_FILES", "2000")
    process = python("-c", READ_DAMAGED, str(recordings / "low_ann_0.wav"), count)
    assert process.returncode == 0, process.stderr
    read, refused = map(int, process.stdout.split())
    assert read > 0 < refused
