"""Convert a model to a .tflite file.

    sft-keras convert qat.keras model.tflite
    sft-keras convert model.keras model.tflite --dataset=photos/
    sft-keras convert model.keras float.tflite --dtype=float32

A float model becomes int8 by post-training quantization, calibrated on the training part of
--dataset; one trained by `sft-keras quantize` needs no dataset.
"""

import argparse

from sft_keras.cli import arguments, files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras convert`."""
    arguments.add_files(parser, ".tflite")
    arguments.add_dataset(parser, required=False)
    parser.add_argument(
        "--dtype", choices=("int8", "float32"), default="int8", help="arithmetic; default: int8"
    )
    arguments.add_number(parser, "timeout", 600, "seconds that the converter may take")


def run(args: argparse.Namespace) -> None:
    """Loads, converts and saves."""
    files.require_writable(args.output, ".tflite", args.overwrite)
    model = files.load_model(args.input)

    import sft_keras
    from sft_keras.cli import data

    samples = data.load(args, model).train if args.dataset else None
    lite = sft_keras.convert(model, samples, dtype=args.dtype, timeout=args.timeout)
    lite.save(args.output, overwrite=args.overwrite)
