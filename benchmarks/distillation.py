"""What the model before pruning brings as a teacher, in pruning and in quantization-aware training.

    python benchmarks/distillation.py --data=../shared/data/fsdd.tar.gz

For each seed a network is trained; from its weights one copy is pruned with `Distill` and one
without, and each shrunk copy is trained for int8 with the teacher and without. Prints accuracy in
percent and cross entropy on held-out data: mean and standard deviation over seeds, and the mean
of the paired differences to the same without any teacher.
"""

import os
import statistics

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tasks
from absl import app, flags

import sft_keras
from sft_keras import training
from sft_keras.cloning import compiled_copy

FLAGS = flags.FLAGS
flags.DEFINE_list("tasks", ["digits", "spoken"], "Data sets, each with its network.")
flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds of training.")
flags.DEFINE_float("temperature", None, "Of the teacher, if not the default.")
flags.DEFINE_float("weight", None, "Likewise.")


def distill(teacher: keras.Model) -> sft_keras.Distill:
    """The callback, with what the flags say of it."""
    given = {name: FLAGS[name].value for name in ("temperature", "weight")}
    return sft_keras.Distill(teacher, **{k: v for k, v in given.items() if v is not None})


def measure(task: str, seed: int) -> dict[str, tuple[float, float]]:
    """Accuracy in percent and cross entropy of every stage, by name."""
    keras.utils.set_random_seed(seed)
    dense, train, val, _ = tasks.ALL[task](seed)
    training.fit(dense, train, val, FLAGS.epochs, verbose=0)
    found = {"before": _score(dense, val)}
    for pruned in ("without", "teacher"):
        small = _pruned(dense, train, val, seed, pruned == "teacher")
        found[f"pruned {pruned}"] = _score(small, val)
        for quantized in ("without", "teacher"):
            keras.utils.set_random_seed(seed)
            qat = sft_keras.quantize(small)
            callbacks = [distill(dense)] if quantized == "teacher" else []
            training.fit(qat, train, val, FLAGS.qat_epochs, callbacks=callbacks, verbose=0)
            found[f"pruned {pruned}, QAT {quantized}"] = _score(qat, val)
    return found


def _pruned(dense, train, val, seed, taught):
    keras.utils.set_random_seed(seed)
    model = compiled_copy(dense)
    callbacks = [sft_keras.SoftFilterPrune(FLAGS.pruning_ratio)]
    callbacks += [distill(dense)] if taught else []
    training.fit(model, train, val, FLAGS.epochs, callbacks=callbacks, verbose=0)
    small = sft_keras.shrink(model)
    small.optimizer.learning_rate = tasks.RATE / 10  # for what follows
    return small


def _score(model, val):
    data = val if isinstance(val, tuple) else (val,)
    found = model.evaluate(*data, verbose=0, return_dict=True)
    return 100 * found["accuracy"], found["loss"]


def show(task: str, runs: list[dict]) -> None:
    """One row a stage."""
    print(
        f"{task:<38} {'accuracy':>13} {'difference':>10} {'cross entropy':>16} {'difference':>10}"
    )
    for name in runs[0]:
        plain = name.replace("teacher", "without")
        row = f"  {name:<36}"
        for i, places in ((0, 2), (1, 4)):
            values = [run[name][i] for run in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            pairs = [value - run[plain][i] for value, run in zip(values, runs, strict=True)]
            mean, difference = statistics.mean(values), statistics.mean(pairs)
            row += f" {mean:>6.{places}f} ± {spread:.{places}f} {difference:>+10.{places}f}"
        print(row, flush=True)


def main(argv):
    """Prints a table for each task."""
    del argv
    for task in FLAGS.tasks:
        runs = []
        for seed in map(int, FLAGS.seeds):
            runs.append(measure(task, seed))
            for name, (accuracy, loss) in runs[-1].items():
                print(f"# {task} seed {seed} {name}: {accuracy:.2f} {loss:.4f}", flush=True)
        show(task, runs)


if __name__ == "__main__":
    app.run(main)
