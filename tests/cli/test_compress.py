import contextlib
import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import sft_keras
from sft_keras import backups
from sft_keras.cli import files

WRITTEN = {
    "float.keras",
    "labels.txt",
    "model.tflite",
    "pruned.keras",
    "quantized.keras",
    "report.json",
    "report.md",
    "report.png",
    "report.txt",
    "shrunk.keras",
    "verification.txt",
}


def test_compress_writes_every_stage_and_prints_the_table(cli, tmp_path, model_file, data_file):
    out_folder = tmp_path / "out"
    code, out, err = cli(
        "compress",
        f"--dataset={data_file}",
        f"--model={model_file}",
        f"--output_dir={out_folder}",
        "--epochs=3",
        "--qat_epochs=1",
        "--distill",
    )
    assert code == 0, err
    assert {p.name for p in out_folder.iterdir()} == WRITTEN
    for table in ("report.txt", "verification.txt"):
        assert (out_folder / table).read_text().strip() in out
    assert str(out_folder) in out
    assert (out_folder / "labels.txt").read_text() == "0\n1\n"
    rows = {
        row["name"]: row for row in json.loads((out_folder / "report.json").read_text())["rows"]
    }
    assert list(rows) == ["float", "pruned", "shrunk", "int8"]
    assert rows["int8"]["macs"] < rows["float"]["macs"]
    assert rows["int8"]["bytes"] == (out_folder / "model.tflite").stat().st_size
    assert files.load_model(out_folder / "shrunk.keras").get_layer("conv").filters == 4
    assert sft_keras.LiteModel.load(out_folder / "model.tflite").outputs[0].dtype == "int8"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--dataset=absent"], "There is no dataset 'absent'"),
        (["--dataset=digits", "--model=absent.keras"], "There is no file 'absent.keras'"),
        (["--dataset=digits", "--pruning_ratio=1"], "not a number from 0 up to"),
        (["--dataset=digits", "--image_size=tiny"], "not like 96 or 96x128"),
        ([], "--dataset"),
    ],
)
def test_refusal_leaves_no_folder(cli, tmp_path, arguments, reason):
    code, _, err = cli("compress", *arguments, f"--output_dir={tmp_path / 'out'}")
    assert code == 2
    assert reason in err
    assert not list(tmp_path.iterdir())


def test_folder_with_files_is_refused_before_training(cli, tmp_path):
    (tmp_path / "mine").write_text("")
    code, _, err = cli("compress", "--dataset=digits", f"--output_dir={tmp_path}")
    assert code == 2
    assert "is not empty; choose another or pass --overwrite" in err


def test_default_network_is_refused_for_what_is_no_image(cli, tmp_path, data_file):
    x, y = np.zeros((8, 5)), np.arange(8) % 2
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_val=x, y_val=y)
    code, _, err = cli(
        "compress", f"--dataset={tmp_path / 'data.npz'}", f"--output_dir={tmp_path / 'out'}"
    )
    assert code == 2
    assert "give your own network with --model" in err
    assert not (tmp_path / "out").exists()


def test_second_run_in_one_folder_is_refused(cli, tmp_path, model_file, data_file):
    with sft_keras.Backup(tmp_path / "out.backup"):
        code, _, err = cli(
            *("compress", f"--dataset={data_file}", f"--model={model_file}"),
            f"--output_dir={tmp_path / 'out'}",
        )
    assert code == 2
    assert "Another run is in" in err
    assert not list(tmp_path.iterdir())


def test_cut_off_run_with_other_flags_is_refused_and_kept(cli, tmp_path, model_file, data_file):
    saved = tmp_path / "out.backup" / "prune"
    saved.mkdir(parents=True)
    (saved.parent / backups.LOCK).touch()
    (saved / "settings.json").write_text('{"epochs": 7}')
    (saved / "log.json").write_text('{"epochs": [], "ended": false}')
    code, _, err = cli(
        *("compress", f"--dataset={data_file}", f"--model={model_file}", "--epochs=3"),
        f"--output_dir={tmp_path / 'out'}",
    )
    assert code == 2
    assert "was cut off and had another" in err
    assert (saved / "log.json").exists()


@pytest.mark.parametrize("other", ["batch_size", "image_size", "dataset", "seed"])
def test_cut_off_run_with_other_data_is_refused(cli, tmp_path, model_file, data_file, other):
    settings = {"dataset": str(data_file), "batch_size": 32, "image_size": [96, 96], "seed": 0}
    with contextlib.suppress(KeyboardInterrupt), sft_keras.Backup(tmp_path / "out.backup") as saved:
        saved.training("data", settings | {other: 7})
        (saved.training("prune", {}).folder / backups.LOG).touch()
        raise KeyboardInterrupt
    code, _, err = cli(
        *("compress", f"--dataset={data_file}", f"--model={model_file}"),
        f"--output_dir={tmp_path / 'out'}",
    )
    assert code == 2
    assert f"was cut off and had another {other};" in err


@pytest.fixture
def killed_run(tmp_path, tmp_path_factory):
    """Runs `compress`, kills it at a stage, and runs it again.

    A stage is a pattern of files of its backup, or what the command says when it begins.
    """
    printed = tmp_path_factory.mktemp("printed") / "stderr"

    def run(stage, *flags):
        command = [sys.executable, "-c", "from sft_keras.cli.main import run; run()", "compress"]
        command += [f"--output_dir={tmp_path / 'out'}", *flags]
        with printed.open("w") as stderr:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
            while process.poll() is None and not (
                list((tmp_path / "out.backup").glob(stage)) or stage in printed.read_text()
            ):
                time.sleep(0.02)
            process.kill()
            assert process.wait() == -signal.SIGKILL, printed.read_text()
        assert not (tmp_path / "out").exists()
        logs = (tmp_path / "out.backup").glob("*/log.json")
        before = {path.parent.name: json.loads(path.read_text())["epochs"] for path in logs}
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
        assert {path.name for path in (tmp_path / "out").iterdir()} == WRITTEN
        assert [path.name for path in tmp_path.iterdir()] == ["out"]
        return before, done.stderr

    return run


STAGES = (
    "prune/after_*",
    "prune/log.json",
    "quantize/log.json",
    "Converting to int8",
    "Verifying on",
    "Measuring every",
)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_killed_run_goes_on(killed_run, tmp_path, model_file, data_file, stage):
    flags = [f"--dataset={data_file}", f"--model={model_file}", "--epochs=6", "--qat_epochs=3"]
    before, _ = killed_run(stage, *flags)
    history = json.loads((tmp_path / "out/report.json").read_text())["history"]
    assert len(history["loss"]) == 6
    kept = [logs["loss"] for logs in before["prune"][:-1]]
    assert history["loss"][: len(kept)] == kept


@pytest.mark.slow
def test_run_killed_while_its_own_network_is_trained_goes_on(killed_run):
    flags = ["--dataset=digits", "--train_epochs=9", "--epochs=2", "--qat_epochs=1"]
    before, stderr = killed_run("train/after_*", *flags)
    assert 0 < len(before["train"]) < 9
    assert re.search(r"Going on after epoch \d+, saved in '.*train'", stderr)
