"""The numbers of one row of the table."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.costs import cost
from sft_keras.errors import MissingExtraError, UnsupportedError
from sft_keras.tflite import LiteModel, arena_size, convert, latency, lite_cost, verify
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
    worth = {name: _worth(model, data) for name, model in models.items()}
    lites = {name: _as_lite(model) for name, model in models.items()}
    times = latency(lites)
    return [
        Row(name, *worth[name], lite.size, times[name].median, _arena(lite))
        for name, lite in lites.items()
    ]


def _worth(model: Any, data: Any) -> tuple[float | None, int, int]:
    """Accuracy, parameters and multiply-accumulates."""
    if isinstance(model, LiteModel):
        return verify(model, data)[RUNTIME].accuracy, lite_cost.params(model), lite_cost.macs(model)
    costs = cost(model)
    return accuracy(model, data), costs.params, costs.macs


def _as_lite(model: Any) -> LiteModel:
    return model if isinstance(model, LiteModel) else convert(model, dtype="float32")


def _arena(lite: LiteModel) -> int | None:
    try:
        return arena_size(lite)
    except (MissingExtraError, UnsupportedError):
        return None


def accuracy(model: Any, data: Any) -> float | None:
    """Share of samples for which a Keras model's largest output is the label's.

    Args:
        model: a built model of either Keras.
        data: whatever `evaluate` takes; labels are class numbers or one-hot.

    Returns:
        0 to 1; None where the data has no labels, or the model is no single-output classifier.

    Raises:
        DataError: no data, or data that does not fit the model.
    """
    slots = [Slot(x.name, tuple(x.shape[1:])) for x in flavors.inputs(model)]
    outputs = flavors.outputs(model)
    classifies = len(outputs) == 1 and len(outputs[0].shape) == 2
    hits: list[bool] = []
    for x, y in batches(data, slots):
        if y is None or not classifies:
            return None
        scores = np.asarray(model.predict_on_batch(x[0] if len(x) == 1 else x))
        classes = _classes(y, scores.shape)
        if classes is None:
            return None
        hits.extend(scores.argmax(axis=-1) == classes)
    return float(np.mean(hits))


def _classes(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """Class numbers of labels for outputs of this shape."""
    if labels.shape == shape and np.isin(labels, (0, 1)).all():
        return labels.argmax(axis=-1)
    if labels.size == len(labels) and np.equal(np.mod(labels, 1), 0).all():
        return labels.reshape(-1)
    return None
