"""The flags that say how to prune, and the callback they describe."""

import argparse
from typing import Any

from sft_keras.cli import arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--epochs` and the flags of `SoftFilterPrune`."""
    arguments.add_number(parser, "epochs", 20, "epochs of pruning and fine-tuning")
    add_selection(parser)


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Adds the flags that say how many filters of which layers go."""
    parser.add_argument(
        "--pruning_ratio",
        type=arguments.ratio,
        default=0.5,
        metavar="RATIO",
        help="share of each layer's filters to remove, in [0, 1), or one for each layer name or "
        "pattern: conv1=0.5,block?_*=0.3; default: %(default)s",
    )
    parser.add_argument(
        "--exclude",
        action="append",
        default=[],
        metavar="LAYER",
        help="name or pattern of layers to leave alone; may be repeated",
    )
    arguments.add_number(parser, "width_multiple", 1, "round the filters kept up to a multiple of")


def callback(args: argparse.Namespace) -> Any:
    """The `SoftFilterPrune` that the flags describe."""
    import sft_keras

    return sft_keras.SoftFilterPrune(
        args.pruning_ratio,
        exclude=args.exclude,
        width_multiple=args.width_multiple,
        seed=args.seed,
    )
