"""SoftFilterPrune beside everything else that `compile` and `fit` can be asked for."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from test_callbacks import SPARSE, conv_net, data

from sft_keras import SoftFilterPrune, channel_groups, cost, shrink
from sft_keras.channels.mask import read_mask
from sft_keras.errors import ArgumentError, UnsupportedError
from sft_keras.regularizers import FilterL1
from sft_keras.schedules import Phases

EPOCHS = 6


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)
    tf_keras.utils.set_random_seed(0)


def require_pruned(model, prune):
    """What holds after every `fit`: half of each layer is zero, and goes without a difference."""
    assert np.array_equal(read_mask(channel_groups(model)) | ~prune.mask, np.ones(16, bool))
    assert prune.mask.sum() == 7
    small = shrink(model)
    x, _ = data(seed=4)
    assert np.abs(small.predict(x, verbose=0) - model.predict(x, verbose=0)).max() < 1e-5
    assert cost(small).macs < cost(model).macs / 2
    assert all(v.constraint is None for v in model.trainable_variables)


def fitted(model, *more, **options):
    """Prunes a model, checks it, and gives the history."""
    prune = SoftFilterPrune()
    given = {"epochs": EPOCHS, "verbose": 0, "validation_data": data(seed=3)} | options
    if "x" not in given:
        given["x"], given["y"] = data()
    history = model.fit(**given, callbacks=[prune, *more])
    require_pruned(model, prune)
    return history.history


def optimizer(flavor, **arguments):
    return flavor.optimizers.Adam(0.01, **arguments)


def compiled(flavor, optimizer="adam", **arguments):
    model = conv_net(flavor)
    model.compile(optimizer, SPARSE, metrics=["accuracy"], **arguments)
    return model


@pytest.mark.parametrize(
    "arguments",
    [{"jit_compile": True}, {"steps_per_execution": 2}, {"run_eagerly": True}],
    ids=str,
)
def test_compile_arguments(flavor, arguments):
    fitted(compiled(flavor, **arguments))


@pytest.mark.parametrize("overwrite", [None, 2])
def test_moving_average_of_the_weights(flavor, overwrite):
    ema = optimizer(flavor, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=overwrite)
    fitted(compiled(flavor, ema))


def test_gradient_accumulation():
    fitted(compiled(keras, optimizer(keras, gradient_accumulation_steps=2)))


def test_weight_decay_and_clipping(flavor):
    fitted(compiled(flavor, flavor.optimizers.AdamW(0.01, weight_decay=0.1, clipnorm=1.0)))


def test_class_weights(flavor):
    fitted(conv_net(flavor), class_weight={0: 1.0, 1: 3.0})


def test_datasets_of_tensorflow(flavor):
    batches = tf.data.Dataset.from_tensor_slices(data()).batch(32)
    fitted(conv_net(flavor), x=batches, validation_data=batches)


def test_endless_generators(flavor):
    def batches():
        while True:
            yield tuple(part[:32] for part in data())

    fitted(conv_net(flavor), x=batches(), steps_per_epoch=3)


def test_datasets_of_python_with_workers():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return tuple(part[32 * index : 32 * index + 32] for part in data())

    fitted(conv_net(keras), x=Batches(workers=2))


@pytest.mark.parametrize("initial", [1, 5])
def test_initial_epoch(flavor, initial):
    history = fitted(conv_net(flavor), initial_epoch=initial)
    assert len(history["phase"]) == EPOCHS - initial
    assert history["phase"][-1] == 2


def test_one_callback_in_two_fits_and_copies_of_it(flavor):
    prune = SoftFilterPrune()
    for callback in (prune, prune, copy.deepcopy(prune)):
        model = conv_net(flavor)
        model.fit(*data(), epochs=3, verbose=0, callbacks=[callback])
        require_pruned(model, callback)


def test_schedule_of_the_learning_rate(flavor):
    rates = [0.01 / (1 + epoch) for epoch in range(EPOCHS)]
    schedule = flavor.callbacks.LearningRateScheduler(lambda epoch: rates[epoch])
    history = fitted(compiled(flavor, optimizer(flavor)), schedule)
    found = history.get("learning_rate", history.get("lr"))
    assert np.allclose(found, rates)


def test_moving_average_in_mixed_precision(flavor):
    flavor.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = compiled(flavor, optimizer(flavor, use_ema=True, ema_momentum=0.9))
    finally:
        flavor.mixed_precision.set_global_policy("float32")
    prune = SoftFilterPrune()
    model.fit(*data(), epochs=EPOCHS, verbose=0, callbacks=[prune])
    assert prune.mask.sum() == 7
    assert read_mask(channel_groups(model)).sum() == 7


def stopping(flavor, **arguments):
    return flavor.callbacks.EarlyStopping(
        monitor="loss", mode="max", restore_best_weights=True, **arguments
    )


def test_an_end_before_the_final_mask_is_said(flavor, caplog):
    model, prune = conv_net(flavor), SoftFilterPrune()
    stop = stopping(flavor, patience=1)
    x, y = data()
    model.fit(x, y, epochs=60, verbose=0, callbacks=[prune, stop])
    assert "before its final mask" in caplog.text
    assert "start_from_epoch=15" in caplog.text


def test_weights_of_another_mask_are_said(flavor, caplog):
    model, prune = conv_net(flavor), SoftFilterPrune()
    model.fit(*data(), epochs=12, verbose=0, callbacks=[stopping(flavor, patience=5), prune])
    assert "put it behind SoftFilterPrune" in caplog.text
    assert np.array_equal(prune.mask, read_mask(channel_groups(model)))


def test_frozen_normalizations_keep_their_numbers(flavor):
    model = conv_net(flavor)
    norms = [layer for layer in model.layers if "bn" in layer.name]
    for layer in norms:
        layer.trainable = False
    model.compile("adam", SPARSE)
    gammas = np.linspace(0.5, 2, 8)
    for layer in norms:
        layer.gamma.assign(gammas[: layer.gamma.shape[0]])
    prune, penalties = SoftFilterPrune(criterion="random"), []
    probe = flavor.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: penalties.append(float(sum(model.losses)))
    )
    model.fit(*data(), epochs=EPOCHS, verbose=0, callbacks=[prune, probe])
    assert max(penalties) > 0
    require_pruned(model, prune)
    for layer in norms:
        gamma = layer.get_weights()[0]
        was = gammas[: len(gamma)].astype("float32")
        assert np.all((gamma == was) | (gamma == 0))


@pytest.mark.parametrize("freq", [1, 2])
def test_patience_waits_for_validation(flavor, freq):
    model = conv_net(flavor)
    x, y = data()
    history = model.fit(
        x,
        y,
        epochs=40,
        verbose=0,
        validation_data=(x, 1 - y),  # gets worse while the loss falls
        validation_freq=freq,
        callbacks=[SoftFilterPrune(phases=Phases(soft_share=0.1, patience=4))],
    )
    assert len(history.epoch) < 40


@pytest.mark.parametrize("restore", [True, False])
def test_early_stopping(flavor, restore):
    stop = flavor.callbacks.EarlyStopping(
        monitor="val_loss", patience=2, restore_best_weights=restore
    )
    prune = SoftFilterPrune()
    model = conv_net(flavor)
    history = model.fit(
        *data(),
        epochs=40,
        verbose=0,
        validation_data=data(seed=3),
        callbacks=[prune, stop],
    ).history
    assert len(history["loss"]) < 40
    small = shrink(model)
    assert cost(small).macs < cost(model).macs
    x, y = data(seed=3)
    small.compile("adam", SPARSE, metrics=["accuracy"])
    found = small.evaluate(x, y, verbose=0)[0]
    wanted = min(history["val_loss"]) if restore else history["val_loss"][-1]
    assert found == pytest.approx(wanted, abs=1e-4)


def test_best_checkpoint_is_what_its_validation_saw(flavor, tmp_path):
    path = str(tmp_path / "best.keras")
    best = flavor.callbacks.ModelCheckpoint(path, monitor="val_loss", save_best_only=True)
    history = fitted(conv_net(flavor), best)
    loaded = flavor.models.load_model(path)
    loss = loaded.evaluate(*data(seed=3), verbose=0)[0]
    assert loss == pytest.approx(min(history["val_loss"]), abs=1e-5)


def test_a_train_step_of_ones_own():
    class Own(keras.Model):
        steps = 0

        def train_step(self, batch):
            self.steps += 1
            return super().train_step(batch)

    plain = conv_net(keras)
    model = Own(plain.inputs, plain.outputs)
    model.compile("adam", SPARSE)
    fitted(model)
    assert model.steps > 0


def test_frozen_layers_keep_their_filters(flavor):
    model = conv_net(flavor)
    model.get_layer("conv8").trainable = False
    model.get_layer("bn8").trainable = False
    model.compile("adam", SPARSE)
    before = model.get_layer("conv8").get_weights()
    prune = SoftFilterPrune()
    model.fit(*data(), epochs=3, verbose=0, callbacks=[prune])
    assert all(map(np.array_equal, model.get_layer("conv8").get_weights(), before))
    assert shrink(model).get_layer("conv8").filters == 8
    assert shrink(model).get_layer("conv6").filters == 3


def test_a_model_of_frozen_layers_is_refused(flavor):
    model = conv_net(flavor)
    model.trainable = False
    model.compile("adam", SPARSE)
    with pytest.raises(UnsupportedError, match="are frozen; set trainable=True"):
        model.fit(*data(), epochs=3, verbose=0, callbacks=[SoftFilterPrune()])


def test_a_users_penalty_survives_a_failed_fit(flavor):
    penalty = FilterL1(0.5)
    layers = flavor.layers
    image = flavor.Input((6, 6, 2))
    x = layers.Conv2D(8, 3, kernel_regularizer=penalty)(image)
    x = layers.GlobalAveragePooling2D()(x)
    model = flavor.Model(image, layers.Dense(2, activation="softmax")(x))
    model.compile("adam", SPARSE)

    class Failing(flavor.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(
            *data(),
            epochs=9,
            verbose=0,
            validation_data=data(1),
            callbacks=[SoftFilterPrune(), Failing()],
        )
    model.fit(*data(), epochs=3, verbose=0, callbacks=[SoftFilterPrune()])
    assert penalty.l1 == pytest.approx(0.5)


def interrupted(flavor, model, prune, hook):
    """Has `fit` of `model` end with Ctrl-C in a method of a callback behind `prune`."""

    def interrupt(self, index, logs=None):
        raise KeyboardInterrupt

    interrupting = type("Interrupting", (flavor.callbacks.Callback,), {hook: interrupt})()
    given = {"epochs": 20, "verbose": 0, "validation_data": data(seed=3)}
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data(), **given, callbacks=[prune, interrupting])


def zero_filters(model):
    return int(read_mask(channel_groups(model)).sum())


def test_a_plain_fit_behind_an_interrupted_one_is_plain(flavor):
    model, other = conv_net(flavor), conv_net(flavor)
    interrupted(flavor, model, SoftFilterPrune(l1=5.0), "on_train_batch_end")
    other.set_weights(model.get_weights())
    other.compile("sgd", SPARSE)
    model.compile("sgd", SPARSE)
    losses = [m.fit(*data(), shuffle=False, verbose=0).history["loss"] for m in (model, other)]
    assert losses[0] == pytest.approx(losses[1])
    assert all(v.constraint is None for v in model.trainable_variables)
    assert not model.losses
    assert "fit" not in vars(model)


def test_a_callback_leaves_the_model_of_its_interrupted_fit_for_another(flavor):
    model, prune = conv_net(flavor), SoftFilterPrune()
    interrupted(flavor, model, prune, "on_train_batch_end")
    other = conv_net(flavor)
    other.fit(*data(), epochs=3, verbose=0, callbacks=[prune])
    require_pruned(other, prune)
    assert all(v.constraint is None for v in model.trainable_variables)
    assert not model.losses


@pytest.mark.parametrize("hook", ["on_test_batch_end", "on_epoch_end"])
def test_filters_that_validation_hid_come_back_behind_an_interruption(flavor, hook):
    model, prune = conv_net(flavor), SoftFilterPrune(schedule="constant")
    interrupted(flavor, model, prune, hook)
    assert zero_filters(model) == 7
    prune.detach()
    assert zero_filters(model) == 0


def test_weights_given_behind_an_interruption_stay(flavor):
    model, prune = conv_net(flavor), SoftFilterPrune(schedule="constant")
    interrupted(flavor, model, prune, "on_test_batch_end")
    weights = [w / 2 for w in model.get_weights()]
    model.set_weights(weights)
    prune.detach()
    assert all(map(np.array_equal, model.get_weights(), weights))


@pytest.mark.parametrize("same", [True, False])
def test_two_callbacks_in_one_fit_are_refused(flavor, same):
    model, prune = conv_net(flavor), SoftFilterPrune()
    callbacks = [prune, prune if same else SoftFilterPrune()]
    with pytest.raises(ArgumentError, match="has two SoftFilterPrune; give it one"):
        model.fit(*data(), epochs=3, verbose=0, callbacks=callbacks)
    fitted(model)
