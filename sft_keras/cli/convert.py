"""Convert a model to a .tflite file.

    sft-keras convert qat.keras model.tflite
    sft-keras convert model.keras model.tflite --dataset=photos/
    sft-keras convert model.keras float.tflite --dtype=float32

A float model becomes int8 by post-training quantization, calibrated on the training part of
--dataset; one trained by `sft-keras quantize` needs no dataset.
"""

import argparse

from sft_keras.cli import arguments, files
from sft_keras.tflite import targets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras convert`."""
    arguments.add_files(parser, ".tflite")
    arguments.add_dataset(parser, required=False)
    parser.add_argument(
        "--dtype",
        choices=("int8", "int16x8", "dynamic", "float16", "float32"),
        default="int8",
        help="what the file computes in; default: int8",
    )
    for side in ("input", "output"):
        parser.add_argument(
            f"--{side}_dtype",
            choices=("int8", "uint8", "int16", "float32"),
            help=f"of the file's {side}s; default: that of the computation",
        )
    parser.add_argument(
        "--target", choices=targets.names(), default="tflm", help="what runs it; default: tflm"
    )
    arguments.add_layer_dtypes(parser, "head=float32,block?_*=int16x8")
    arguments.add_number(parser, "timeout", 600, "seconds that the converter may take")


def run(args: argparse.Namespace) -> None:
    """Loads, converts and saves."""
    files.require_writable(args.output, ".tflite", args.overwrite)
    model = files.load_model(args.input)

    import sft_keras
    from sft_keras.cli import data

    samples = data.load(args, model).train if args.dataset else None
    keys = ("dtype", "input_dtype", "output_dtype", "target", "layer_dtypes", "timeout")
    lite = sft_keras.convert(model, samples, **{key: getattr(args, key) for key in keys})
    lite.save(args.output, overwrite=args.overwrite)
