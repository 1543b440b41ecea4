"""Memory, measured in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[1] / "load_process.py"


def measured(*arguments):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_three_hundred_million_parameters_take_three_times_their_size():
    found = measured("huge")
    assert found["parameters"] > 300e6
    assert found["left"] < 110e6
    assert found["times_its_size"] < 3


def test_a_thousand_calls_of_shrink_add_no_more_memory_than_copies_by_keras():
    found = measured("many", 1000)
    assert found["megabytes"] < 1.5 * found["megabytes_of_clones"] + 1
