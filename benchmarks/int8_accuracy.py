"""What int8 costs a shrunk network, by quantization-aware training (QAT) and after training (PTQ).

    python benchmarks/int8_accuracy.py --data=../shared/data/fsdd.tar.gz \
        --cifar=../shared/data/cifar10.tar.gz

For each seed a network is trained, pruned and shrunk. From the shrunk one come a file by PTQ and,
after some epochs of QAT, another; and, since QAT trains on, the float network after as many more
epochs. Prints accuracy in percent on held-out data, of files as LiteRT runs them: mean and standard
deviation over seeds, and the mean of the paired differences to the shrunk float network.
"""

import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tasks
from absl import app, flags

import sft_keras
from sft_keras import training
from sft_keras.cloning import compiled_copy
from sft_keras.tflite import runtimes

FLAGS = flags.FLAGS
flags.DEFINE_list("tasks", list(tasks.ALL), "Data sets, each with its network.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of training.")


def measure(task: str, seed: int) -> dict[str, float]:
    """Accuracy in percent of every stage, by name."""
    keras.utils.set_random_seed(seed)
    model, train, val, samples = tasks.ALL[task](seed)
    training.fit(model, train, val, FLAGS.epochs, verbose=0)
    found = {"before pruning": _of_model(model, val)}
    prune = sft_keras.SoftFilterPrune(FLAGS.pruning_ratio)
    training.fit(model, train, val, FLAGS.epochs, callbacks=[prune], verbose=0)
    small = sft_keras.shrink(model)
    small.optimizer.learning_rate = tasks.RATE / 10
    found["shrunk"] = _of_model(small, val)
    found["int8 by PTQ"] = _of_file(sft_keras.convert(small, samples), val)
    qat = sft_keras.quantize(small)
    training.fit(qat, train, val, FLAGS.qat_epochs, verbose=0)
    found["int8 by QAT"] = _of_file(sft_keras.convert(qat), val)
    longer = compiled_copy(small)
    training.fit(longer, train, val, FLAGS.qat_epochs, verbose=0)
    found["shrunk, trained on"] = _of_model(longer, val)
    found["int8 of that by PTQ"] = _of_file(sft_keras.convert(longer, samples), val)
    return found


def _of_model(model: keras.Model, val: tuple) -> float:
    return 100 * model.evaluate(*val, verbose=0, return_dict=True)["accuracy"]


def _of_file(lite: sft_keras.LiteModel, val: tuple) -> float:
    x, y = val
    (outputs,) = runtimes.run("litert", lite.content, [lite.quantize_input(x)])
    return 100 * float(np.mean(outputs.argmax(-1) == y))


def show(task: str, runs: list[dict[str, float]]) -> None:
    """One row a stage."""
    print(f"{task:<22} {'accuracy':>13} {'to shrunk':>10}")
    for name in runs[0]:
        values = [run[name] for run in runs]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        difference = statistics.mean(run[name] - run["shrunk"] for run in runs)
        print(f"  {name:<20} {statistics.mean(values):6.2f} ± {spread:4.2f} {difference:+10.2f}")


def main(argv):
    """Prints a table for each task."""
    del argv
    for task in FLAGS.tasks:
        runs = []
        for seed in map(int, FLAGS.seeds):
            runs.append(measure(task, seed))
            for name, accuracy in runs[-1].items():
                print(f"# {task} seed {seed} {name}: {accuracy:.2f}", flush=True)
        show(task, runs)


if __name__ == "__main__":
    app.run(main)
