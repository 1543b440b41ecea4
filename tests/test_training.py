import numpy as np
import pytest

from sft_keras import training
from sft_keras.errors import UnsupportedError

X = np.linspace(0, 1, 32, dtype="float32").reshape(8, 4)
Y = np.arange(8) % 2


def classifier(flavor, optimizer):
    model = flavor.Sequential([flavor.layers.Input((4,)), flavor.layers.Dense(2)])
    if optimizer:
        loss = flavor.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model


def learning_rates(history):
    # The two Kerases log it under different names.
    return history.get("learning_rate", history.get("lr"))


def test_learning_rate_falls_along_half_a_cosine_and_is_put_back(flavor):
    model = classifier(flavor, flavor.optimizers.SGD(0.4))
    history = training.fit(model, (X, Y), (X, Y), 4, verbose=0)
    expected = 0.2 * (1 + np.cos(np.pi * np.arange(4) / 4))
    assert np.allclose(learning_rates(history), expected)
    assert np.isclose(float(model.optimizer.learning_rate.numpy()), 0.4)
    assert len(history["val_accuracy"]) == 4


def test_learning_rate_is_put_back_after_an_exception(flavor):
    class Stop(flavor.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    model = classifier(flavor, flavor.optimizers.SGD(0.4))
    with pytest.raises(KeyboardInterrupt):
        training.fit(model, (X, Y), (X, Y), 4, callbacks=[Stop()], verbose=0)
    assert np.isclose(float(model.optimizer.learning_rate.numpy()), 0.4)


def test_learning_rate_falls_in_mixed_precision(flavor):
    flavor.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = classifier(flavor, flavor.optimizers.SGD(0.4))
    finally:
        flavor.mixed_precision.set_global_policy("float32")
    assert hasattr(model.optimizer, "inner_optimizer")
    history = training.fit(model, (X, Y), (X, Y), 2, verbose=0)
    assert np.allclose(learning_rates(history), [0.4, 0.2])
    assert np.isclose(float(model.optimizer.learning_rate.numpy()), 0.4)


def test_schedule_of_the_optimizer_is_kept(flavor):
    schedule = flavor.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    model = classifier(flavor, flavor.optimizers.SGD(schedule))
    history = training.fit(model, (X, Y), (X, Y), 2, verbose=0)
    assert np.isfinite(history["loss"]).all()
    assert model.optimizer.get_config()["learning_rate"]["class_name"] == "ExponentialDecay"


def test_callbacks_are_called(flavor):
    epochs = []
    note = flavor.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append(epoch))
    model = classifier(flavor, "adam")
    training.fit(model, (X, Y), (X, Y), 2, callbacks=[note], verbose=0)
    assert epochs == [0, 1]


def test_model_without_optimizer_is_refused(flavor):
    with pytest.raises(UnsupportedError, match=r"has no loss and optimizer; call its compile\(\)"):
        training.fit(classifier(flavor, None), (X, Y), (X, Y), 1)
