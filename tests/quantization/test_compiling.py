import functools

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers

from sft_keras.errors import UnsupportedError
from sft_keras.quantization import problems, quantize


def dense():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3, name="out")])


def compiled(**settings):
    model = dense()
    model.compile(**settings)
    return quantize(model)


def test_what_was_not_compiled_is_not_compiled():
    assert not quantize(dense())._is_compiled


OPTIMIZERS = {
    "sgd": lambda o: o.SGD(0.1, momentum=0.8, nesterov=True, clipnorm=1.5),
    "adam": lambda o: o.Adam(0.02, beta_1=0.7, epsilon=1e-5, amsgrad=True),
    "adamw": lambda o: o.AdamW(0.03, weight_decay=0.2),
    "rmsprop": lambda o: o.RMSprop(0.01, rho=0.8, use_ema=True, ema_momentum=0.9),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("library", [keras, tf_keras])
def test_optimizer_keeps_its_hyperparameters(name, library):
    optimizer = OPTIMIZERS[name](library.optimizers)
    model = library.Sequential([library.Input((4,)), library.layers.Dense(3)])
    model.compile(optimizer, "mse")
    optimizer.learning_rate = 0.004
    new = quantize(model).optimizer
    assert isinstance(new, tf_keras.optimizers.Optimizer)
    assert new is not optimizer
    old_config, new_config = optimizer.get_config(), new.get_config()
    assert new_config["learning_rate"] == pytest.approx(0.004)
    for key in set(old_config) & set(new_config) - {"learning_rate", "name"}:
        assert new_config[key] == old_config[key]


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_schedule_gives_its_current_value(library):
    schedule = library.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    model = library.Sequential([library.Input((4,)), library.layers.Dense(3)])
    model.compile(library.optimizers.SGD(schedule), "mse")
    model.fit(np.zeros((8, 4)), np.zeros((8, 3)), batch_size=4, verbose=0)
    # Keras 3 gives the rate of the next step, tf_keras that of the last.
    expected = {keras: 0.025, tf_keras: 0.05}[library]
    assert float(quantize(model).optimizer.learning_rate) == pytest.approx(expected)


def test_what_the_optimizer_of_tf_keras_has_not_is_said(caplog):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(keras.optimizers.Adam(1e-3, gradient_accumulation_steps=2), "mse")
    with caplog.at_level("WARNING"):
        quantize(model)
    (record,) = caplog.records
    assert "Adam has no gradient_accumulation_steps=2: trained without" in record.getMessage()


def test_an_optimizer_of_tf_keras_loses_nothing(caplog):
    model = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(2)])
    model.compile("adam", "mse")
    with caplog.at_level("WARNING"):
        assert isinstance(quantize(model).optimizer, tf_keras.optimizers.Adam)
    assert not caplog.records


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_what_is_left_out_of_weight_decay_stays_out(library):
    model = library.Sequential([library.Input((3,)), library.layers.Dense(2)])
    optimizer = library.optimizers.AdamW(0.1, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, "mse")
    model.layers[-1].set_weights([np.ones((3, 2)), np.ones(2)])
    qat = quantize(model)
    zeros = np.zeros((8, 3)), np.ones((8, 2))  # no gradient but that of the ranges
    qat.fit(*zeros, verbose=0)
    by_name = {v.name: v.numpy() for v in qat.trainable_variables}
    kernel, bias = (next(x for k, x in by_name.items() if part in k) for part in ("kernel", "bias"))
    assert np.all(kernel < 0.99)
    assert np.allclose(bias, 1, atol=1e-6)


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_what_the_gates_of_a_recurrent_layer_have_not_is_said(library, caplog):
    layers = library.layers
    x = library.Input((4, 3))
    y = layers.LSTM(3, dropout=0.5, kernel_regularizer="l2", name="lossy", return_sequences=True)(x)
    model = library.Model(x, layers.Dense(2)(layers.GRU(3, name="plain")(y)))
    with caplog.at_level("WARNING"):
        quantize(model)
    texts = [r.getMessage() for r in caplog.records if "trained without" in r.getMessage()]
    assert texts == ["Layer 'lossy' has dropout, kernel_regularizer: trained without."]


@pytest.mark.parametrize("library", [keras, tf_keras])
def test_schedule_that_has_run_out_gives_a_tenth_of_its_start(library):
    model = library.Sequential([library.Input((4,)), library.layers.Dense(3)])
    schedule = library.optimizers.schedules.PolynomialDecay(0.5, 2, end_learning_rate=0.0)
    model.compile(library.optimizers.SGD(schedule), "mse")
    model.fit(np.ones((8, 4)), np.ones((8, 3)), batch_size=2, verbose=0)
    assert float(quantize(model).optimizer.learning_rate) == pytest.approx(0.05)


def test_mixed_precision_optimizer_gives_its_inner_one():
    inner = keras.optimizers.Adam(0.5)
    qat = compiled(optimizer=keras.optimizers.LossScaleOptimizer(inner), loss="mse")
    assert type(qat.optimizer).__name__ == "Adam"
    assert float(qat.optimizer.learning_rate) == 0.5


def test_losses_and_metrics_of_all_kinds():
    def own(y, p):
        return keras.ops.mean((y - p) ** 4, axis=-1)

    qat = compiled(
        optimizer="adam",
        loss=keras.losses.Huber(delta=0.5),
        metrics=["mae", keras.metrics.TopKCategoricalAccuracy(2, name="top"), own],
        weighted_metrics=[keras.losses.mean_squared_error],
    )
    assert qat.loss.get_config()["delta"] == 0.5
    logs = qat.evaluate(np.ones((4, 4)), np.eye(4, 3), return_dict=True, verbose=0)
    assert set(logs) == {"loss", "mae", "top", "own", "mean_squared_error"}


def test_own_loss_function():
    qat = compiled(optimizer="sgd", loss=lambda y, p: keras.ops.mean(keras.ops.abs(y - p)))
    assert np.isfinite(qat.fit(np.ones((4, 4)), np.ones((4, 3)), verbose=0).history["loss"][0])


def test_settings_by_output_name():
    x = keras.Input((4,), name="x")
    outputs = [
        layers.Dense(2, activation="softmax", name="kind")(x),
        layers.BatchNormalization(name="size")(layers.Dense(1)(x)),
    ]
    model = keras.Model(x, outputs)
    model.compile(
        "adam",
        loss={"kind": "categorical_crossentropy", "size": "mse"},
        loss_weights={"kind": 1.0, "size": 0.5},
        metrics={"kind": ["accuracy"]},
    )
    targets = {"kind": np.eye(8, 2), "size": np.zeros((8, 1))}
    history = quantize(model).fit({"x": np.ones((8, 4))}, targets, verbose=0).history
    total = history["kind_loss"][0] + 0.5 * history["size_loss"][0]
    assert history["loss"][0] == pytest.approx(total, rel=1e-5)
    assert "kind_accuracy" in history


class OwnLoss(keras.losses.Loss):
    def call(self, y, p):
        return y - p


def test_what_tf_keras_has_not_is_a_problem_each():
    model = dense()
    own_metric = type("OwnMetric", (keras.metrics.Mean,), {})
    model.compile(keras.optimizers.Lamb(), OwnLoss(), metrics=[own_metric()])
    assert [p.layer for p in problems(model)] == [
        "compile(optimizer=...)",
        "compile(loss=...)",
        "compile(metrics=...)",
    ]
    with pytest.raises(UnsupportedError, match="'Lamb', which tf_keras has not"):
        quantize(model)


def squares(y_true, y_pred, factor=2.0):
    return factor * keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)


class Squares:
    def __call__(self, y_true, y_pred):
        return squares(y_true, y_pred)

    def method(self, y_true, y_pred):
        return squares(y_true, y_pred)


CALLABLES = {
    "partial": functools.partial(squares, factor=2.0),
    "method": Squares().method,
    "object": Squares(),
}


@pytest.mark.parametrize("loss", CALLABLES.values(), ids=CALLABLES)
def test_whatever_can_be_called_may_be_a_loss_or_metric(loss):
    model = dense()
    model.compile("sgd", loss, metrics=[loss])
    qat = quantize(model)
    logs = qat.fit(np.ones((8, 4)), np.zeros((8, 3)), verbose=0).history
    assert all(np.isfinite(values).all() for values in logs.values())
    assert len(logs) == 2


@pytest.mark.parametrize(
    ("reduction", "same"), [("mean", "sum_over_batch_size"), ("sum", "sum"), (None, "none")]
)
def test_reductions_are_translated(reduction, same):
    loss = keras.losses.MeanSquaredError(reduction=reduction)
    assert compiled(optimizer="sgd", loss=loss).loss.reduction == same


def test_a_reduction_that_tf_keras_has_not_is_refused_by_name():
    model = dense()
    model.compile("sgd", keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"))
    (problem,) = problems(model)
    assert "MeanSquaredError with reduction='mean_with_sample_weight'" in str(problem)
