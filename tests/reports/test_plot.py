import numpy as np
import pytest
from PIL import Image

from sft_keras.reports import plot
from sft_keras.reports.measure import Row
from sft_keras.reports.report import Report

ROW = Row("float", 0.5, 10, 20, 30, 0.1, 40)
HISTORY = {"val_accuracy": [0.1, 0.5], "pruned_filters": [2.0, 4.0], "phase": [0.0, 2.0]}
FILTERS = {"conv": (8, 4), "dense": (10, 10)}


@pytest.mark.parametrize(
    ("rows", "filters", "history"),
    [
        ([ROW, ROW], FILTERS, HISTORY),
        ([ROW], FILTERS, {}),
        ([ROW], {}, HISTORY),
        ([ROW], {}, {"loss": [1.0]}),
        (
            [Row("float", None, 0, 0, 30, 0.1, None)] * 2,
            {f"layer{i}": (8, 4) for i in range(60)},
            {},
        ),
    ],
)
def test_picture_of_whatever_there_is(tmp_path, rows, filters, history):
    path = tmp_path / "report.png"
    plot.save(Report(tuple(rows), filters, history), path)
    pixels = np.asarray(Image.open(path).convert("L"))
    assert pixels.shape[1] == 1800
    assert pixels.min() < 100 < 250 < pixels.max()


def test_picture_grows_with_the_layers(tmp_path):
    heights = []
    for count in (4, 40):
        path = tmp_path / f"{count}.png"
        plot.save(Report((ROW,), {f"layer{i}": (8, 4) for i in range(count)}, {}), path)
        heights.append(Image.open(path).height)
    assert heights[1] > 1.5 * heights[0]
