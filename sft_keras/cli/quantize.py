"""Train a model for int8 with TFMOT's fake quantization.

    sft-keras quantize small.keras qat.keras --dataset=photos/

The result is a tf_keras model; `sft-keras convert` makes an int8 .tflite file of it.
"""

import argparse

from sft_keras.cli import arguments, files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras quantize`."""
    arguments.add_files(parser)
    arguments.add_dataset(parser)
    arguments.add_number(parser, "epochs", 5, "epochs of quantization-aware training")
    arguments.add_layer_dtypes(parser, "head=float32")


def run(args: argparse.Namespace) -> None:
    """Loads, quantizes, trains and saves."""
    files.require_writable(args.output, ".keras", args.overwrite)
    model = files.load_model(args.input)

    import sft_keras
    from sft_keras import training
    from sft_keras.cli import data

    dataset = data.load_to_train(args, model)
    qat = sft_keras.quantize(model, layer_dtypes=args.layer_dtypes)
    training.fit(qat, dataset.train, dataset.val, args.epochs, verbose=arguments.ONE_LINE_PER_EPOCH)
    files.save_model(qat, args.output)
