"""Damaged files: whatever reads one either reads it or says in a sentence what is wrong.

SFT_BROKEN_FILES=10000 python -m pytest tests/tflite/test_broken_files.py
"""

import os
import time

import numpy as np
import pytest

from sft_keras import android, check
from sft_keras.errors import SftKerasError
from sft_keras.tflite import LiteModel, gate, lite_cost, targets

FILES = int(os.environ.get("SFT_BROKEN_FILES", "400"))
EXTREMES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
SECONDS = 5.0  # that one file may take; a sound one takes milliseconds
READERS = {
    "read": lambda lite: (lite.file, lite.inputs, lite.outputs, repr(lite)),
    "gate": lambda lite: gate.findings(lite, gate.promise_of(lite)),
    "cost": lambda lite: (lite_cost.macs(lite), lite_cost.params(lite)),
    "check": lambda lite: [str(check(lite, name)) for name in targets.names()],
    "metadata": android.read_metadata,
}


def shortened(content, rng):
    return content[: rng.integers(len(content))]


def with_other_bytes(content, rng):
    for place in rng.integers(len(content), size=rng.integers(1, 6)):
        content[place] = rng.integers(256)
    return content


def with_an_extreme_number(content, rng):
    place = rng.integers(len(content) - 4)
    content[place : place + 4] = int(rng.choice(EXTREMES)).to_bytes(4, "little")
    return content


def with_noise(content, rng):
    first, last = sorted(rng.integers(len(content), size=2))
    content[first:last] = rng.bytes(last - first)
    return content


DAMAGES = (shortened, with_other_bytes, with_an_extreme_number, with_noise)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_read_or_refused_in_a_sentence(qat_lite, damage):
    sound = android.with_metadata(qat_lite, labels=["a", "b", "c"])
    rng = np.random.default_rng(0)
    messages = []
    for number in range(FILES // len(DAMAGES)):
        content = bytes(damage(bytearray(sound.content), rng))
        start = time.perf_counter()
        for name, read in READERS.items():
            try:
                read(LiteModel(content, "broken.tflite"))
            except SftKerasError as error:
                messages.append(str(error))
            except Exception as error:
                pytest.fail(f"{name} of file {number} raised {type(error).__name__}: {error}")
        assert time.perf_counter() - start < SECONDS
    assert messages
    assert all("broken.tflite" in message for message in messages)
