import dataclasses
import io
import json

import keras
import numpy as np
import pytest

import sft_keras
from sft_keras.errors import DataError, FileError
from sft_keras.reports import plot
from sft_keras.reports.measure import accuracy
from sft_keras.reports.report import FILES

X = np.tile(np.eye(4, dtype="float32"), (2, 1))
Y = np.array([0, 1, 2, 3, 0, 1, 2, 0])  # the last one is not what an identity says


def identity(units=4):
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(units, use_bias=False, name="hidden"),
            keras.layers.Dense(4, use_bias=False, name="out"),
        ]
    )
    model.set_weights([np.eye(4, units), 2 * np.eye(units, 4)])
    return model


@pytest.fixture(scope="module")
def models():
    wide = identity(8)
    lite = sft_keras.convert(identity(), X)
    return {"wide": wide, "narrow": identity(), "int8": lite}


@pytest.fixture(scope="module")
def report(models):
    return sft_keras.report(models, (X, Y), history={"pruned_filters": [2, np.float32(4)]})


def test_accuracy_is_that_of_each_model(report):
    assert [row.name for row in report.rows] == ["wide", "narrow", "int8"]
    assert [row.accuracy for row in report.rows] == [7 / 8] * 3


def test_costs_are_those_of_each_model(report, models):
    assert [row.params for row in report.rows] == [64, 32, 32]
    assert [row.macs for row in report.rows] == [64, 32, 32]
    assert report["int8"].bytes == len(models["int8"].content)
    assert report["narrow"].bytes < report["wide"].bytes
    assert all(row.latency_ms > 0 for row in report.rows)


def test_filters_are_those_of_the_first_and_the_last_keras_model(report):
    assert report.filters == {"hidden": (8, 4), "out": (4, 4)}


@pytest.mark.parametrize(
    ("y", "expected"), [(Y, 7 / 8), (Y[:, None], 7 / 8), (np.eye(4)[Y], 7 / 8)]
)
def test_labels_may_be_numbers_or_one_hot(y, expected):
    assert accuracy(identity(), (X, y)) == expected


def test_accuracy_is_none_without_labels_and_where_there_are_no_classes():
    assert accuracy(identity(), X) is None
    assert accuracy(identity(), (X, X + 0.5)) is None
    images = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(3, 1)])
    assert accuracy(images, (np.zeros((2, 4, 4, 2)), np.zeros((2, 4, 4), int))) is None


def test_save_writes_text_markdown_json_and_picture(report, tmp_path):
    report.save(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == set(FILES)
    assert (tmp_path / "report.txt").read_text() == f"{report}\n"
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved == report.to_dict()
    assert saved["history"] == {"pruned_filters": [2.0, 4.0]}
    assert (tmp_path / "report.png").read_bytes()[:4] == b"\x89PNG"


def test_save_replaces_only_when_told(report, tmp_path):
    (tmp_path / "report.md").write_text("before")
    with pytest.raises(FileError, match=r"report\.md' exists"):
        report.save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["report.md"]
    report.save(tmp_path, overwrite=True)
    assert (tmp_path / "report.md").read_text() != "before"


def test_a_full_disk_leaves_the_files_as_they_were(report, tmp_path, full_disk):
    report.save(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with full_disk(), pytest.raises(FileError, match=r"report\.txt' cannot be written"):
        report.save(tmp_path, overwrite=True)
    with full_disk(), pytest.raises(FileError, match=r"report\.png' cannot be written"):
        plot.save(report, tmp_path / "report.png")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_save_writes_utf_8_in_any_locale(report, tmp_path, monkeypatch):
    monkeypatch.setattr(io, "text_encoding", lambda given, *_: given or "ascii")
    row = dataclasses.replace(report.rows[0], name="größer")
    dataclasses.replace(report, rows=(row,)).save(tmp_path)
    assert "größer" in (tmp_path / "report.txt").read_text(encoding="utf-8")


def test_save_into_a_missing_folder_is_refused(report, tmp_path):
    with pytest.raises(FileError, match="cannot be written"):
        report.save(tmp_path / "absent")


def test_no_models_and_no_data_are_refused(models):
    with pytest.raises(DataError, match="nothing to report on"):
        sft_keras.report({}, X)
    with pytest.raises(DataError, match="no samples"):
        sft_keras.report(models, X[:0])
