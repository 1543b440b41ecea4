"""Remove the filters of a model that are zero, or those that a plan names.

sft-keras shrink pruned.keras small.keras
sft-keras shrink model.keras small.keras --plan=plan.json
"""

import argparse

from sft_keras.cli import arguments, files, quiet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras shrink`."""
    arguments.add_files(parser)
    parser.add_argument("--plan", metavar="FILE", help=".json file that `sft-keras plan` wrote")


def run(args: argparse.Namespace) -> None:
    """Loads, shrinks and saves."""
    files.require_writable(args.output, ".keras", args.overwrite)

    quiet.import_tensorflow()
    import sft_keras

    plan = sft_keras.Plan.load(args.plan) if args.plan else None
    model = files.load_model(args.input)
    files.save_model(sft_keras.shrink(model, plan), args.output)
