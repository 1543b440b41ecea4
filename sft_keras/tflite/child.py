"""Runs one of the package's modules in a child process, so that its crash is survived.

The TFLite converter and the runtimes are C++ that ends the whole process on what it does not
expect.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
STDERR_LINES = 8
LONGEST = 1e6  # seconds: eleven days, for the system takes no number as large as one likes
# Information and warnings of TensorFlow's C++, its error where no GPU is, a traceback's frames.
NOISE = re.compile(r"^(WARNING|INFO|[IW]\d{4} |\d{4}-\d\d-\d\d.*: [IW] |Traceback| )|cuInit")


class ChildError(Exception):
    """A child process that did not end well; the message says how, with the end of its stderr."""


def run(module: str, arguments: Sequence[str | Path], timeout: float) -> None:
    """Runs `python -m module arguments...` and waits for its end.

    Args:
        module: full name of the module.
        arguments: the command line; paths must be absolute.
        timeout: seconds after which the child is killed.

    Raises:
        ChildError: the child failed, crashed or ran out of time.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    # An empty folder to start in: `python -m` puts it first on the path.
    with (
        tempfile.TemporaryDirectory(prefix="sft_keras_") as folder,
        subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that it can be ended with all that it starts
        ) as child,
    ):
        try:
            _, stderr = child.communicate(timeout=min(timeout, LONGEST))
        except subprocess.TimeoutExpired as error:
            _kill(child)
            raise ChildError(f"no end after {timeout:g} s{_end_of(error.stderr)}") from error
        except BaseException:  # Ctrl-C reaches no other session
            _kill(child)
            raise
    if child.returncode:
        raise ChildError(f"{_how_it_ended(child.returncode)}{_end_of(stderr)}")


def _kill(child: subprocess.Popen) -> None:
    """Ends a child and the processes that it started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError):  # all have ended already
            os.killpg(child.pid, signal.SIGKILL)
    else:
        child.kill()
    child.wait()


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    # The parent may have found the package through its own sys.path only.
    paths = [str(PACKAGE_PARENT), *filter(os.path.isabs, sys.path)]
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    # TFMOT sets this one in the parent; the child needs no Keras at all.
    environment.pop("TF_USE_LEGACY_KERAS", None)
    environment["CUDA_VISIBLE_DEVICES"] = "-1"  # a GPU would only cost seconds
    environment["TF_CPP_MIN_LOG_LEVEL"] = "2"
    environment["PYTHONWARNINGS"] = "ignore"
    return environment


def _how_it_ended(returncode: int) -> str:
    if returncode < 0:
        return f"crashed with {signal.Signals(-returncode).name}"
    return f"failed with exit code {returncode}"


def _end_of(stderr: bytes | None) -> str:
    lines = (stderr or b"").decode(errors="replace").splitlines()
    telling = [line.strip() for line in lines if line.strip() and not NOISE.search(line)]
    return f": {' | '.join(telling[-STDERR_LINES:])}" if telling else ""
