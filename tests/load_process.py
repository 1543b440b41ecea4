"""How much memory shrinking takes; prints one line of JSON.

python tests/load_process.py huge        # one network of 300 million parameters
python tests/load_process.py many 1000   # as many calls of shrink
"""

import gc
import json
import os
import resource
import sys
import threading
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import sft_keras

COLLECTED_EVERY = 50  # calls
PAGE = os.sysconf("SC_PAGE_SIZE")


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


class Peak:
    """The most memory that a block takes, sampled every 5 ms."""

    def __enter__(self):
        self.bytes, self._ended = resident(), False
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()
        return self

    def _sample(self):
        while not self._ended:
            self.bytes = max(self.bytes, resident())
            time.sleep(0.005)

    def __exit__(self, *_):
        self._ended = True
        self._thread.join()


def dense(widths, inputs):
    """A network of Dense layers."""
    layers = [keras.layers.Dense(width, activation="relu") for width in widths]
    return keras.Sequential([keras.Input((inputs,)), *layers, keras.layers.Dense(2)])


def huge() -> dict:
    """Prunes and shrinks a network of 300 million parameters; memory beside its own size."""
    first = dense([8], 4)
    sft_keras.shrink(first, sft_keras.plan(first))  # loads what is loaded once
    gc.collect()
    before = resident()
    model = dense([10_000, 10_000, 10_000], 10_000)
    size = sum(int(np.prod(w.shape)) * 4 for w in model.weights)
    with Peak() as peak:
        plan = sft_keras.plan(model, pruning_ratio=0.5)
        sft_keras.mask(model, plan)
        small = sft_keras.shrink(model, plan)
    return {
        "parameters": model.count_params(),
        "left": small.count_params(),
        "times_its_size": (peak.bytes - before) / size,
    }


def many(calls: int) -> dict:
    """What shrinking a network so often adds, and what Keras' own copying of it adds."""
    model = dense([16, 16], 8)
    plan = sft_keras.plan(model)

    def copy():
        keras.models.clone_model(model)(np.zeros((1, 8)))

    return {
        "megabytes": _grown(lambda: sft_keras.shrink(model, plan), calls),
        "megabytes_of_clones": _grown(copy, calls),
    }


def _grown(function, calls: int) -> float:
    """Megabytes that the second half of the calls adds.

    A Keras model refers to itself, so that only the garbage collector frees it: when Python calls
    that is chance, so it is called here, and what is left then is what has really been kept.
    """
    start = 0
    for call in range(1, calls + 1):
        function()
        if call % COLLECTED_EVERY == 0:
            gc.collect()
        if call == calls // 2:
            start = resident()
    return (resident() - start) / 1e6


if __name__ == "__main__":
    found = huge() if sys.argv[1] == "huge" else many(int(sys.argv[2]))
    found["peak_gigabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps(found))
