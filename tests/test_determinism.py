"""The same seed gives the same masks and the same files, whichever process made them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "determinism_process.py"


def made_by_a_process(library, hash_seed):
    """What a fresh process makes; sets of strings have another order in each."""
    ended = subprocess.run(
        [sys.executable, str(SCRIPT), library],
        env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_two_fresh_processes_make_the_same_masks_and_files(library):
    first, second = (made_by_a_process(library, seed) for seed in (1, 2))
    assert first["mask"]
    assert first == second
