"""Compile .tflite files for an Ethos-U NPU with Arm's Vela, and compare what they take.

sft-keras ethos-u dense.tflite pruned.tflite
sft-keras ethos-u pruned.tflite --accelerator=ethos-u65-256 --output=pruned_npu.tflite
"""

import argparse
import json

from sft_keras.cli import arguments, files
from sft_keras.errors import ArgumentError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras ethos-u`."""
    parser.add_argument("inputs", metavar="IN", nargs="+", help=".tflite files to read")
    parser.add_argument(
        "--accelerator",
        default="ethos-u55-128",
        help="NPU and its size as Vela names them, ethos-u55-32 to ethos-u85-2048; "
        "default: %(default)s",
    )
    parser.add_argument("--output", help="where to write the one file compiled")
    arguments.add_overwrite(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> None:
    """Loads, compiles, writes and prints."""
    if args.output:
        if len(args.inputs) > 1:
            raise ArgumentError("--output is for one file; give one, or leave --output out.")
        files.require_writable(args.output, ".tflite", args.overwrite)

    import sft_keras

    models = {path: sft_keras.LiteModel.load(path) for path in args.inputs}
    report = sft_keras.micro.ethos_u(models, args.accelerator)
    if args.output:
        report[args.inputs[0]].lite.save(args.output, overwrite=args.overwrite)
    print(json.dumps(report.to_dict(), indent=2) if args.json else report)
