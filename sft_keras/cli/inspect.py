"""Show what a .keras or .tflite file costs, and what can be pruned or stands in the way.

sft-keras inspect model.keras
sft-keras inspect model.tflite
"""

import argparse
import collections
from pathlib import Path

from sft_keras.cli import arguments, files, quiet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras inspect`."""
    arguments.add_input(parser, ".keras or .tflite")


def run(args: argparse.Namespace) -> None:
    """Loads and prints."""
    if Path(args.input).suffix == ".tflite":
        print(_describe_file(args.input))
    else:
        print(_describe_model(args.input))


def _describe_model(path):
    """Costs by layer, and the channel groups."""
    model = files.load_model(path)

    import sft_keras

    return f"{sft_keras.cost(model)}\n\n{sft_keras.channel_groups(model)}"


def _describe_file(path):
    """Inputs and outputs, costs, operators, and what the gate finds."""
    quiet.import_tensorflow()
    from sft_keras.tflite import LiteModel, gate, lite_cost

    lite = LiteModel.load(path)
    promise = gate.promise_of(lite)
    operators = collections.Counter(operator.name for operator in lite.file.operators)
    return "\n".join(
        [
            repr(lite),
            f"{lite_cost.params(lite):,} parameters, {lite_cost.macs(lite):,} MACs",
            *(f"{count:>4} x {name}" for name, count in operators.most_common()),
            *(gate.findings(lite, promise) or [f"Passes the gate for {promise.dtype}."]),
        ]
    )
