"""Show which layers of a .tflite file are furthest from the Keras model.

    sft-keras compare qat.keras model.tflite --dataset=photos/
    sft-keras compare model.keras model.tflite --dataset=photos/ --plot=layers.png

Give the model that was converted, or the one that was quantized before.
"""

import argparse
import json

from sft_keras.cli import arguments, files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras compare`."""
    arguments.add_input(parser, ".keras")
    parser.add_argument("lite", metavar="LITE", help=".tflite file to compare with it")
    arguments.add_dataset(parser)
    arguments.add_number(parser, "limit", 32, "samples of the held-out data to run")
    parser.add_argument("--plot", metavar="PNG", help="picture to write")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments.add_overwrite(parser)


def run(args: argparse.Namespace) -> None:
    """Loads, compares, prints and draws."""
    import sft_keras

    if args.plot:
        files.require_writable(args.plot, ".png", args.overwrite)
    lite = sft_keras.LiteModel.load(args.lite)
    model = files.load_model(args.input)
    from sft_keras.cli import data

    comparison = sft_keras.compare_layers(model, lite, data.load(args, lite).val, args.limit)
    print(json.dumps(comparison.to_dict(), indent=2) if args.json else comparison)
    if args.plot:
        comparison.plot(args.plot, overwrite=args.overwrite)
