"""Goes through the constructors of keras.applications and tf_keras.applications for a benchmark.

Each model has a process of its own, which a crash or a lack of memory cannot take beyond its row.
"""

import fnmatch
import inspect
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import keras
import tf_keras
from absl import flags
from tqdm import tqdm

LIBRARIES = {"keras": keras, "tf_keras": tf_keras}
CLASSES = 10

FLAGS = flags.FLAGS
flags.DEFINE_list("library", list(LIBRARIES), "The libraries whose models are taken.")
flags.DEFINE_list("models", ["*"], "Names or patterns of constructors.")
flags.DEFINE_float("max_params", float("inf"), "Leave out models with more weights.")
flags.DEFINE_integer("size", 96, "Height and width of the input images.")
flags.DEFINE_integer("limit", 3600, "Seconds that one model may take.")
flags.DEFINE_integer("seed", 0, "Seed of the random weights.")
flags.DEFINE_string("one", "", "Measure only this, as 'keras.VGG16', and print it as JSON.")


def run(
    columns: list[str],
    measure: Callable[[Any], dict],
    cells: Callable[[dict], list],
    problem: Callable[[str, dict], str],
) -> None:
    """Prints a Markdown table with a row a model, then what failed; exits with 1 if anything did.

    Args:
        columns: heads of the table, after library, model and parameters.
        measure: takes a model, returns what JSON can hold.
        cells: the row of that, one entry a column.
        problem: takes the constructor's name and what was measured, returns why it counts as
            failed, or an empty string.
    """
    if FLAGS.one:
        print(json.dumps(_measured(measure, *FLAGS.one.split("."))))
        return
    print(_line("library", "model", "params", *columns))
    print("|" + "---|" * (3 + len(columns)), flush=True)
    failures, begin = [], time.perf_counter()
    labels = tqdm(_constructors(), disable=not sys.stderr.isatty())
    for label in labels:
        labels.set_description(label)
        found = _measured_apart(label)
        if len(found) == 1 and "params" in found:
            continue  # too large
        library, name = label.split(".")
        if "error" not in found:
            print(_line(library, name, f"{found['params']:,}", *cells(found)), flush=True)
        failure = found.get("error") or problem(name, found)
        if failure:
            failures.append(f"{label} {failure}")
            print(f"FAILED {failures[-1]}", file=sys.stderr, flush=True)
    print(f"\n{time.perf_counter() - begin:.0f} s; {len(failures)} failed", *failures, sep="\n  ")
    sys.exit(1 if failures else 0)


def _line(*cells: Any) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _constructors() -> list[str]:
    """What the flags ask for, as `keras.VGG16`."""
    return [
        f"{library}.{name}"
        for library in FLAGS.library
        for name, function in inspect.getmembers(LIBRARIES[library].applications)
        if inspect.isfunction(function)
        and any(fnmatch.fnmatchcase(name, pattern) for pattern in FLAGS.models)
    ]


def _measured(measure: Callable[[Any], dict], library: str, name: str) -> dict:
    """What was measured of one model; only the `params` of one that is too large."""
    keras.utils.set_random_seed(FLAGS.seed)
    constructor = getattr(LIBRARIES[library].applications, name)
    model = constructor(weights=None, classes=CLASSES, input_shape=(FLAGS.size, FLAGS.size, 3))
    found = {"params": model.count_params()}
    if found["params"] > FLAGS.max_params:
        return found
    found |= measure(model)
    return found | {"gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def _measured_apart(label: str) -> dict:
    """The same in a process of its own; `error` where that fails."""
    command = [sys.executable, sys.argv[0], f"--one={label}", f"--size={FLAGS.size}"]
    command += [f"--max_params={FLAGS.max_params}", f"--seed={FLAGS.seed}"]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=FLAGS.limit)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {FLAGS.limit} s"}
    if child.returncode:
        lines = child.stderr.strip().splitlines() or ["without a message"]
        return {"error": f"ended with {child.returncode}: {lines[-1]}"}
    return json.loads(child.stdout.splitlines()[-1])
