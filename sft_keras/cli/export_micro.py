"""Write C++ for TFLite Micro from a .tflite file.

sft-keras export-micro model.tflite firmware/
sft-keras export-micro model.tflite firmware/ --labels=labels.txt --dataset=photos/
"""

import argparse
from pathlib import Path

from sft_keras.cli import arguments, quiet
from sft_keras.errors import FileError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras export-micro`."""
    arguments.add_input(parser, ".tflite")
    parser.add_argument("output", metavar="OUT", help="folder to fill")
    arguments.add_overwrite(parser)
    parser.add_argument(
        "--name", default="model", help="what files and names begin with; default: %(default)s"
    )
    parser.add_argument("--labels", help="text file with the name of each output, one a line")
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
        labels=_labels(args.labels),
        samples=samples,
        overwrite=args.overwrite,
    )


def _labels(path):
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f"'{path}' cannot be read as text ({error}); give one label a line.") from (
            error
        )
