"""Files and folders that are written wholly or not at all."""

import contextlib
import os
import stat
from pathlib import Path

import pytest

from sft_keras import writing
from sft_keras.errors import FileError


def test_output_folder_is_filled_at_the_end(tmp_path):
    target = tmp_path / "new" / "out"
    with writing.output_folder(target, overwrite=False) as folder:
        (folder / "a").write_text("a")
        assert not target.exists()
    assert [p.name for p in target.iterdir()] == ["a"]
    assert [p.name for p in tmp_path.iterdir()] == ["new"]
    assert target.stat().st_mode == (tmp_path / "new").stat().st_mode


def test_output_folder_of_a_failed_block_is_not_made(tmp_path):
    def fill():
        with writing.output_folder(tmp_path / "out", overwrite=False) as folder:
            (folder / "a").write_text("a")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        fill()
    assert not list(tmp_path.iterdir())


def test_output_folder_with_files_needs_overwrite(tmp_path):
    (tmp_path / "a").write_text("before")
    (tmp_path / "b").write_text("mine")
    with (
        pytest.raises(FileError, match="is not empty"),
        writing.output_folder(tmp_path, overwrite=False),
    ):
        pass
    with writing.output_folder(tmp_path, overwrite=True) as folder:
        (folder / "a").write_text("after")
    assert (tmp_path / "a").read_text() == "after"
    assert (tmp_path / "b").read_text() == "mine"


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_folder_is_replaced_wholly_or_not_at_all(tmp_path, monkeypatch, count):
    names, target, real, calls = "abc", tmp_path / "out", os.replace, []
    target.mkdir(mode=0o750)
    for name in names:
        (target / name).write_text("before")

    def interrupted(source, destination):
        calls.append(destination)
        if len(calls) == count:
            raise KeyboardInterrupt
        real(source, destination)

    monkeypatch.setattr(writing.os, "replace", interrupted)
    with (
        pytest.raises(KeyboardInterrupt) if count else contextlib.nullcontext(),
        writing.output_folder(target, overwrite=True) as folder,
    ):
        for name in names:
            (folder / name).write_text("after")
    assert {(target / name).read_text() for name in names} == {"before" if count else "after"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o750


def test_the_current_folder_and_a_link_stay_what_they_are(tmp_path, monkeypatch):
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real)
    monkeypatch.chdir(real)
    for target in (Path(), link):
        inode = real.stat().st_ino
        with writing.output_folder(target, overwrite=True) as folder:
            (folder / "a").write_text("a")
            (folder / "b").write_text("b")
        assert link.is_symlink()
        assert real.stat().st_ino == inode
    assert sorted(path.name for path in real.iterdir()) == ["a", "b"]


def test_output_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(FileError, match="is a file"):
        writing.require_free_folder(tmp_path / "out", overwrite=True)
    with pytest.raises(FileError, match="There is no folder"):
        writing.require_free_folder(tmp_path / "out" / "deeper", overwrite=True)


def test_folder_that_nobody_can_write_to_is_refused_before_any_work():
    with pytest.raises(FileError, match="'/proc' cannot be written"):
        writing.require_free_folder("/proc/out", overwrite=False)
