import keras
import numpy as np
import pytest

from sft_keras.errors import ArgumentError, UnsupportedError
from sft_keras.quantization import quantize

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 6, 6, 2)).astype("float32")
Y = (X.mean(axis=(1, 2, 3)) > 0).astype("int32")


def conv_net(flavor, filters=8, seed=0, classes=2):
    flavor.utils.set_random_seed(seed)
    layers = flavor.layers
    model = flavor.Sequential(
        [
            flavor.Input((6, 6, 2)),
            layers.Conv2D(filters, 3, padding="same"),
            layers.BatchNormalization(momentum=0.5),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(classes, activation="softmax"),
        ]
    )
    model.compile(
        flavor.optimizers.SGD(0.1), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    return model


def trained(qat, epochs=8):
    keras.utils.set_random_seed(1)
    qat.fit(X, Y, batch_size=16, epochs=epochs, verbose=0)
    return qat


def test_taught_in_plain_fit_the_rest_as_without(flavor, to_file):
    model, teacher = conv_net(flavor, filters=4), conv_net(flavor, seed=5)
    before = [w.copy() for w in teacher.get_weights()]
    plain, taught = trained(quantize(model)), trained(quantize(model, teacher=teacher))
    expected = teacher.predict(X, verbose=0)
    gaps = [np.abs(m.predict(X, verbose=0) - expected).mean() for m in (taught, plain)]
    assert gaps[0] < gaps[1]
    assert all(map(np.array_equal, before, teacher.get_weights()))
    assert type(taught) is type(plain)
    assert [w.shape for w in taught.weights] == [w.shape for w in plain.weights]
    files = [to_file(m) for m in (taught, plain)]
    assert files[0].operators == files[1].operators
    assert files[0].floats == []


def test_evaluate_shows_the_plain_loss(flavor):
    taught = trained(quantize(conv_net(flavor), teacher=conv_net(flavor, seed=5)), epochs=1)
    probabilities = taught.predict(X, verbose=0)[np.arange(64), Y]
    assert taught.evaluate(X, Y, verbose=0)[0] == pytest.approx(-np.log(probabilities).mean(), 1e-4)


def test_the_teacher_is_not_saved(tmp_path):
    from sft_keras.quantization import load_model

    taught = trained(quantize(conv_net(keras), teacher=conv_net(keras, seed=5)), epochs=1)
    taught.save(tmp_path / "qat.keras")
    loaded = load_model(tmp_path / "qat.keras")
    assert np.array_equal(loaded.predict(X, verbose=0), taught.predict(X, verbose=0))
    assert "compute_loss" not in vars(loaded)
    trained(loaded, epochs=1)


def test_teachers_that_do_not_fit():
    with pytest.raises(ArgumentError, match=r"outputs of shape \(3,\), model"):
        quantize(conv_net(keras), teacher=conv_net(keras, classes=3))
    raw = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Flatten()])
    with pytest.raises(UnsupportedError, match="call its compile"):
        quantize(raw, teacher=conv_net(keras))
