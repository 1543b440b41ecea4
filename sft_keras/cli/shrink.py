"""Remove the filters of a model that are zero.

sft-keras shrink pruned.keras small.keras
"""

import argparse

from sft_keras.cli import arguments, files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras shrink`."""
    arguments.add_files(parser)


def run(args: argparse.Namespace) -> None:
    """Loads, shrinks and saves."""
    files.require_writable(args.output, ".keras", args.overwrite)
    model = files.load_model(args.input)

    import sft_keras

    files.save_model(sft_keras.shrink(model), args.output)
