"""A training that is cut off and started again ends as one that was not."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tf_keras
from test_callbacks import SPARSE, conv_net, data

from sft_keras import SoftFilterPrune, flavors
from sft_keras.errors import FileError
from sft_keras.schedules import Phases

EPOCHS = 7
PHASES = Phases(soft_share=0.6, prune_epochs=1, fine_tune_epochs=1)


class Cut(Exception):
    """Ends a `fit` as a crash would."""


def train(flavor, folder, *, cut_at=None, prune_first=True, use_ema=False, **options):
    """Prunes under `BackupAndRestore`; the callback and the logs, or None where it was cut off."""

    class Cutter(flavor.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch + 1 == cut_at:
                raise Cut

    keras.utils.set_random_seed(1)
    tf_keras.utils.set_random_seed(1)
    model = conv_net(flavor)
    if use_ema:
        model.compile(flavor.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9), SPARSE)
    prune = SoftFilterPrune(0.5, phases=PHASES, **options)
    backup = flavor.callbacks.BackupAndRestore(str(folder))
    callbacks = [prune, backup] if prune_first else [backup, prune]
    settings = {"epochs": EPOCHS, "batch_size": 32, "shuffle": False, "verbose": 0}
    if prune_first:
        settings["validation_data"] = data(seed=3)
    try:
        history = model.fit(*data(), callbacks=[*callbacks, Cutter()], **settings)
    except Cut:
        return None
    return prune, model.get_weights(), history.history


@pytest.mark.parametrize(
    ("cut_at", "options"),
    [
        (1, {"criterion": "random"}),
        (2, {"criterion": "random", "prune_first": False}),
        (3, {"recipe": "literal"}),
        (5, {}),
        (EPOCHS, {}),
        (EPOCHS, {"use_ema": True, "prune_first": False}),
    ],
    ids=["soft", "backup first", "literal", "final", "no epoch left", "moving averages"],
)
def test_a_restart_ends_with_the_same_mask_and_weights(flavor, tmp_path, cut_at, options):
    prune, weights, history = train(flavor, tmp_path / "whole", **options)
    assert train(flavor, tmp_path / "cut", cut_at=cut_at, **options) is None
    resumed, resumed_weights, rest = train(flavor, tmp_path / "cut", **options)
    assert np.array_equal(resumed.mask, prune.mask)
    assert all(map(np.array_equal, resumed_weights, weights))
    assert rest.get("phase", []) == history["phase"][cut_at:]
    assert rest.get("pruned_filters", []) == history["pruned_filters"][cut_at:]


def test_a_backup_of_another_network_is_refused(flavor):
    prune = SoftFilterPrune()
    model = conv_net(flavor)

    class Foreign(flavor.callbacks.Callback):
        def on_train_begin(self, logs=None):
            assert prune.state() == {}
            numbers = np.frombuffer(b"{}", np.uint8)
            prune.restore({"numbers": numbers, "mask": np.zeros(3, bool)})

    with pytest.raises(FileError, match=r"belong to a network of 3 filters, and .* has 16"):
        model.fit(*data(), epochs=2, verbose=0, callbacks=[prune, Foreign()])


def test_weights_saved_while_training_load_into_any_model(flavor, tmp_path):
    path = tmp_path / "best.weights.h5"
    model = conv_net(flavor)
    checkpoint = flavor.callbacks.ModelCheckpoint(path, save_weights_only=True)
    model.fit(*data(), epochs=3, verbose=0, callbacks=[SoftFilterPrune(), checkpoint])
    other = conv_net(flavor)
    other.load_weights(path)
    assert all(map(np.array_equal, other.get_weights(), model.get_weights()))


def test_nothing_stays_on_the_model(flavor):
    model = conv_net(flavor)
    prune = SoftFilterPrune()
    model.evaluate(*data(), verbose=0, callbacks=[prune])
    assert flavors.attached_to(model) is None
    model.predict(data()[0], verbose=0, callbacks=[prune])
    assert flavors.attached_to(model) is None
    model.fit(*data(), epochs=2, verbose=0, callbacks=[prune])
    assert flavors.attached_to(model) is None


def test_the_fit_behind_a_failed_one_starts_clean(flavor):
    model = conv_net(flavor)

    class Failing(flavor.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            raise Cut

    with pytest.raises(Cut):
        model.fit(*data(), verbose=0, callbacks=[SoftFilterPrune(), Failing()])
    assert all(np.isfinite(w).all() for w in model.get_weights())
    prune = SoftFilterPrune()
    model.fit(*data(), epochs=3, verbose=0, callbacks=[prune])
    assert prune.mask.sum() == 7
    assert all(v.constraint is None for v in model.trainable_variables)
    assert not model.losses


SAVERS = ("sft", "keras", "tf_keras")


def _killed_and_resumed(kills, folder, saver):
    """Runs `restart_process.py`, which kills a training so often; its last line."""
    script = Path(__file__).with_name("restart_process.py")
    command = [sys.executable, str(script), str(kills), str(folder), saver]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(("saver", "kills"), [("sft", 3), ("keras", 1), ("tf_keras", 1)])
def test_killed_trainings_end_as_whole_ones(tmp_path, saver, kills):
    expected = f"{kills} kills: same mask, same weights"
    assert _killed_and_resumed(kills, tmp_path, saver) == expected


@pytest.mark.slow
@pytest.mark.parametrize("saver", SAVERS)
def test_trainings_killed_twenty_times_end_as_whole_ones(tmp_path, saver):
    assert _killed_and_resumed(20, tmp_path, saver) == "20 kills: same mask, same weights"
