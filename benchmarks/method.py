"""SoftFilterPrune against one-shot L1 pruning and literal SFP, at equal epochs.

    python benchmarks/method.py --data=../shared/data/cifar10.tar.gz

Each network is trained once a seed; from these weights each method prunes half the filters of
every layer within the same number of epochs. Prints accuracy on held-out images in percent after
the last epoch, of the shrunk network: mean and standard deviation over seeds, and the mean of the
paired differences to one-shot.
"""

import json
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cifar
import keras
import networks
from absl import app, flags

import sft_keras

METHODS = {
    "one-shot L1": {"phases": {"soft_share": 0.0}, "criterion": "l1", "l1": 0.0},
    "literal SFP": {
        "recipe": "literal",
        "criterion": "l1",
        "schedule": "constant",
        "phases": {"soft_share": 1.0, "fine_tune_epochs": 0},
        "l1": 0.0,
    },
    "SoftFilterPrune()": {},
}

BATCH = 64

FLAGS = flags.FLAGS
flags.DEFINE_string("data", None, "CIFAR-10 as .tar.gz of JPEG files.", required=True)
flags.DEFINE_list("networks", list(networks.ALL), "Networks to prune.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of training.")
flags.DEFINE_integer("epochs", 16, "Epochs of pretraining, and of each method.")
flags.DEFINE_integer("train", 8000, "Training images.")
flags.DEFINE_integer("test", 4000, "Held-out images.")
flags.DEFINE_enum("rate", "constant", ["constant", "cosine"], "Adam's learning rate, from 1e-3.")
flags.DEFINE_float("momentum", 0.99, "Of the moving statistics of BatchNormalization.")
flags.DEFINE_multi_string("variant", [], "JSON of SoftFilterPrune arguments to compare as well.")


def compiled(model: keras.Model) -> keras.Model:
    """Adam from 1e-3, as in pretraining."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = FLAGS.momentum
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = 1e-3
    if FLAGS.rate == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, FLAGS.epochs * -(-FLAGS.train // BATCH))
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    return model


def accuracy(build, weights, arguments: dict, seed: int, train, test) -> float:
    """Accuracy in percent of the shrunk network."""
    keras.utils.set_random_seed(seed)
    model = compiled(build())
    model.set_weights(weights)
    phases = sft_keras.schedules.Phases(patience=None, **arguments.get("phases", {}))
    prune = sft_keras.SoftFilterPrune(**{**arguments, "phases": phases})
    model.fit(*train, epochs=FLAGS.epochs, batch_size=BATCH, verbose=0, callbacks=[prune])
    return 100 * sft_keras.shrink(model).evaluate(*test, verbose=0)[1]


def compare(name: str, methods: dict, train, test) -> None:
    """Runs all methods on one network and prints its part of the table."""
    results: dict[str, list[float]] = {method: [] for method in ["before", *methods]}
    for seed in map(int, FLAGS.seeds):
        keras.utils.set_random_seed(seed)
        dense = compiled(networks.ALL[name]())
        dense.fit(*train, epochs=FLAGS.epochs, batch_size=BATCH, verbose=0)
        results["before"].append(100 * dense.evaluate(*test, verbose=0)[1])
        for method, arguments in methods.items():
            start = time.perf_counter()
            weights = dense.get_weights()
            value = accuracy(networks.ALL[name], weights, arguments, seed, train, test)
            results[method].append(value)
            seconds = time.perf_counter() - start
            print(f"# {name} seed {seed} {method}: {value:.1f} in {seconds:.0f} s", flush=True)
    for method, values in results.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        pairs = [v - o for v, o in zip(values, results["one-shot L1"], strict=True)]
        print(
            f"{name:<8} {method:<20} {statistics.mean(values):5.1f} ± {spread:3.1f}"
            f"   {statistics.mean(pairs):+5.1f}",
            flush=True,
        )


def main(argv):
    """Prints a table of all networks and methods."""
    del argv
    train, test = cifar.load(FLAGS.data, FLAGS.train, FLAGS.test)
    methods = METHODS | {variant: json.loads(variant) for variant in FLAGS.variant}
    for name in FLAGS.networks:
        compare(name, methods, train, test)


if __name__ == "__main__":
    app.run(main)
