import subprocess

import pytest
from set_up_arm64 import EMULATOR, FOLDER, PYTHON, ROOT, SITE


@pytest.fixture(scope="session")
def arm64_python():
    """A function that runs the ARM64 Python with some arguments and returns what it prints.

    It has numpy and tflite-runtime, and nothing else.
    """
    if not (FOLDER / "ready").exists():
        pytest.fail(f"{FOLDER} is not set up; run `make test-arm`.")

    def run(*arguments):
        command = [EMULATOR, "-L", ROOT, PYTHON, "-S", *arguments]
        environment = {"PYTHONPATH": str(SITE), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [*map(str, command)],
            cwd=ROOT,  # where no package of this repository is found
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        return done.stdout

    return run
