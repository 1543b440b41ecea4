"""The picture of `compare_layers`: one bar a layer."""

import io
import os
from typing import TYPE_CHECKING

from sft_keras import writing

if TYPE_CHECKING:
    from sft_keras.tflite.comparison import LayerComparison

GOOD, POOR, GREY = "#1f5fa8", "#c8641b", "#667788"
POOR_SQNR = 15.0  # dB; the noise has a sixth of the signal's amplitude


def save(comparison: "LayerComparison", path: str | os.PathLike, overwrite: bool) -> None:
    """Draws a comparison.

    Args:
        comparison: what to draw.
        path: a `.png` file to write.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileError: `path` exists, or cannot be written.
    """
    writing.save(path, _draw(comparison), overwrite)


def _draw(comparison: "LayerComparison") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = sorted(comparison.rows, key=lambda row: row.position)
    figure = Figure(figsize=(9, 1.6 + 0.28 * len(rows)), dpi=150)
    figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.1)
    FigureCanvasAgg(figure)  # not pyplot, which may open windows
    axes = figure.subplots()
    values = [row.sqnr for row in rows]
    colors = [POOR if value < POOR_SQNR else GOOD for value in values]
    axes.barh(range(len(rows)), values, 0.7, color=colors)
    for y, value in enumerate(values):
        axes.annotate(
            f"{value:.1f}",
            (value, y),
            (5 if value >= 0 else -5, 0),
            textcoords="offset points",
            ha="left" if value >= 0 else "right",
            va="center",
            fontsize=8,
            color=GREY,
        )
    axes.set_yticks(range(len(rows)), [row.layer for row in rows], fontsize=9)
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first layer on top
    axes.margins(x=0.1)
    axes.set_xlabel(f"SQNR, dB; more is better, orange is below {POOR_SQNR:g}")
    figure.suptitle(_title(comparison), fontsize=12, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#e4e8ee", linewidth=0.8)
    axes.set_axisbelow(True)
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


def _title(comparison: "LayerComparison") -> str:
    if not comparison.rows:
        return "No layer compared"
    lowest, count = comparison.rows[0].sqnr, len(comparison.rows)
    return f"Error of {count} layers over {comparison.samples} samples, {lowest:.1f} dB at worst"
