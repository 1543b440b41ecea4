"""Files and folders that are written wholly or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sft_keras.errors import FileError


def save(path: str | os.PathLike, content: bytes, overwrite: bool) -> None:
    """Writes a file.

    Args:
        path: where to; its folder must exist.
        content: its bytes.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileError: `path` exists, or cannot be written.
    """
    path = Path(path)
    if path.exists() and not overwrite:
        raise FileError(f"'{path}' exists; pass overwrite=True or give another path.")
    try:
        _write_atomically(path, content)
    except OSError as error:
        raise FileError(
            f"'{path}' cannot be written ({error.strerror}); give a path in an existing folder "
            "that you may write to."
        ) from error


def _write_atomically(path: Path, content: bytes) -> None:
    # In the same folder, so that the rename neither copies nor leaves a part.
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def output_folder(path: str | os.PathLike, overwrite: bool) -> Iterator[Path]:
    """Yields a temporary folder whose files move to `path` if the block succeeds.

    A folder that is new, or whose files are all replaced, is filled wholly or not at all. Where
    files of other names stay, or the folder itself has to (the current one, a mount, a link, one in
    a folder that nobody may write to), each file is replaced wholly, one after the other.

    Args:
        path: the folder to fill; it may exist if it is empty or `overwrite` is true.
        overwrite: whether files of the same names may be replaced; others stay.

    Raises:
        FileError: the folder has files already, or it cannot be written.
    """
    target = Path(path)
    require_free_folder(target, overwrite)
    parent = target.parent if _may_be_swapped(target) else _existing_parent(target)
    staging = Path(tempfile.mkdtemp(prefix=".sft-keras-", dir=parent))
    try:
        yield staging
        _move(staging, target)
    except OSError as error:
        raise FileError(f"'{path}' cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _move(staging: Path, target: Path) -> None:
    """Puts the files in place: all at once, or one by one among others that stay."""
    new = {file.name for file in staging.iterdir()}
    if not target.exists():
        target.mkdir(parents=True)
    elif (
        len(new) == 1  # which is replaced all at once
        or not _may_be_swapped(target)
        or not {file.name for file in target.iterdir()} <= new
    ):
        for name in new:
            os.replace(staging / name, target / name)
        return
    staging.chmod(target.stat().st_mode)  # a temporary folder is its owner's alone
    _swap(staging, target)


def _may_be_swapped(target: Path) -> bool:
    """Whether another folder may take the place of one that is there."""
    return (
        target.is_dir()
        and not target.is_symlink()
        and not os.path.ismount(target)
        and os.access(target.parent, os.W_OK)
        and not Path.cwd().is_relative_to(target.resolve())
    )


def _swap(staging: Path, target: Path) -> None:
    # What a kill leaves is the old folder under this name, or the new one whole.
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    try:
        os.replace(target, old)
        os.replace(staging, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def require_free_folder(path: str | os.PathLike, overwrite: bool) -> None:
    """Refuses a folder that has files already, unless `overwrite`, or that cannot be written.

    Raises:
        FileError: names the folder and the way out.
    """
    target = Path(path)
    if target.exists() and not target.is_dir():
        raise FileError(f"Output folder '{path}' is a file; choose another name.")
    if target.is_dir() and any(target.iterdir()) and not overwrite:
        raise FileError(
            f"Folder '{path}' is not empty; choose another or pass --overwrite (overwrite=True)."
        )
    require_writable_folder(_existing_parent(target))


def _existing_parent(path):
    return next((p for p in (path, *path.parents) if p.exists()), Path())


def require_writable_folder(folder: Path) -> None:
    """Refuses a folder that is missing or that no file can be made in."""
    if not folder.is_dir():
        raise FileError(f"There is no folder '{folder}'; create it first.")
    try:  # asking for permissions is not enough: root has them even where nothing can be written
        tempfile.TemporaryDirectory(prefix=".sft-keras-", dir=folder).cleanup()
    except OSError as error:
        raise FileError(
            f"Folder '{folder}' cannot be written; choose another or change its mode."
        ) from error
