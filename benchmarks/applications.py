"""Prunes and shrinks every constructor of keras.applications and tf_keras.applications.

    nice -n 5 python benchmarks/applications.py > applications.log
    python benchmarks/applications.py --library=keras --models='ResNet*,VGG16' --max_params=3e7

Each model gets random weights, biases, γ, β and statistics, loses half of each layer's filters that
can go, and is shrunk, with `shrink`'s own proof. One row a model, as a Markdown table; what failed
is listed at the end, and the exit code is then 1.
"""

import fnmatch
import re
from collections import Counter
from typing import Any

import every_application
import stages
from absl import app
from networks import randomize

from sft_keras import channel_groups, cost, mask, plan, shrink

RATIO = 0.5
LOST_AT_LEAST = {"ConvNeXt*": 0.4, "*": 0.6}
"""The share of MACs that must go; LayerNormalization freezes the residual stream of ConvNeXt."""

COLUMNS = [
    *("filters prunable", "frozen", "MACs before", "after", "lost"),
    *("analysis s", "rebuild s", "proof s", "GB", "frozen because"),
]


def measure(model: Any) -> dict:
    """Shrinks the model; filters, MACs and seconds."""
    randomize(model)
    mask(model, plan(model, RATIO, criterion="l1"))
    with stages.timed() as seconds:
        small = shrink(model)
    reasons: Counter[str] = Counter()
    for group in channel_groups(model):
        reasons[re.sub("'[^']*'", "…", group.reason)] += group.filters
    return {
        "prunable": reasons.pop("", 0),
        "reasons": dict(reasons.most_common()),
        "macs": [cost(model).macs, cost(small).macs],
        "seconds": seconds,
    }


def cells(found: dict) -> list:
    """A row of the table."""
    before, after = found["macs"]
    seconds = (f"{found['seconds'][stage]:.1f}" for stage in ("analysis", "rebuild", "proof"))
    reasons = "; ".join(f"{count} {reason}" for reason, count in found["reasons"].items())
    return [
        *(found["prunable"], sum(found["reasons"].values())),
        *(f"{before / 1e6:,.1f} M", f"{after / 1e6:,.1f} M", f"{1 - after / before:.1%}"),
        *(*seconds, f"{found['gigabytes']:.1f}", reasons),
    ]


def problem(name: str, found: dict) -> str:
    """Why a measured row counts as failed, or an empty string."""
    before, after = found["macs"]
    least = next(x for pattern, x in LOST_AT_LEAST.items() if fnmatch.fnmatchcase(name, pattern))
    lost = 1 - after / before
    return "" if lost >= least else f"loses {lost:.1%} of its MACs, less than {least:.0%}"


if __name__ == "__main__":
    app.run(lambda _: every_application.run(COLUMNS, measure, cells, problem))
