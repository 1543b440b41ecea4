import contextlib
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from test_callbacks import SPARSE, conv_net
from test_callbacks import data as images

from sft_keras import Backup, SoftFilterPrune, backups, flavors, training
from sft_keras.errors import FileError

LOGGED = '{"epochs": [{"loss": 1.0}], "ended": true}'


class Cut(Exception):
    """Ends a block as a crash would."""


@pytest.fixture
def cut_off(tmp_path):
    """The folder of a run that was cut off in its second training."""
    folder = tmp_path / "saved"
    with contextlib.suppress(Cut), Backup(folder) as backup:
        for name in ("prune", "quantize"):
            saved = backup.training(name, {"epochs": 3})
            (saved.folder / backups.LOG).write_text(LOGGED)
        raise Cut
    return folder


def test_a_folder_with_other_files_is_refused_and_left(tmp_path):
    (tmp_path / "mine.keras").write_text("precious")
    with pytest.raises(FileError, match="has files that are no backup's; move them away"):
        Backup(tmp_path).__enter__()
    assert [path.name for path in tmp_path.iterdir()] == ["mine.keras"]


def test_only_what_was_saved_is_deleted(cut_off):
    (cut_off / "mine.keras").write_text("precious")
    with Backup(cut_off) as backup:
        backup.training("prune", {"epochs": 3})
    assert [path.name for path in cut_off.iterdir()] == ["mine.keras"]


def test_nothing_is_left_of_a_run_that_ended(cut_off):
    with Backup(cut_off) as backup:
        assert backup.training("prune", {"epochs": 3}).log.ended
    assert not cut_off.exists()


def test_nothing_is_left_of_a_run_that_failed_before_it_saved(tmp_path):
    with contextlib.suppress(Cut), Backup(tmp_path / "saved") as backup:
        backup.training("prune", {})
        raise Cut
    assert not (tmp_path / "saved").exists()


def test_a_run_killed_while_it_deletes_leaves_whole_trainings(cut_off, monkeypatch):
    def killed(folder, **options):
        (folder / backups.SETTINGS).unlink()  # as far as it came
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(Cut), Backup(cut_off):
            pass
    with Backup(cut_off) as backup:
        assert not backup.training("prune", {"epochs": 4}).log.epochs
    assert not cut_off.exists()


def test_no_other_run_begins_while_one_deletes(cut_off, monkeypatch):
    refused, rmtree = [], shutil.rmtree

    def other_run(folder, **options):
        rmtree(folder, **options)
        with pytest.raises(FileError, match="Another run is in"):
            Backup(cut_off).__enter__()
        refused.append(folder)

    with Backup(cut_off):
        monkeypatch.setattr(shutil, "rmtree", other_run)
    assert len(refused) == 2


def test_what_lost_its_settings_is_refused_and_kept(cut_off):
    (cut_off / "prune" / backups.SETTINGS).unlink()
    with pytest.raises(FileError, match=r"without its settings.json; delete"), Backup(cut_off) as b:
        b.training("prune", {"epochs": 3})
    assert (cut_off / "prune" / backups.LOG).exists()


BROKEN = [b'{"a"', b"[]", b"\xff"]
NO_LOGS = [b'{"epochs": 3}', b'{"epochs": [1], "ended": true}', b"{}"]


@pytest.mark.parametrize(
    ("name", "content"),
    [(name, content) for name in (backups.SETTINGS, backups.LOG) for content in BROKEN]
    + [(backups.LOG, content) for content in NO_LOGS],
)
def test_damaged_files_are_named(cut_off, name, content):
    path = cut_off / "prune" / name
    path.write_bytes(content)
    with pytest.raises(FileError, match=f"prune/{name}' is damaged; delete"), Backup(cut_off) as b:
        b.training("prune", {"epochs": 3})
    assert path.exists()


def test_data_is_told_apart_by_what_is_known_of_it():
    x, y = np.zeros((8, 4), "float32"), np.arange(8)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)

    def endless():
        yield x, y

    kinds = [
        (x, y),
        (x + 1, y),
        (x, y.astype("int32")),
        ({"image": x}, y),
        batches,
        batches.take(1),
        batches.unbatch(),
        endless(),
    ]
    told = [json.dumps(backups.data_settings(data)) for data in kinds]
    assert len(set(told)) == len(kinds)
    assert json.dumps(backups.data_settings((x.copy(), y.copy()))) == told[0]


def test_an_epoch_with_which_training_ends_is_the_last_after_a_restart(flavor, tmp_path):
    class Ending(flavor.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    model = flavor.Sequential([flavor.layers.Input((4,)), flavor.layers.Dense(2)])
    model.compile("adam", "mse")
    x, y = np.zeros((8, 4)), np.zeros((8, 2))
    log = backups.EpochLog(tmp_path / "log.json")
    log.on_train_end = lambda logs=None: None  # killed before
    model.fit(x, y, epochs=9, verbose=0, callbacks=[Ending(), log])
    assert backups.EpochLog(tmp_path / "log.json").ended
    assert len(log.epochs) == 1


def test_damaged_weights_are_named(flavor, tmp_path):
    def train():
        model = flavor.Sequential([flavor.layers.Input((4,)), flavor.layers.Dense(2)])
        model.compile("adam", "mse")
        data = np.zeros((8, 4)), np.zeros((8, 2))
        with Backup(tmp_path / "saved") as backup:
            saved = backup.training("train", {})
            training.fit(model, data, data, 2, backup=saved, verbose=0)
            raise Cut

    with pytest.raises(Cut):
        train()
    weights = [*tmp_path.rglob("*.h5"), *tmp_path.rglob("*.data-*")]
    for path in weights:
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FileError, match=r"saved/train' is damaged; delete that folder"):
        train()
    assert all(path.exists() for path in weights)


def ended_twice(folder, train):
    """What `train` returns for a backup, and for one of a run killed when it had ended."""
    results = []
    for _ in range(2):
        with contextlib.suppress(Cut), Backup(folder) as backup:
            results.append(train(backup.training("train", {})))
            raise Cut
    return results


def test_weights_that_a_callback_gave_at_the_end_are_given_again(flavor, tmp_path):
    x, y = np.eye(4, dtype="float32"), np.arange(4) % 2

    def train(saved):
        flavor.utils.set_random_seed(0)
        model = flavor.Sequential([flavor.layers.Input((4,)), flavor.layers.Dense(2)])
        model.compile("adam", "sparse_categorical_crossentropy")
        best = flavor.callbacks.EarlyStopping(
            monitor="loss", mode="max", patience=2, restore_best_weights=True
        )
        data = (x, y), (x, y)
        history = training.fit(model, *data, 9, callbacks=[best], backup=saved, verbose=0)
        assert len(history["loss"]) == 3
        assert int(model.optimizer.iterations) == 3
        return model.get_weights()

    whole, again = ended_twice(tmp_path / "saved", train)
    assert all(map(np.array_equal, whole, again))


def test_a_pruning_that_ended_gives_its_mask_and_averaged_weights_again(flavor, tmp_path):
    def train(saved):
        flavor.utils.set_random_seed(0)
        model, prune = conv_net(flavor), SoftFilterPrune()
        model.compile(flavor.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9), SPARSE)
        data = images(), images(seed=3)
        training.fit(model, *data, 3, callbacks=[prune], backup=saved, verbose=0)
        return prune.mask, *model.get_weights()

    whole, again = ended_twice(tmp_path / "saved", train)
    assert whole[0].sum() == 7
    assert all(map(np.array_equal, whole, again))


def test_what_an_ended_training_gave_is_gone_when_it_goes_on(flavor, tmp_path):
    def train(epochs):
        flavor.utils.set_random_seed(0)
        model = flavor.Sequential([flavor.layers.Input((4,)), flavor.layers.Dense(2)])
        model.compile("adam", "mse")
        callback, first = flavors.backup(model, tmp_path)
        data = {"x": np.ones((8, 4)), "y": np.ones((8, 2)), "verbose": 0}
        model.fit(**data, epochs=epochs, initial_epoch=first, callbacks=[callback])
        return int(model.optimizer.iterations)

    assert [train(epochs) for epochs in (1, 3, 3)] == [1, 3, 3]
