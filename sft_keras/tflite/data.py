"""Turns whatever `evaluate` takes (arrays, `tf.data`, `PyDataset`, …) into numpy batches."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from sft_keras.errors import DataError

CHUNK = 256  # samples of a plain array that are worked on at once


class Slot(NamedTuple):
    """A model's input.

    Args:
        name: its name.
        shape: without the batch axis, None where any size goes.
        dtype: what is to hold the data's numbers as they are; floats may be rounded.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str = "float32"


class Batch(NamedTuple):
    """Inputs in the model's order, and labels where the data has one array of them."""

    inputs: list[np.ndarray]
    labels: np.ndarray | None


def batches(data: Any, slots: Sequence[Slot], limit: int | None = None) -> Iterator[Batch]:
    """Numpy batches of `data`, each checked against the model's inputs.

    Args:
        data: arrays `x` or `(x, y)`, where `x` may be a list or dict for several inputs; a
            `tf.data.Dataset`, `PyDataset` or any iterable of such batches; or a function that
            returns one.
        slots: the model's inputs.
        limit: samples after which to stop; None takes all.

    Yields:
        `Batch` records with at least one sample.

    Raises:
        DataError: no data, or wrong in number, shape, dtype or by NaN; names the input.

    Example:
        >>> for batch in batches((x, y), [Slot("image", (8, 8, 1))]):
        ...     print(batch.inputs[0].shape, batch.labels.shape)
        (256, 8, 8, 1) (256,)
    """
    seen, limit = 0, sys.maxsize if limit is None else limit
    data = data() if _is_function(data) else data
    for x, y in _raw_batches(data, len(slots), endless_is_fine=limit < sys.maxsize):
        batch = Batch(_match(x, slots), _labels(y))
        count = min(_count(batch), limit - seen)
        for start in range(0, count, CHUNK):
            yield _cut(batch, slice(start, min(start + CHUNK, count)))
        seen += count
        if seen >= limit:
            break
    if not seen:
        raise DataError("The data holds no samples; give at least one.")


def _is_function(data: Any) -> bool:
    is_data = isinstance(data, Iterable) or hasattr(data, "__getitem__")
    return callable(data) and not is_data and not hasattr(data, "__array__")


def _raw_batches(data: Any, count: int, endless_is_fine: bool) -> Iterator[tuple[Any, Any]]:
    """The inputs and labels of each batch, for a model of `count` inputs."""
    if isinstance(data, tuple | list | dict) or hasattr(data, "__array__"):
        # As for `fit`: a tuple is (x, y), a list or dict holds several inputs.
        yield _unpack(data) if isinstance(data, tuple) else (data, None)
        return
    if not isinstance(data, Iterable) and not hasattr(data, "__getitem__"):
        raise DataError(
            f"Data of type {type(data).__name__} cannot be read; give arrays, a tf.data.Dataset "
            "or a PyDataset."
        )
    if not endless_is_fine and _is_endless(data):
        raise DataError("The data never ends; take a number of batches: dataset.take(100).")
    for element in _elements(data):
        is_pair = isinstance(element, tuple | list) and not _is_inputs(element, count)
        yield _unpack(tuple(element)) if is_pair else (element, None)


def _is_inputs(element: tuple | list, count: int) -> bool:
    """Whether a batch is a list of several inputs, rather than inputs and labels."""
    is_list = isinstance(element, list) and len(element) == count > 1
    return is_list and not isinstance(element[0], tuple | list | dict)


def _unpack(element: tuple) -> tuple[Any, Any]:
    if not 1 <= len(element) <= 3:
        raise DataError(
            f"A batch is a tuple of {len(element)} parts; give (x, y), and several inputs as a "
            "list or dict within it."
        )
    return element[0], element[1] if len(element) > 1 else None


def _is_endless(data: Any) -> bool:
    if hasattr(data, "cardinality"):  # tf.data has -1 for infinity
        return int(data.cardinality()) == -1
    # A PyDataset without a length goes on for ever.
    return getattr(data, "num_batches", 0) is None


def _elements(data: Any) -> Iterator[Any]:
    # A PyDataset and a tf_keras Sequence may lack __iter__, or have one that never ends.
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return (data[i] for i in range(len(data)))
    return iter(data)


def _match(x: Any, slots: Sequence[Slot]) -> list[np.ndarray]:
    names = [slot.name for slot in slots]
    if isinstance(x, dict):
        if set(x) != set(names):
            raise DataError(f"The data has inputs {sorted(x)}, the model {names}; rename them.")
        x = [x[name] for name in names]
    elif not isinstance(x, list | tuple):
        x = [x]
    if len(x) != len(slots):
        raise DataError(
            f"The data has {len(x)} inputs, the model {len(slots)}: {names}; give several as a "
            "list [a, b] or a dict by name, and several batches by a generator."
        )
    arrays = [_array(value, slot) for value, slot in zip(x, slots, strict=True)]
    if len({len(array) for array in arrays}) > 1:
        raise DataError(f"Inputs differ in their number of samples: {list(map(len, arrays))}.")
    return arrays


def _array(value: Any, slot: Slot) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise DataError(f"The data for input '{slot.name}' has dtype {array.dtype}; give numbers.")
    if _fits((*array.shape, 1), slot.shape):
        array = array[..., np.newaxis]  # as `fit` does with images of one channel
    if not _fits(array.shape, slot.shape):
        is_one = _fits((1, *array.shape), slot.shape)
        way_out = "give batches of samples, as dataset.batch(32) does" if is_one else "reshape it"
        raise DataError(
            f"The data for input '{slot.name}' has shape {array.shape}, the model takes "
            f"{('batch', *slot.shape)}; {way_out}."
        )
    if not np.isfinite(array).all():
        raise DataError(f"NaN or infinity in the data for input '{slot.name}'; clean the data.")
    changed = _changed(array, slot.dtype)
    if changed.size:
        raise DataError(
            f"The data for input '{slot.name}' holds {changed[0]}, which its dtype {slot.dtype} "
            "cannot; give the numbers that the device feeds, or build the model with a float Input."
        )
    return array


def _changed(array: np.ndarray, dtype: str) -> np.ndarray:
    """The numbers that a dtype of integers cuts off."""
    if "float" in dtype:
        return array[:0]
    with np.errstate(invalid="ignore"):
        return array[array.astype(dtype) != array]


def _fits(shape: Sequence[int], want: Sequence[int | None]) -> bool:
    """Whether an array of this shape is a batch of what is wanted."""
    sizes = shape[1:]
    return len(sizes) == len(want) and all(
        w in (None, size) for w, size in zip(want, sizes, strict=True)
    )


def _labels(y: Any) -> np.ndarray | None:
    if y is None or isinstance(y, dict | tuple):
        return None
    if isinstance(y, list) and not all(isinstance(label, int | float) for label in y):
        return None
    return np.asarray(y)


def _count(batch: Batch) -> int:
    count = len(batch.inputs[0])
    if batch.labels is not None and len(batch.labels) != count:
        raise DataError(f"{count} samples come with {len(batch.labels)} labels; give one each.")
    return count


def _cut(batch: Batch, part: slice) -> Batch:
    labels = None if batch.labels is None else batch.labels[part]
    return Batch([array[part] for array in batch.inputs], labels)
