"""Damaged files: whatever reads one either reads it or says in a sentence what is wrong.

SFT_BROKEN_FILES=10000 python -m pytest tests/tflite/test_broken_files.py
"""

import functools
import os
import time

import numpy as np
import pytest

from sft_keras import android, check, micro
from sft_keras.errors import SftKerasError
from sft_keras.micro import firmware
from sft_keras.tflite import LiteModel, gate, lite_cost, profiling, runtimes, speed, targets

FILES = int(os.environ.get("SFT_BROKEN_FILES", "400"))
EXTREMES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
SECONDS = 5.0  # that one file may take; a sound one takes milliseconds
READERS = {
    "read": lambda lite: (lite.file, lite.inputs, lite.outputs, repr(lite)),
    "gate": lambda lite: gate.findings(lite, gate.promise_of(lite)),
    "cost": lambda lite: (lite_cost.macs(lite), lite_cost.params(lite)),
    "check": lambda lite: [str(check(lite, name)) for name in targets.names()],
    "metadata": android.read_metadata,
    "with_metadata": android.with_metadata,
    "memory": micro.memory_by_operator,
}
SLOW_READERS = {
    "profile": lambda lite, folder: profiling.profile(lite),
    "android": lambda lite, folder: android.export(lite, folder / "app", overwrite=True),
    "micro": lambda lite, folder: micro.export(lite, folder / "firmware", overwrite=True),
}
EACH = 8  # how many files there are to one that the slow ones read too


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


def in_folder(readers, folder):
    return {name: functools.partial(read, folder=folder) for name, read in readers.items()}


DAMAGES = (shortened, with_other_bytes, with_an_extreme_number, with_noise)


@pytest.fixture
def nothing_runs(monkeypatch):
    """What would run a file in a child process gives made-up numbers instead."""

    def zeros(name, content, inputs):
        count = len(inputs[0])
        return [np.zeros((count, *y.shape[1:]), y.dtype) for y in LiteModel(content).outputs]

    monkeypatch.setattr(runtimes, "run", zeros)
    monkeypatch.setattr(firmware, "arena_size", lambda lite: 16)
    timing = speed.Timing(1.0, 1.0, 1.0)
    monkeypatch.setattr(profiling, "latency", lambda models, *_: dict.fromkeys(models, timing))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_read_or_refused_in_a_sentence(qat_lite, damage, nothing_runs, tmp_path):
    sound = android.with_metadata(qat_lite, labels=["a", "b", "c"])
    rng = np.random.default_rng(0)
    messages = []
    for number in range(FILES // len(DAMAGES)):
        content = bytes(damage(bytearray(sound.content), rng))
        start = time.perf_counter()
        slow = SLOW_READERS if number % EACH == 0 else {}
        for name, read in {**READERS, **in_folder(slow, tmp_path)}.items():
            try:
                read(LiteModel(content, "broken.tflite"))
            except SftKerasError as error:
                messages.append(str(error))
            except Exception as error:
                pytest.fail(f"{name} of file {number} raised {type(error).__name__}: {error}")
        assert time.perf_counter() - start < SECONDS
    assert messages
    assert all("broken.tflite" in message for message in messages)
