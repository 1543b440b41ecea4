"""Prunes and shrinks every constructor of keras.applications and tf_keras.applications.

    nice -n 5 python benchmarks/applications.py > applications.log
    python benchmarks/applications.py --library=keras --models='ResNet*,VGG16' --max_params=3e7

Each model gets random weights, biases, γ, β and statistics, loses half of each layer's filters that
can go, and is shrunk, with `shrink`'s own proof. One row a model, as a Markdown table; what failed
is listed at the end, and the exit code is then 1. Each model has a process of its own.
"""

import fnmatch
import inspect
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections import Counter

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import stages
import tf_keras
from absl import app, flags
from networks import randomize
from tqdm import tqdm

from sft_keras import channel_groups, cost, mask, plan, shrink

LIBRARIES = {"keras": keras, "tf_keras": tf_keras}
RATIO = 0.5
LOST_AT_LEAST = {"ConvNeXt*": 0.4, "*": 0.6}
"""The share of MACs that must go; LayerNormalization freezes the residual stream of ConvNeXt."""

FLAGS = flags.FLAGS
flags.DEFINE_list("library", list(LIBRARIES), "The libraries whose models are taken.")
flags.DEFINE_list("models", ["*"], "Names or patterns of constructors.")
flags.DEFINE_float("max_params", float("inf"), "Leave out models with more weights.")
flags.DEFINE_integer("size", 96, "Height and width of the input images.")
flags.DEFINE_integer("limit", 3600, "Seconds that one model may take.")
flags.DEFINE_string("one", "", "Measure only this, as 'keras.VGG16', and print it as JSON.")

HEAD = (
    "| library | model | params | filters prunable | frozen | MACs before | after | lost "
    "| analysis s | rebuild s | proof s | GB | frozen because |"
)


def constructors() -> list[str]:
    """What the flags ask for, as `keras.VGG16`."""
    return [
        f"{library}.{name}"
        for library in FLAGS.library
        for name, function in inspect.getmembers(LIBRARIES[library].applications)
        if inspect.isfunction(function)
        and any(fnmatch.fnmatchcase(name, pattern) for pattern in FLAGS.models)
    ]


def measure(library: str, name: str) -> dict:
    """One row of the table; only the `params` of a model that is too large."""
    constructor = getattr(LIBRARIES[library].applications, name)
    model = constructor(weights=None, classes=10, input_shape=(FLAGS.size, FLAGS.size, 3))
    if model.count_params() > FLAGS.max_params:
        return {"params": model.count_params()}
    randomize(model)
    mask(model, plan(model, RATIO, criterion="l1"))
    with stages.timed() as seconds:
        small = shrink(model)
    reasons: Counter[str] = Counter()
    for group in channel_groups(model):
        reasons[re.sub("'[^']*'", "…", group.reason)] += group.filters
    return {
        "params": model.count_params(),
        "prunable": reasons.pop("", 0),
        "reasons": dict(reasons.most_common()),
        "macs": [cost(model).macs, cost(small).macs],
        "seconds": seconds,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }


def row(library: str, name: str, found: dict) -> str:
    """A line of the table."""
    before, after = found["macs"]
    seconds = (f"{found['seconds'][stage]:.1f}" for stage in ("analysis", "rebuild", "proof"))
    reasons = "; ".join(f"{count} {reason}" for reason, count in found["reasons"].items())
    cells = [
        *(library, name, f"{found['params']:,}", found["prunable"], sum(found["reasons"].values())),
        *(f"{before / 1e6:,.1f} M", f"{after / 1e6:,.1f} M", f"{1 - after / before:.1%}"),
        *(*seconds, f"{found['gigabytes']:.1f}", reasons),
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def problem(name: str, found: dict) -> str:
    """Why a measured row counts as failed, or an empty string."""
    before, after = found["macs"]
    least = next(x for pattern, x in LOST_AT_LEAST.items() if fnmatch.fnmatchcase(name, pattern))
    lost = 1 - after / before
    return "" if lost >= least else f"loses {lost:.1%} of its MACs, less than {least:.0%}"


def measured_apart(label: str) -> dict:
    """`measure` in a process of its own; `error` instead of a row where that fails."""
    command = [sys.executable, __file__, f"--one={label}", f"--size={FLAGS.size}"]
    command.append(f"--max_params={FLAGS.max_params}")
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=FLAGS.limit)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {FLAGS.limit} s"}
    if child.returncode:
        lines = child.stderr.strip().splitlines() or ["without a message"]
        return {"error": f"ended with {child.returncode}: {lines[-1]}"}
    return json.loads(child.stdout.splitlines()[-1])


def main(_):
    """Prints the table, and what failed."""
    if FLAGS.one:
        print(json.dumps(measure(*FLAGS.one.split("."))))
        return
    print(HEAD + "\n|" + "---|" * HEAD.count(" |"), flush=True)
    failures, begin = [], time.perf_counter()
    labels = tqdm(constructors(), disable=not sys.stderr.isatty())
    for label in labels:
        labels.set_description(label)
        found = measured_apart(label)
        library, name = label.split(".")
        if "macs" in found:
            print(row(library, name, found), flush=True)
        failure = found.get("error") or ("macs" in found and problem(name, found))
        if failure:
            failures.append(f"{label} {failure}")
            print(f"FAILED {failures[-1]}", file=sys.stderr, flush=True)
    print(f"\n{time.perf_counter() - begin:.0f} s; {len(failures)} failed", *failures, sep="\n  ")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    app.run(main)
