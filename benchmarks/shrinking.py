"""Times `sft_keras.shrink`: beside `clone_model`, over depth, and beside Torch-Pruning.

    nice -n 5 python benchmarks/shrinking.py --torch_python=TORCH/bin/python
    python benchmarks/shrinking.py --models=MobileNetV2 --depths=10,100

Five models of keras.applications, with random weights and half of each layer's filters masked, are
shrunk and cloned in turn, each going first every other time; then networks of growing depth. Where
`--torch_python` names a Python with what `torch_pruning_speed.py` needs, that prunes the same
architectures in a process beside this one, once in every turn. Everything runs on one thread and
is measured in seconds of the processor, which other processes on the machine change little.
"""

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import keras
import stages
from absl import app, flags
from keras import layers
from networks import randomize
from tqdm import tqdm

from sft_keras import mask, plan, shrink

MODELS = ["ResNet50", "DenseNet121", "MobileNetV2", "EfficientNetB0", "NASNetMobile"]
TORCH_SCRIPT = Path(__file__).with_name("torch_pruning_speed.py")
COLUMNS = ("clone", "analysis", "rebuild", "layers", "proof", "forward")

FLAGS = flags.FLAGS
flags.DEFINE_list("models", MODELS, "Constructors of keras.applications.")
flags.DEFINE_list("depths", ["10", "30", "100", "300", "1000"], "Layers of the growing networks.")
flags.DEFINE_integer("pairs", 7, "How often each model is shrunk and cloned.")
flags.DEFINE_integer("size", 96, "Height and width of the input images.")
flags.DEFINE_string("torch_python", "", "A Python with Torch-Pruning, to compare with.")


class TorchPruning:
    """The process that prunes with Torch-Pruning."""

    def __init__(self, python: str):
        self._child = subprocess.Popen(
            [python, str(TORCH_SCRIPT), str(FLAGS.size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
        )
        self.versions = self._answer()

    def measure(self, name: str) -> dict[str, float]:
        """Prunes the network of that name once; the seconds, as `torch_pruning_speed.py` says."""
        print(name, file=self._child.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict:
        return json.loads(self._child.stdout.readline())

    def close(self) -> None:
        """Ends the process."""
        self._child.communicate()


def application(name: str) -> Any:
    """A model of keras.applications with random weights."""
    constructor = getattr(keras.applications, name)
    return constructor(weights=None, classes=10, input_shape=(FLAGS.size, FLAGS.size, 3))


def chain(depth: int) -> Any:
    """Convolutions, each with BatchNormalization and ReLU, one behind the other."""
    x = image = keras.Input((8, 8, 3))
    for _ in range(depth // 3):
        x = _convolved(x, "relu")
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def residual(depth: int) -> Any:
    """Residual blocks of seven layers, all of one width: one channel group holds them together."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same")(image)
    for _ in range(depth // 7):
        y = _convolved(_convolved(x, "relu"), None)
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def _convolved(x, activation: str | None):
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x) if activation else x


def masked(model: Any) -> Any:
    """The model with random weights, half of each layer's filters zero."""
    randomize(model)
    mask(model, plan(model, 0.5, criterion="l1"))
    return model


def clone_seconds(model: Any) -> dict[str, float]:
    """What `clone_model` with `set_weights` takes."""
    gc.collect()
    begin = time.process_time()
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return {"clone": time.process_time() - begin}


def shrink_seconds(model: Any) -> dict[str, float]:
    """What the stages of `shrink` take."""
    gc.collect()
    with stages.timed(time.process_time) as seconds:
        shrink(model)
    return seconds


def turns(model: Any, *others: Callable[[], dict]) -> tuple[list[dict], float]:
    """Times shrink and clone in turn.

    Args:
        model: a masked model.
        others: what else to time in each turn.

    Returns:
        The seconds of each turn, and the ratio to a clone of the model's very first shrink.
    """
    first_clone, first = clone_seconds(model), shrink_seconds(model)
    found = []
    for turn in range(FLAGS.pairs):
        parts = [lambda: shrink_seconds(model), lambda: clone_seconds(model), *others]
        found.append({k: v for part in parts[:: 1 if turn % 2 else -1] for k, v in part().items()})
    return found, ratio(first_clone | first)


def ratio(seconds: dict[str, float]) -> float:
    """Analysis and rebuild over a clone."""
    return (seconds["analysis"] + seconds["rebuild"]) / seconds["clone"]


def median(values: Iterable[float]) -> float:
    """The median of the values, whatever gives them."""
    return statistics.median([*values])


def spread(values: Iterable[float]) -> str:
    """Median, least and greatest."""
    values = sorted(values)
    return f"{median(values):.2f} ({values[0]:.2f} to {values[-1]:.2f})"


def print_table(head: list[str], rows: list[list[Any]]) -> None:
    """Prints a Markdown table."""
    for cells in (head, ["---"] * len(head), *rows):
        print("| " + " | ".join(map(str, cells)) + " |")
    print(flush=True)


def measure_models(torch: TorchPruning | None) -> dict[str, list[dict]]:
    """Prints the stages and ratios of the models; the seconds of each turn, by model."""
    found, rows = {}, []
    for name in tqdm(FLAGS.models, disable=not sys.stderr.isatty()):
        model = masked(application(name))
        others = [lambda name=name: {"torch": torch.measure(name)}] if torch else []
        for other in others:
            other()  # the first time loads code
        found[name], first = turns(model, *others)
        times = [f"{median(t[c] for t in found[name]):.3f}" for c in COLUMNS]
        rows.append(
            [name, len(model.layers), *times, spread(map(ratio, found[name])), f"{first:.2f}"]
        )
    print("Processor seconds; 'of it' is a part of the column before.\n")
    head = ["model", "layers", "clone", "analysis", "rebuild", "of it layers"]
    print_table([*head, "proof", "of it forward", "(analysis + rebuild) / clone", "first"], rows)
    return found


def compare(found: dict[str, list[dict]]) -> None:
    """Prints the seconds of the two libraries side by side."""
    rows = []
    for name, seconds in found.items():
        ours = [
            ("analysis", lambda t: t["analysis"]),
            ("cut", lambda t: t["analysis"] + t["rebuild"] - t["layers"]),
            ("total", lambda t: t["analysis"] + t["rebuild"]),
        ]
        theirs = [
            lambda t: t["torch"]["graph"] + t["torch"]["groups"],
            lambda t: t["torch"]["prune"],
            lambda t: t["torch"]["copy"] + t["torch"]["prune"],
        ]
        cells = []
        for (_, mine), other in zip(ours, theirs, strict=True):
            cells += [f"{median(map(mine, seconds)):.3f}", f"{median(map(other, seconds)):.3f}"]
            cells.append(spread(other(t) / mine(t) for t in seconds))
        rows.append([name, *cells])
    print("Processor seconds of sft_keras and Torch-Pruning, and the second over the first.\n")
    groups = ("analysis", "and cutting", "and a new model")
    print_table(["model", *(c for g in groups for c in (g, "Torch-Pruning", "times"))], rows)


def measure_growth() -> None:
    """Prints milliseconds a layer of networks of growing depth."""
    sys.setrecursionlimit(10_000)  # Keras walks a graph of this depth by recursion
    rows = []
    for build in (chain, residual):
        for depth in tqdm(map(int, FLAGS.depths), disable=not sys.stderr.isatty()):
            model = masked(build(depth))
            found, first = turns(model)
            count = len(model.layers)
            each = [f"{1000 * median(t[c] for t in found) / count:.2f}" for c in COLUMNS]
            rows.append([build.__name__, count, *each, spread(map(ratio, found)), f"{first:.2f}"])
    print("Processor milliseconds a layer.\n")
    head = ["network", "layers", "clone", "analysis", "rebuild", "of it layers"]
    print_table([*head, "proof", "of it forward", "(analysis + rebuild) / clone", "first"], rows)


def main(_):
    """Prints the tables."""
    turns(masked(application("MobileNetV2")))  # the first model of a process pays for imports
    torch = TorchPruning(FLAGS.torch_python) if FLAGS.torch_python else None
    found = measure_models(torch)
    if torch:
        compare(found)
        print(json.dumps(torch.versions))
        torch.close()
    measure_growth()


if __name__ == "__main__":
    app.run(main)
