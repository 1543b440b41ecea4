"""Show what a model costs, layer by layer, and which filters can be pruned together.

sft-keras inspect model.keras
"""

import argparse

from sft_keras.cli import arguments, files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras inspect`."""
    arguments.add_input(parser, ".keras")


def run(args: argparse.Namespace) -> None:
    """Loads and prints."""
    model = files.load_model(args.input)

    import sft_keras

    print(sft_keras.cost(model))
    print()
    print(sft_keras.channel_groups(model))
