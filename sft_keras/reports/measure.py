"""The numbers of one row of the table."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.costs import cost
from sft_keras.errors import MissingExtraError, UnsupportedError
from sft_keras.reports import lite_cost
from sft_keras.tflite import LiteModel, arena_size, convert, latency, verify
from sft_keras.tflite.data import Slot, batches

RUNTIME = "litert"  # the one that every installation has


@dataclasses.dataclass(frozen=True)
class Row:
    """One model, measured.

    Attributes:
        name: what the caller calls it.
        accuracy: share of held-out samples whose label is the model's largest output, 0 to 1;
            None where the data has no labels.
        params: number of weights.
        macs: multiply-accumulates of one sample.
        bytes: size as a `.tflite` file; as a float32 one for a Keras model.
        latency_ms: median time of one sample on this machine, in milliseconds, one thread.
        arena_bytes: working memory of TFLite Micro; None where it is not installed or cannot run
            the file.
    """

    name: str
    accuracy: float | None
    params: int
    macs: int
    bytes: int
    latency_ms: float
    arena_bytes: int | None


def measure(models: Mapping[str, Any], data: Any) -> list[Row]:
    """Measures Keras models and `.tflite` files alike.

    Args:
        models: by name, built models of either Keras, or `LiteModel`s.
        data: held-out data, whatever `evaluate` takes.

    Returns:
        One `Row` a model, in the order of `models`.
    """
    lites = {name: _as_lite(model) for name, model in models.items()}
    times = latency(lites)
    rows = []
    for name, model in models.items():
        accuracy, params, macs = _worth(model, data)
        lite = lites[name]
        size, milliseconds, arena = lite.size, times[name].median, _arena(lite)
        rows.append(Row(name, accuracy, params, macs, size, milliseconds, arena))
    return rows


def _as_lite(model):
    return model if isinstance(model, LiteModel) else convert(model, dtype="float32")


def _worth(model, data):
    """Accuracy, parameters and multiply-accumulates."""
    if isinstance(model, LiteModel):
        accuracy = verify(model, data)[RUNTIME].accuracy
        return accuracy, lite_cost.params(model), lite_cost.macs(model)
    costs = cost(model)
    return _keras_accuracy(model, data), costs.params, costs.macs


def _keras_accuracy(model, data):
    slots = [Slot(x.name, tuple(x.shape[1:])) for x in flavors.inputs(model)]
    hits, count = 0, 0
    for x, y in batches(data, slots):
        if y is None:
            return None
        scores = np.asarray(model.predict_on_batch(x[0] if len(x) == 1 else x))
        labels = y.argmax(axis=-1) if y.shape == scores.shape else y.reshape(-1)
        hits += int((scores.argmax(axis=-1) == labels).sum())
        count += len(scores)
    return hits / count


def _arena(lite):
    try:
        return arena_size(lite)
    except (MissingExtraError, UnsupportedError):
        return None
