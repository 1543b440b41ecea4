import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from sft_keras.errors import DataError
from sft_keras.tflite.data import Slot, batches

IMAGE = Slot("image", (4, 4, 1))
X = np.arange(600 * 16, dtype="float32").reshape(600, 4, 4, 1)
Y = np.arange(600) % 3


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 6

    def __getitem__(self, i):
        return X[100 * i : 100 * (i + 1)], Y[100 * i : 100 * (i + 1)]


class Endless(keras.utils.PyDataset):
    num_batches = None

    def __getitem__(self, i):
        return X[:100], Y[:100]


class OldBatches(tf_keras.utils.Sequence):
    __len__ = Batches.__len__
    __getitem__ = Batches.__getitem__


def everything(data, slots=(IMAGE,), limit=None):
    found = list(batches(data, slots, limit))
    columns = zip(*(batch.inputs for batch in found), strict=True)
    labels = [batch.labels for batch in found]
    return [np.concatenate(c) for c in columns], None if labels[0] is None else np.concatenate(
        labels
    )


@pytest.mark.parametrize(
    "data",
    [
        (X, Y),
        (X, Y, np.ones(600)),
        (X, list(Y.tolist())),
        ({"image": X}, Y),
        ([X], Y),
        (X[..., 0], Y),
        tf.data.Dataset.from_tensor_slices((X, Y)).batch(64),
        Batches(),
        OldBatches(),
        [[X[i : i + 1], Y[i : i + 1]] for i in range(600)].__iter__(),
        ((X[i : i + 50], Y[i : i + 50]) for i in range(0, 600, 50)),
    ],
    ids=[
        "arrays",
        "weights",
        "list",
        "dict",
        "inputs",
        "no-channels",
        "dataset",
        "keras",
        "tf_keras",
        "iterator",
        "generator",
    ],
)
def test_all_that_evaluate_takes_gives_the_same(data):
    (x,), y = everything(data)
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)


@pytest.mark.parametrize("data", [X, (X,), {"image": X}, tf.data.Dataset.from_tensors(X)])
def test_labels_are_optional(data):
    (x,), y = everything(data)
    assert np.array_equal(x, X)
    assert y is None


@pytest.mark.parametrize("limit", [1, 256, 300])
def test_limit_counts_samples(limit):
    for data in ((X, Y), Batches()):
        (x,), y = everything(data, limit=limit)
        assert len(x) == len(y) == limit


def test_endless_data_needs_a_limit():
    for data in (tf.data.Dataset.from_tensors((X, Y)).repeat(), Endless(workers=1)):
        with pytest.raises(DataError, match="never ends"):
            everything(data)
    (x,), _ = everything(tf.data.Dataset.from_tensors((X, Y)).repeat(), limit=700)
    assert len(x) == 700


def test_several_inputs_by_name_and_by_order():
    slots = [Slot("b", (4, 4, 1)), Slot("a", (4, 4, 1))]
    for data in (
        {"a": X + 1, "b": X},
        [X, X + 1],
        tf.data.Dataset.from_tensors({"a": X + 1, "b": X}),
    ):
        (b, a), _ = everything(data, slots)
        assert np.array_equal(a, b + 1)


def test_labels_of_several_outputs_are_no_array():
    assert everything((X, [Y, Y]))[1] is None
    assert everything((X, {"a": Y, "b": Y}))[1] is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (X[:0], "no samples"),
        (iter([]), "no samples"),
        (X[0], r"shape \(4, 4, 1\), the model takes \('batch', 4, 4, 1\)"),
        (tf.data.Dataset.from_tensor_slices(X[:4]), r"dataset\.batch\(32\)"),
        ([X, X], "several batches by a generator"),
        (X[:, :3], r"'image' has shape \(600, 3, 4, 1\)"),
        (np.full((2, 4, 4, 1), np.nan), "NaN or infinity in the data for input 'image'"),
        (np.full((2, 4, 4, 1), "text"), "dtype <U4"),
        ((X, Y[:5]), "600 samples come with 5 labels"),
        ({"picture": X}, r"inputs \['picture'\], the model \['image'\]"),
        ([X, X], "2 inputs, the model 1"),
        ((X, Y, Y, Y), "4 parts"),
        (7, "type int"),
    ],
)
def test_bad_data_is_named(data, message):
    with pytest.raises(DataError, match=message):
        everything(data)


def test_a_function_gives_batches_as_the_converter_of_tensorflow_takes_them():
    (x,), y = everything(lambda: ([X[i : i + 1]] for i in range(5)))
    assert np.array_equal(x, X[:5])
    assert y is None
    slots = [Slot("b", (4, 4, 1)), Slot("a", (4, 4, 1))]
    (b, a), _ = everything(lambda: ([X[i : i + 1], X[i : i + 1] + 1] for i in range(5)), slots)
    assert np.array_equal(a, b + 1)
    (b, a), y = everything(lambda: ([[X[:4], X[:4] + 1], Y[:4]] for _ in range(2)), slots)
    assert np.array_equal(a, b + 1)
    assert np.array_equal(y, np.tile(Y[:4], 2))


def test_whatever_can_be_called_gives_batches():
    class Recording:
        def batches(self, count):
            return ([X[i : i + 1]] for i in range(count))

        def five(self):
            return self.batches(5)

    recording = Recording()
    for data in (functools.partial(recording.batches, 5), recording.five):
        assert np.array_equal(everything(data)[0][0], X[:5])


@pytest.mark.parametrize(("value", "dtype"), [(1.5, "int32"), (0.5, "uint8"), (-1, "uint8")])
def test_numbers_that_an_input_would_cut_off_are_refused(value, dtype):
    slot = Slot("tokens", (1,), dtype)
    assert everything(np.full((2, 1), 1.0), [slot])[0][0].shape == (2, 1)
    with pytest.raises(DataError, match=f"'tokens' holds {value}, which its dtype {dtype} cannot"):
        everything(np.full((2, 1), value), [slot])


def test_two_inputs_as_a_tuple_are_told_from_inputs_and_labels():
    slots = [Slot("a", (4, 4, 1)), Slot("b", (4, 4, 1))]
    with pytest.raises(DataError, match=r"1 inputs, the model 2.*as a list \[a, b\]"):
        everything((X, X), slots)


def test_inputs_must_be_equally_many():
    with pytest.raises(DataError, match=r"\[600, 5\]"):
        everything([X, X[:5]], [Slot("a", (4, 4, 1)), Slot("b", (4, 4, 1))])


def test_a_generator_that_ends_early_gives_what_it_had():
    (x,), _ = everything((X[:10] for _ in range(2)), limit=500)
    assert len(x) == 20
