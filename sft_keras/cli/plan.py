"""Choose the weakest filters of a model and write them into a plan.

    sft-keras plan model.keras plan.json --pruning_ratio=0.3 --criterion=l1
    sft-keras shrink model.keras small.keras --plan=plan.json

The plan is JSON that can be edited by hand. Nothing is trained; `sft-keras prune` does that.
"""

import argparse

from sft_keras.cli import arguments, files, pruning


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras plan`."""
    arguments.add_files(parser, ".json")
    pruning.add_selection(parser)
    parser.add_argument(
        "--criterion",
        default="contribution",
        metavar="NAME",
        help="how filters are ranked; default: %(default)s",
    )


def run(args: argparse.Namespace) -> None:
    """Loads, ranks, prints and saves."""
    files.require_writable(args.output, ".json", args.overwrite)
    model = files.load_model(args.input)

    import sft_keras

    plan = sft_keras.plan(
        model,
        args.pruning_ratio,
        args.criterion,
        exclude=args.exclude,
        width_multiple=args.width_multiple,
    )
    plan.save(args.output, overwrite=args.overwrite)
    print(plan)
