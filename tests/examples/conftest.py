"""Runs the example scripts as a user does."""

import os
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"


@pytest.fixture
def python(tmp_path):
    """Runs Python in `tmp_path`, the examples importable; the finished process, output as text."""

    def run(*arguments):
        importable = os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")])
        env = {**os.environ, "PYTHONPATH": importable, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=600
        )

    return run


@pytest.fixture
def example(python):
    """Runs one example, which must succeed; returns what it printed."""

    def run(script, *flags):
        process = python(EXAMPLES / script, *flags)
        assert process.returncode == 0, process.stderr
        return process.stdout

    return run


@pytest.fixture
def refusal(python):
    """Runs one example, which must fail without a traceback; returns the error's text."""

    def run(script, *flags):
        process = python(EXAMPLES / script, *flags)
        assert process.returncode != 0
        assert "Traceback" not in process.stderr
        return process.stderr

    return run


@pytest.fixture
def is_tflite(tmp_path):
    """Whether the file with this name holds a `.tflite` file."""
    return lambda name: (tmp_path / name).read_bytes()[4:8] == b"TFL3"
