"""Run a .tflite file on every installed runtime and compare.

sft-keras verify model.tflite --dataset=photos/
sft-keras verify model.tflite --dataset=photos/ --json > model.json
"""

import argparse
import json

from sft_keras.cli import arguments, quiet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras verify`."""
    arguments.add_input(parser, ".tflite")
    arguments.add_dataset(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> None:
    """Loads, verifies and prints; fails if TFLite Micro computes a conv net otherwise."""
    import sft_keras

    lite = sft_keras.LiteModel.load(args.input)
    quiet.import_tensorflow()
    from sft_keras.cli import data

    verification = sft_keras.verify(lite, data.load(args, lite).val)
    print(json.dumps(verification.to_dict(), indent=2) if args.json else verification)
    verification.require_match()
