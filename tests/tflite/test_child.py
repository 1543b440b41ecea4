import os
import sys
import time
from pathlib import Path

import pytest

from sft_keras.tflite import child


@pytest.fixture
def run_code(tmp_path, monkeypatch):
    """Runs a piece of code as a module in a child process."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])

    def run(code, *arguments, timeout=60):
        (tmp_path / "code_of_child.py").write_text(code)
        child.run("code_of_child", arguments, timeout)

    return run


def test_arguments_arrive(run_code, tmp_path):
    run_code("import sys; open(sys.argv[1], 'w').write('done')", tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_text() == "done"


def test_the_package_is_found_and_loads_no_keras(run_code):
    run_code(
        "import sys, sft_keras.tflite.runtimes; assert not {'keras', 'tensorflow'} & {*sys.modules}"
    )


def test_an_exception_is_reported_with_its_end(run_code):
    with pytest.raises(child.ChildError, match=r"exit code 1: RuntimeError: no such thing$"):
        run_code("raise RuntimeError('no such thing')")


def test_a_crash_is_survived_and_named(run_code):
    code = "import os, sys; print('last words', file=sys.stderr, flush=True); os.abort()"
    with pytest.raises(child.ChildError, match="crashed with SIGABRT: last words"):
        run_code(code)


def test_a_crash_without_words(run_code):
    with pytest.raises(child.ChildError, match=r"crashed with SIGKILL$"):
        run_code("import os; os.kill(os.getpid(), 9)")


def test_logging_noise_is_left_out(run_code):
    code = "import sys; sys.exit('I0000 00:00:1 5505 port.cc:153] chat\\nreal cause')"
    with pytest.raises(child.ChildError, match=r"exit code 1: real cause$"):
        run_code(code)


def test_the_time_limit_ends_the_child(run_code):
    start = time.monotonic()
    with pytest.raises(child.ChildError, match=r"no end after 0\.5 s"):
        run_code("import time; time.sleep(60)", timeout=0.5)
    assert time.monotonic() - start < 30


def is_running(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_the_time_limit_ends_what_the_child_started(run_code, tmp_path):
    code = (
        "import os, sys, time; pid = os.fork()\n"
        "if pid: open(sys.argv[1], 'w').write(str(pid))\n"
        "time.sleep(60)"
    )
    start = time.monotonic()
    with pytest.raises(child.ChildError, match="no end after 2 s"):
        run_code(code, tmp_path / "pid.txt", timeout=2)
    assert time.monotonic() - start < 30
    pid = (tmp_path / "pid.txt").read_text()
    while is_running(pid):
        assert time.monotonic() - start < 30
        time.sleep(0.05)


@pytest.mark.parametrize("timeout", [10**12, 1e300, float("inf")])
def test_a_time_limit_of_any_size(run_code, tmp_path, timeout):
    code = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('ran')"
    run_code(code, tmp_path / "out.txt", timeout=timeout)
    assert (tmp_path / "out.txt").read_text() == "ran"


def test_tfmots_environment_variable_does_not_reach_the_child(run_code, monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "1")
    run_code("import os; assert 'TF_USE_LEGACY_KERAS' not in os.environ")
    assert os.environ["TF_USE_LEGACY_KERAS"] == "1"
