"""Compare the speed of .tflite files on this machine.

    sft-keras benchmark dense.tflite pruned.tflite
    sft-keras benchmark dense.tflite pruned.tflite --runs=1000 --threads=4 --json
    sft-keras benchmark pruned.tflite --profile

The files run in turns on LiteRT; the others are compared with the first, round by round. With
--profile, the operators of each file are timed one by one, too.
"""

import argparse
import json

from sft_keras.cli import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras benchmark`."""
    parser.add_argument("inputs", metavar="IN", nargs="+", help=".tflite files to read")
    arguments.add_number(parser, "runs", 200, "inferences of each file")
    arguments.add_number(parser, "warmup", 20, "inferences of each file before that")
    arguments.add_number(parser, "threads", 1, "CPU threads")
    parser.add_argument(
        "--profile", action="store_true", help="also show where the time of each file goes"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> None:
    """Loads, measures and prints."""
    import sft_keras

    models: dict[str, sft_keras.LiteModel] = {}
    for path in args.inputs:
        name = path if path not in models else f"{path} ({len(models) + 1})"
        models[name] = sft_keras.LiteModel.load(path)
    options = (args.runs, args.warmup, args.threads)
    found = sft_keras.tflite.benchmark(models, *options)
    profiles = [
        sft_keras.tflite.profile(lite, *options) for lite in models.values() if args.profile
    ]
    if args.json:
        values = found.to_dict()
        if profiles:
            values["profiles"] = [one.to_dict() for one in profiles]
        print(json.dumps(values, indent=2))
    else:
        print("\n\n".join(map(str, [found, *profiles])))
