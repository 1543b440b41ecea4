import pytest

from sft_keras.errors import MissingExtraError, UnsupportedError
from sft_keras.tflite import arena, arena_process, arena_size

pytest.importorskip("tflite_micro")


def test_the_smallest_arena_runs_and_sixteen_bytes_less_do_not(qat_lite):
    size = arena_size(qat_lite)
    assert size % 16 == 0
    assert 1000 < size < 20_000  # the largest layer alone holds 8 x 8 x (1 + 4) bytes
    assert arena_process.fits(qat_lite.content, size)
    assert not arena_process.fits(qat_lite.content, size - 16)


def test_a_file_that_tflite_micro_aborts_on_has_no_arena(aborting):
    with pytest.raises(UnsupportedError, match="crashed with SIGABRT"):
        arena_size(aborting)


def test_without_tflite_micro_the_message_tells_how_to_get_it(qat_lite, monkeypatch):
    monkeypatch.setattr(arena.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install"):
        arena_size(qat_lite)
