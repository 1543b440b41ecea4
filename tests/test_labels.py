import keras
import numpy as np
import pytest
import tensorflow as tf

import sft_keras
from sft_keras.errors import DataError
from sft_keras.labels import require_labels

X, Y = np.zeros((8, 6, 6, 1), "float32"), np.zeros(8, int)


def batched(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else arrays[0]).batch(4)


@pytest.mark.parametrize(
    ("name", "train", "val"),
    [
        ("train", X, Y),
        ("train", (X,), (X, Y)),
        ("train", (X, None), (X, Y)),
        ("train", [X], (X, Y)),
        ("train", {"image": X}, (X, Y)),
        ("train", batched(X), batched(X, Y)),
        ("val", (X, Y), X),
        ("val", batched(X, Y), tf.constant(X)),
    ],
)
def test_data_without_labels_is_refused_before_training(small_model, monkeypatch, name, train, val):
    monkeypatch.setattr("sft_keras.compression.fit", lambda *a, **options: pytest.fail("trained"))
    with pytest.raises(DataError, match=rf"^{name} has no labels .* give {name}=\(x, y\)"):
        sft_keras.compress(small_model(), train, val)


def generator():
    yield X, Y


@pytest.mark.parametrize("data", [(X, Y), (X, Y, Y), batched(X, Y), generator()])
def test_data_with_labels_passes(small_model, data):
    model = small_model()
    assert require_labels(model, train=data) is None
    with pytest.raises(DataError):  # the same model, so it is the data that passed
        require_labels(model, train=X)


class OwnStep(keras.Model):
    def train_step(self, state, data):
        return super().train_step(state, data)


def test_a_model_that_may_need_no_labels_passes(small_model):
    model = small_model()
    model.compile("adam", loss=None)
    assert require_labels(model, train=X) is None
    own = OwnStep(model.inputs, model.outputs)
    own.compile("adam", "sparse_categorical_crossentropy")
    assert require_labels(own, train=X) is None
