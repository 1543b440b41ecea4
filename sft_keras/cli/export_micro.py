"""Write C++ for TFLite Micro from a .tflite file.

sft-keras export-micro model.tflite firmware/
sft-keras export-micro model.tflite firmware/ --labels=labels.txt --dataset=photos/
"""

import argparse

from sft_keras.cli import arguments, files, quiet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras export-micro`."""
    arguments.add_export(parser)
    arguments.add_dataset(parser, required=False)


def run(args: argparse.Namespace) -> None:
    """Loads and exports."""
    import sft_keras

    lite = sft_keras.LiteModel.load(args.input)
    samples = None
    if args.dataset:
        quiet.import_tensorflow()
        from sft_keras.cli import data

        samples = data.load(args, lite).val
    sft_keras.micro.export(
        lite,
        args.output,
        name=args.name,
        labels=files.read_labels(args.labels),
        samples=samples,
        overwrite=args.overwrite,
    )
