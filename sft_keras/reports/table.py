"""Rows as text and as Markdown."""

from collections.abc import Sequence

from sft_keras.reports.measure import Row

HEAD = ("", "accuracy", "parameters", "MACs", ".tflite bytes", "latency ms", "TFLM arena bytes")
MISSING = "n/a"


def text(rows: Sequence[Row]) -> str:
    """An aligned table with one line a model."""
    lines = [HEAD, *map(_cells, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(_aligned(cells, widths) for cells in lines)


def markdown(rows: Sequence[Row]) -> str:
    """The same as a Markdown table."""
    rule = ("---", *["---:"] * (len(HEAD) - 1))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEAD, rule, *map(_cells, rows)))


def _aligned(cells, widths):
    first, *others = (
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *others])


def _cells(row):
    return (
        row.name,
        MISSING if row.accuracy is None else f"{100 * row.accuracy:.2f} %",
        f"{row.params:,}",
        f"{row.macs:,}",
        f"{row.bytes:,}",
        f"{row.latency_ms:.3f}",
        MISSING if row.arena_bytes is None else f"{row.arena_bytes:,}",
    )
