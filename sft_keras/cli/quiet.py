"""Keeps the terminal to what concerns the user."""

import contextlib
import logging as standard_logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from absl import logging

PACKAGE = Path(__file__).resolve().parents[1]
LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def log_plainly() -> None:
    """Lets absl log plain lines: this package's progress, and the errors of others.

    Keras' warnings, about ignored options of `fit` and the like, are not about what the user gave.
    """
    warnings.filterwarnings("ignore", category=UserWarning)
    handler = logging.get_absl_handler()
    handler.setFormatter(standard_logging.Formatter("%(message)s"))
    handler.addFilter(_concerns_user)


def _concerns_user(record: standard_logging.LogRecord) -> bool:
    ours = Path(record.pathname).is_relative_to(PACKAGE)
    return ours or record.levelno >= standard_logging.ERROR


def import_tensorflow() -> None:
    """Imports TensorFlow without the lines its C++ code writes before it knows its log level.

    With `TF_CPP_MIN_LOG_LEVEL` set in the environment nothing is held back.
    """
    if LEVEL in os.environ:
        return
    os.environ[LEVEL] = "3"
    with _stderr_held_back():
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Sends file descriptor 2 to a temporary file, and shows that only if the block fails."""
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        except BaseException:
            held_back.seek(0)
            os.write(terminal, held_back.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
