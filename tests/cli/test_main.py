import io
import os
import subprocess
import sys

import pytest

from sft_keras.cli import main, shrink

COMMANDS = [
    *("compress", "prune", "plan", "shrink", "quantize", "convert"),
    *("verify", "compare", "benchmark", "inspect", "check"),
    *("export-micro", "export-android", "ethos-u"),
]


def test_help_lists_the_commands(cli):
    code, out, _ = cli("--help")
    assert code == 0
    assert {line.split()[0] for line in out.splitlines() if line.startswith("    ")} >= {*COMMANDS}


def test_no_command_shows_the_help_and_fails(cli):
    code, out, err = cli()
    assert code == 2
    assert "compress" in err
    assert not out


def test_unknown_command_is_named(cli):
    code, _, err = cli("squeeze")
    assert code == 2
    assert "'squeeze'" in err


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("compress", "--output_dir"),
        ("prune", "--pruning_ratio"),
        ("shrink", "--overwrite"),
        ("quantize", "--epochs"),
        ("convert", "--dtype"),
        ("verify", "--json"),
        ("compare", "--plot"),
        ("inspect", "IN"),
    ],
)
def test_help_of_a_command_shows_its_flags(cli, command, flag):
    code, out, _ = cli(command, "--help")
    assert code == 0
    assert flag in out
    assert f"sft-keras {command} " in out


def test_flags_of_one_command_are_unknown_to_another(cli):
    code, _, err = cli("shrink", "a.keras", "b.keras", "--epochs=3")
    assert code == 2
    assert "--epochs=3" in err


def test_helpfull_shows_absl_flags(cli):
    code, out, _ = cli("shrink", "--helpfull")
    assert code == 0
    assert "--overwrite" in out
    assert "--flagfile" in out
    assert "--[no]logtostderr" in out


def test_flagfile_holds_flags_of_the_command(cli, tmp_path):
    flagfile = tmp_path / "flags.txt"
    flagfile.write_text("--epochs=0\n")
    code, _, err = cli("prune", f"--flagfile={flagfile}", "a.keras", "b.keras", "--dataset=digits")
    assert code == 2
    assert "argument --epochs: 0 is not a whole number above 0" in err


def test_missing_flagfile_is_named(cli):
    code, _, err = cli("prune", "--flagfile=absent.txt")
    assert code == 2
    assert "absent.txt" in err


def test_flagfile_that_is_no_text_is_refused(cli, tmp_path):
    (tmp_path / "flags.bin").write_bytes(b"\xff\xfe--epochs=3\n")
    code, _, err = cli("prune", f"--flagfile={tmp_path / 'flags.bin'}")
    assert code == 2
    assert "--flagfile is no text" in err


LONG = "a" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", f"{LONG}.keras"),
        ("inspect", f"{LONG}.tflite"),
        ("shrink", "a.keras", f"{LONG}.keras"),
        ("compress", "--dataset=digits", f"--output_dir={LONG}"),
        ("compress", f"--dataset={LONG}", "--output_dir=absent"),
    ],
)
def test_a_path_that_the_system_refuses_is_one_sentence(cli, arguments):
    code, _, err = cli(*arguments)
    assert code == 2
    assert err.startswith("sft-keras: ")
    assert "File name too long" in err
    assert err.count("\n") == 1


def test_refusal_is_one_sentence_with_the_error_s_exit_code(cli, tmp_path):
    code, out, err = cli("shrink", tmp_path / "absent.keras", tmp_path / "out.keras")
    assert code == 2
    assert not out
    assert err.startswith("sft-keras: There is no file")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("Unable to allocate 18 GiB"), "The memory is too small"),
        (PermissionError(13, "Permission denied", "a.keras"), "'a.keras' cannot be used"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_what_the_system_refuses_is_one_sentence(cli, monkeypatch, error, reason):
    def refuse(args):
        raise error

    monkeypatch.setattr(shrink, "run", refuse)
    code, _, err = cli("shrink", "a.keras", "b.keras")
    assert code == 2
    assert err.startswith("sft-keras: ")
    assert reason in err
    assert err.count("\n") == 1


def test_names_are_printed_where_the_terminal_has_no_letters_for_them(monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", write_through=True)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(shrink, "run", lambda args: print("größe_λ"))
    with pytest.raises(SystemExit) as exit_:
        main.run(["sft-keras", "shrink", "a.keras", "b.keras"])
    assert exit_.value.code == 0
    assert out.buffer.getvalue().decode("latin-1") == "größe_\\u03bb\n"


def test_bug_keeps_its_traceback(monkeypatch):
    def crash(args):
        raise RuntimeError("a bug")

    monkeypatch.setattr(shrink, "run", crash)
    with pytest.raises(RuntimeError, match="a bug"):
        main.run(["sft-keras", "shrink", "a.keras", "b.keras"])


def test_process_starts_without_tensorflow_and_leaves_a_clean_terminal(tmp_path, model_file):
    program = (
        "import sys; from sft_keras.cli import main\n"
        "assert not {'tensorflow', 'keras', 'matplotlib'} & set(sys.modules)\n"
        "main.run()"
    )
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, "-c", program, "shrink", model_file, tmp_path / "small.keras"],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "small.keras").exists()
    assert all("filter" in line for line in done.stderr.splitlines()), done.stderr
