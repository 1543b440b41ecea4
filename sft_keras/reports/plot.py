"""The picture: filters kept per layer, and accuracy and pruned filters over the epochs."""

import io
import os
from typing import TYPE_CHECKING, Any

from sft_keras import writing

if TYPE_CHECKING:
    from sft_keras.reports.report import Report

BEFORE, AFTER, PRUNED, SHADE = "#c3cfdf", "#1f5fa8", "#c8641b", "#f3e3d3"
GREY = "#667788"
PRUNE_PHASE = 0  # what `SoftFilterPrune` logs
BAR = 0.4  # of the distance between two layers


def save(report: "Report", path: str | os.PathLike) -> None:
    """Draws a report.

    Args:
        report: what to draw; it has filters or a history.
        path: a `.png` file to write, or to replace.

    Raises:
        FileError: it cannot be written.
    """
    writing.save(path, draw(report), overwrite=True)


def draw(report: "Report") -> bytes:
    """The picture of a report that has filters or a history, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height = max(5.5, 1.8 + 0.36 * len(report.filters))
    figure = Figure(figsize=(12, height), dpi=150)
    figure.set_layout_engine("constrained", w_pad=0.15, h_pad=0.1)
    FigureCanvasAgg(figure)  # not pyplot, which may open windows
    columns = [("filters", "filters")] if report.filters else []
    if report.history:
        columns.append(("accuracy", "pruned"))
    panels = figure.subplot_mosaic([list(row) for row in zip(*columns, strict=True)])
    if report.filters:
        _draw_filters(panels["filters"], report.filters)
    if report.history:
        _draw_accuracy(panels["accuracy"], report)
        _draw_pruned(panels["pruned"], report.history)
        handles, labels = panels["accuracy"].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower right", ncols=4, frameon=False)
    figure.suptitle(_title(report), fontsize=13, fontweight="bold")
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


def _title(report: "Report") -> str:
    first, last = report.rows[0], report.rows[-1]
    if first is last:
        return f"{first.name}: {first.macs:,} MACs, {first.bytes / 1024:,.1f} KiB"
    macs = f"{first.macs / last.macs:.1f}x fewer MACs" if last.macs else "no MACs"
    change = ""
    if first.accuracy is not None and last.accuracy is not None:
        change = f", accuracy {100 * (last.accuracy - first.accuracy):+.2f} points"
    size = f"{first.bytes / last.bytes:.1f}x smaller file"
    return f"From {first.name} to {last.name}: {macs}, {size}{change}"


def _draw_filters(axes: Any, filters: dict[str, tuple[int, int]]) -> None:
    axes.set_title("Filters kept per layer", loc="left")
    rows = range(len(filters))
    before, after = zip(*filters.values(), strict=True)
    axes.barh([y - BAR / 2 for y in rows], before, BAR, color=BEFORE, label="before")
    axes.barh([y + BAR / 2 for y in rows], after, BAR, color=AFTER, label="after")
    for y, (all_, kept) in enumerate(filters.values()):
        axes.annotate(
            f"{kept} of {all_}",
            (all_, y),
            (5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=GREY,
        )
    axes.set_yticks(rows, filters, fontsize=9)
    axes.set_ylim(len(filters) - 0.4, -0.6)  # the first layer on top
    axes.set_xlabel("filters")
    axes.set_xlim(0, 1.18 * max(before))
    _plain(axes)
    axes.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=9)


def _draw_accuracy(axes: Any, report: "Report") -> None:
    axes.set_title("Held-out accuracy, pruned filters at zero", loc="left")
    axes.set_ylabel("accuracy, %")
    name = next((key for key in report.history if key.startswith("val_") and "acc" in key), None)
    if name:
        values = [100 * value for value in report.history[name]]
        axes.plot(
            _epochs(values), values, color=AFTER, marker="o", markersize=3, label="epoch's end"
        )
    for row, color, style in ((report.rows[0], GREY, "--"), (report.rows[-1], PRUNED, ":")):
        if row.accuracy is not None:
            label = f"{row.name}, {100 * row.accuracy:.2f} %"
            axes.axhline(100 * row.accuracy, color=color, linestyle=style, label=label)
    _shade_prune_phases(axes, report.history)
    _plain(axes)
    axes.set_xlim(0.5, _epoch_count(report.history) + 0.5)


def _draw_pruned(axes: Any, history: dict[str, list[float]]) -> None:
    axes.set_title("Pruned filters", loc="left")
    axes.set_xlabel("epoch")
    axes.set_ylabel("filters")
    values = history.get("pruned_filters", [])
    axes.step(_epochs(values), values, where="mid", color=PRUNED)
    axes.set_ylim(bottom=0)
    axes.set_xlim(0.5, _epoch_count(history) + 0.5)
    _shade_prune_phases(axes, history)
    _plain(axes)


def _shade_prune_phases(axes: Any, history: dict[str, list[float]]) -> None:
    label = "prune phase"
    for epoch, phase in enumerate(history.get("phase", []), start=1):
        if phase == PRUNE_PHASE:
            axes.axvspan(epoch - 0.5, epoch + 0.5, color=SHADE, zorder=0, linewidth=0, label=label)
            label = "_again"  # one legend entry for all of them


def _epoch_count(history: dict[str, list[float]]) -> int:
    return max(map(len, history.values()))


def _epochs(values: list[float]) -> range:
    return range(1, len(values) + 1)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.grid(axis="x" if axes.get_xlabel() == "filters" else "y", color="#e4e8ee", linewidth=0.8)
    axes.set_axisbelow(True)
