"""Train, prune, shrink, quantize, convert and verify a network, with a report.

    sft-keras compress --dataset=digits
    sft-keras compress --dataset=photos/ --model=model.keras --output_dir=small --epochs=40

Writes float.keras, pruned.keras, shrunk.keras, quantized.keras, model.tflite, labels.txt, the
report and verification.txt into --output_dir. Without --model a small residual network is trained
first. A run that was cut off goes on when it is started again with the same flags: until everything
is written, each epoch is saved in a folder beside --output_dir, named after it with .backup.
"""

import argparse
from pathlib import Path

from absl import logging

from sft_keras import writing
from sft_keras.cli import arguments, files, pruning, quiet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags of `sft-keras compress`."""
    arguments.add_dataset(parser)
    parser.add_argument("--model", help=".keras file to compress, trained and compiled")
    parser.add_argument(
        "--image_size",
        type=arguments.image_size,
        default="96",
        help="pixels to which a folder's images are resized, 96 or HEIGHTxWIDTH, where no --model "
        "says it; default: %(default)s",
    )
    arguments.add_number(parser, "train_epochs", 15, "epochs of training before, without --model")
    pruning.add_arguments(parser)
    arguments.add_number(parser, "qat_epochs", 5, "epochs of quantization-aware training")
    parser.add_argument(
        "--distill",
        action="store_true",
        help="let the network before pruning teach the pruned and the quantized one",
    )
    parser.add_argument(
        "--output_dir", default="sft-out", help="folder to write to; default: %(default)s"
    )
    arguments.add_overwrite(parser)


def run(args: argparse.Namespace) -> None:
    """Compresses, measures, writes all files at the end and prints the table."""
    writing.require_free_folder(args.output_dir, args.overwrite)
    given = files.load_model(args.model) if args.model else None
    quiet.import_tensorflow()

    import sft_keras
    from sft_keras.cli import data

    dataset = data.load_to_train(args, given)
    folder = Path(args.output_dir).resolve()
    with sft_keras.Backup(folder.parent / f"{folder.name}.backup") as backup:
        data_flags = ("dataset", "batch_size", "image_size", "seed")
        backup.training("data", {name: getattr(args, name) for name in data_flags})
        model = given or _trained_network(dataset, args, backup)
        result = sft_keras.compress(
            model,
            dataset.train,
            dataset.val,
            epochs=args.epochs,
            qat_epochs=args.qat_epochs,
            prune=pruning.callback(args),
            distill=args.distill,
            backup=backup,
            verbose=arguments.ONE_LINE_PER_EPOCH,
        )
        logging.info("Measuring every stage.")
        nets = {"float": model, "pruned": result.pruned, "shrunk": result.shrunk}
        stages = {**nets, "int8": result.lite}
        report = sft_keras.report(stages, dataset.val, history=result.history)
        with writing.output_folder(args.output_dir, args.overwrite) as folder:
            _write(folder, model, result, report, dataset.labels)
    print(f"\n{report}\n\n{result.verification}\n\nEverything is in {Path(args.output_dir)}/.")
    result.verification.require_match()


def _trained_network(dataset, args, backup):
    from sft_keras import training
    from sft_keras.cli.network import default_network

    model = default_network(dataset.input_shape, dataset.num_classes)
    epochs = args.train_epochs
    logging.info("Training '%s' for %d epochs.", model.name, epochs)
    saved = backup.training(
        "train",
        {"dataset": args.dataset, "shape": dataset.input_shape, "train_epochs": epochs},
    )
    verbose = arguments.ONE_LINE_PER_EPOCH
    training.fit(model, dataset.train, dataset.val, epochs, backup=saved, verbose=verbose)
    return model


def _write(folder, model, result, report, labels):
    model.save(folder / "float.keras")
    result.pruned.save(folder / "pruned.keras")
    result.shrunk.save(folder / "shrunk.keras")
    result.quantized.save(folder / "quantized.keras")
    result.lite.save(folder / "model.tflite")
    (folder / "labels.txt").write_text("\n".join(labels) + "\n", encoding="utf-8")
    (folder / "verification.txt").write_text(f"{result.verification}\n", encoding="utf-8")
    report.save(folder)
