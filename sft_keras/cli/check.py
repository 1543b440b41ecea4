"""Look for what a target cannot run of .tflite files, or only runs slowly.

sft-keras check model.tflite --target=tflm,ethos-u55-128
sft-keras check model.tflite --target=coral-edgetpu --json
"""

import argparse
import json

from sft_keras.errors import GateError
from sft_keras.tflite import targets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras check`."""
    parser.add_argument("inputs", metavar="IN", nargs="+", help=".tflite files to read")
    parser.add_argument(
        "--target",
        default="tflm",
        help=f"targets, separated by commas, of {', '.join(targets.names())}; default: %(default)s",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a list")


def run(args: argparse.Namespace) -> None:
    """Loads, checks and prints; fails if something does not run."""
    import sft_keras

    files = [sft_keras.LiteModel.load(path) for path in args.inputs]
    found = [sft_keras.check(lite, name) for name in args.target.split(",") for lite in files]
    if args.json:
        print(json.dumps([preflight.to_dict() for preflight in found], indent=2))
    else:
        print("\n\n".join(map(str, found)))
    stopped = [
        f"{preflight.name} on {preflight.target}" for preflight in found if not preflight.runs
    ]
    if stopped:
        raise GateError(f"{', '.join(stopped)} does not run; the list says why.")
