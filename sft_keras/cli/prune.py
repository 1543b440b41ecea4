"""Train a model with soft filter pruning.

    sft-keras prune model.keras pruned.keras --dataset=photos/ --pruning_ratio=0.6

The weakest filters of the result are zero; `sft-keras shrink` removes them.
"""

import argparse

from sft_keras.cli import arguments, files, pruning


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras prune`."""
    arguments.add_files(parser)
    arguments.add_dataset(parser)
    pruning.add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Loads, trains with `SoftFilterPrune`, and saves."""
    files.require_writable(args.output, ".keras", args.overwrite)
    model = files.load_model(args.input)

    from sft_keras import training
    from sft_keras.cli import data

    dataset = data.load_to_train(args, model)
    training.fit(
        model,
        dataset.train,
        dataset.val,
        args.epochs,
        callbacks=[pruning.callback(args)],
        verbose=arguments.ONE_LINE_PER_EPOCH,
    )
    files.save_model(model, args.output)
