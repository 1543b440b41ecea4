"""Write a .tflite file with metadata, and Kotlin that runs it, for an Android project.

sft-keras export-android model.tflite phone/ --labels=labels.txt
sft-keras export-android model.tflite phone/ --package=org.flowers --mean=127.5 --std=127.5
"""

import argparse

from sft_keras.cli import arguments, files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras export-android`."""
    arguments.add_export(parser)
    parser.add_argument(
        "--package", default="com.example.app", help="Kotlin package; default: %(default)s"
    )
    parser.add_argument("--description", default="", help="what the model does, for the metadata")
    for name, default, meaning in (
        ("mean", 0.0, "what is subtracted from a raw value, such as a pixel"),
        ("std", 1.0, "what the difference is divided by"),
    ):
        parser.add_argument(
            f"--{name}",
            type=arguments.numbers,
            default=[default],
            metavar="X",
            help=f"{meaning}; one number, or one a channel with commas between",
        )


def run(args: argparse.Namespace) -> None:
    """Loads and exports."""
    import sft_keras

    sft_keras.android.export(
        sft_keras.LiteModel.load(args.input),
        args.output,
        name=args.name,
        package=args.package,
        description=args.description,
        labels=files.read_labels(args.labels),
        mean=args.mean,
        std=args.std,
        overwrite=args.overwrite,
    )
