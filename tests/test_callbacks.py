import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tf_keras

import sft_keras
from sft_keras import SoftFilterPrune, shrink
from sft_keras.channels import channel_groups
from sft_keras.channels.mask import read_mask
from sft_keras.errors import UnsupportedError
from sft_keras.regularizers import FilterL1
from sft_keras.schedules import Phases

SPARSE = "sparse_categorical_crossentropy"


def data(count=96, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 6, 6, 2)).astype("float32")
    return x, (x.mean(axis=(1, 2, 3)) > 0).astype("int32")


def conv_net(flavor, normalized=True, optimizer="adam"):
    layers = flavor.layers
    x = image = flavor.Input((6, 6, 2))
    for filters in (8, 6):
        x = layers.Conv2D(filters, 3, padding="same", name=f"conv{filters}")(x)
        x = layers.BatchNormalization(name=f"bn{filters}")(x) if normalized else x
        x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = flavor.Model(image, layers.Dense(2, activation="softmax", name="out")(x))
    model.compile(optimizer, SPARSE, metrics=["accuracy"])
    return model


class AtEpochEnd:
    """Makes a callback of either Keras from a function of (model, epoch)."""

    def __new__(cls, flavor, function):
        class Probe(flavor.callbacks.Callback):
            def __init__(self):
                super().__init__()
                self.seen = []

            def on_epoch_end(self, epoch, logs=None):
                self.seen.append(function(self.model, epoch, logs))

        return Probe()


@pytest.fixture(autouse=True)
def _seeded():
    keras.utils.set_random_seed(0)
    tf_keras.utils.set_random_seed(0)


@pytest.mark.parametrize("normalized", [True, False])
def test_works_without_arguments(flavor, normalized):
    model = conv_net(flavor, normalized)
    x, y = data()
    history = model.fit(x, y, epochs=5, verbose=0, callbacks=[SoftFilterPrune()]).history
    assert history["phase"] == [0, 2, 2, 2, 2]
    assert history["pruned_filters"][-1] == 4 + 3
    assert history["pruning_ratio"][-1] == 0.5
    small = shrink(model)
    assert small.get_layer("conv8").filters == 4
    assert small.get_layer("conv6").filters == 3
    assert small.predict(x, verbose=0) == pytest.approx(model.predict(x, verbose=0), abs=1e-5)


@pytest.mark.parametrize("order", ["before", "behind"])
def test_val_accuracy_is_what_the_shrunk_model_gives(flavor, order):
    model, (x, y), val = conv_net(flavor), data(), data(64, seed=1)
    probe = AtEpochEnd(
        flavor, lambda m, e, logs: shrink(m).evaluate(*val, verbose=0, return_dict=True)
    )
    prune = SoftFilterPrune(l1=0.1, phases=Phases(soft_share=0.7))
    callbacks = [probe, prune] if order == "before" else [prune, probe]
    history = model.fit(x, y, epochs=6, validation_data=val, verbose=0, callbacks=callbacks).history
    assert history["phase"] == [0, 1, 0, 2, 2, 2]
    for name in ("accuracy", "loss"):
        got = [seen[name] for seen in probe.seen]
        assert history[f"val_{name}"] == pytest.approx(got, rel=1e-4)


def test_without_validation_later_callbacks_see_the_masked_view(flavor):
    model, (x, y) = conv_net(flavor), data()
    probe = AtEpochEnd(flavor, lambda m, e, logs: int(read_mask(channel_groups(m)).sum()))
    history = model.fit(x, y, epochs=4, verbose=0, callbacks=[SoftFilterPrune(), probe]).history
    assert probe.seen == history["pruned_filters"]


def test_a_pruned_filter_comes_back_and_survives(flavor):
    """Filter 0 alone carries the answer but starts weakest: pruned first, in the end it stays."""
    layers = flavor.layers
    image = flavor.Input((4,))
    x = layers.Dense(4, use_bias=False, name="fc")(image)
    x = layers.BatchNormalization(name="bn")(x)
    model = flavor.Model(image, layers.Dense(1, name="out", use_bias=False)(layers.ReLU()(x)))
    model.get_layer("fc").set_weights([np.eye(4, dtype="float32")])
    gamma = np.array([0.02, 0.4, 0.4, 0.4], "float32")
    zeros, ones = np.zeros(4, "float32"), np.ones(4, "float32")
    model.get_layer("bn").set_weights([gamma, zeros, zeros, ones])
    model.get_layer("out").set_weights([np.array([[1.0], [0.1], [0.1], [0.1]], "float32")])
    model.compile(flavor.optimizers.SGD(0.005), "mse")
    inputs = np.random.default_rng(0).normal(size=(512, 4)).astype("float32")
    targets = 3 * np.maximum(inputs[:, :1], 0)
    masks = []

    def note(m, epoch, logs):
        masks.append(m.get_layer("bn").get_weights()[0] == 0)

    prune = SoftFilterPrune(0.25, schedule="constant", criterion="bn_folded")
    model.fit(inputs, targets, epochs=24, verbose=0, callbacks=[prune, AtEpochEnd(flavor, note)])
    assert masks[0].tolist() == [True, False, False, False]
    assert not masks[-1][0]
    assert masks[-1].sum() == 1
    assert model.get_layer("bn").get_weights()[0][0] > 1


def test_lambda_is_zero_outside_prune_phases(flavor):
    model, (x, y) = conv_net(flavor), data()
    prune = SoftFilterPrune(l1=0.5, phases=Phases(soft_share=0.5))
    seen = []

    class Probe(flavor.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 0:
                seen.append(float(sum(map(np.sum, map(np.asarray, self.model.losses)))))

    phases = model.fit(x, y, epochs=8, verbose=0, callbacks=[prune, Probe()]).history["phase"]
    assert phases == [0, 1, 0, 2, 2, 2, 2, 2]
    assert [loss > 0 for loss in seen] == [phase == 0 for phase in phases]


def test_lambda_of_the_users_own_penalty_is_used_and_given_back(flavor):
    penalty = FilterL1(0.25)
    model = flavor.Sequential(
        [
            flavor.Input((4,)),
            flavor.layers.Dense(8, kernel_regularizer=penalty),
            flavor.layers.Dense(1),
        ]
    )
    model.compile("sgd", "mse")
    seen = AtEpochEnd(flavor, lambda m, e, logs: (logs["phase"], penalty.l1))
    x, y = np.ones((8, 4), "float32"), np.ones((8, 1), "float32")
    model.fit(
        x,
        y,
        epochs=5,
        verbose=0,
        callbacks=[SoftFilterPrune(l1=9.0, phases=Phases(soft_share=0.8)), seen],
    )
    assert seen.seen == [(0, 0.25), (1, 0), (0, 0.25), (2, 0), (2, 0)]
    assert penalty.l1 == 0.25
    assert len(model.losses) == 1


def test_the_users_own_penalty_of_gamma_is_used(flavor):
    penalty = FilterL1(0.25)
    layers = flavor.layers
    image = flavor.Input((6, 6, 2))
    x = layers.Conv2D(8, 3)(image)
    x = layers.ReLU()(layers.BatchNormalization(gamma_regularizer=penalty)(x))
    model = flavor.Model(image, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    model.compile("sgd", "mse")
    seen = AtEpochEnd(flavor, lambda m, e, logs: (logs["phase"], len(m.losses), penalty.l1))
    images, labels = data()
    model.fit(
        *(images, np.eye(2)[labels]),
        epochs=3,
        verbose=0,
        callbacks=[SoftFilterPrune(phases=Phases(soft_share=0.6)), seen],
    )
    assert seen.seen[0] == (0, 1, 0.25)
    assert seen.seen[-1] == (2, 1, 0)
    assert len(model.losses) == 1


@pytest.mark.parametrize("optimizer", ["adam", "momentum", "weight_decay"])
@pytest.mark.parametrize("normalized", [True, False])
def test_masked_filters_stay_exactly_zero_in_the_final_phase(flavor, optimizer, normalized):
    made = {
        "adam": lambda: flavor.optimizers.Adam(0.01),
        "momentum": lambda: flavor.optimizers.SGD(0.1, momentum=0.9),
        "weight_decay": lambda: flavor.optimizers.AdamW(0.01, weight_decay=0.1),
    }[optimizer]()
    model, (x, y) = conv_net(flavor, normalized, made), data()
    zeros = []

    class Probe(flavor.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            zeros.append(read_mask(channel_groups(self.model)).copy())

    model.fit(x, y, epochs=5, batch_size=48, verbose=0, callbacks=[SoftFilterPrune(), Probe()])
    final = zeros[-6:]
    assert final[0].sum() == 7
    assert all(np.array_equal(final[0], later) for later in final)


def test_soft_filters_are_not_zero_while_training(flavor):
    model, (x, y) = conv_net(flavor), data()
    smallest = []

    class Probe(flavor.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            smallest.append(np.abs(self.model.get_layer("bn8").get_weights()[0]).min())

    prune = SoftFilterPrune(schedule="constant", phases=Phases(soft_share=0.8))
    model.fit(x, y, epochs=5, verbose=0, callbacks=[prune, Probe()])
    assert all(0 < value < 0.5 for value in smallest[1:3])
    assert smallest[3:] == [0, 0]


def test_literal_recipe_zeroes_kernels_only(flavor):
    model, (x, y) = conv_net(flavor), data()
    begun = []

    class Probe(flavor.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            kernel = self.model.get_layer("conv8").get_weights()[0]
            gamma = self.model.get_layer("bn8").get_weights()[0]
            begun.append(((kernel == 0).all(axis=(0, 1, 2)).sum(), (gamma == 0).sum()))

    prune = SoftFilterPrune(
        recipe="literal",
        criterion="l1",
        schedule="constant",
        phases=Phases(1.0, fine_tune_epochs=0),
    )
    model.fit(x, y, epochs=3, verbose=0, callbacks=[prune, Probe()])
    assert begun == [(0, 0), (4, 0), (4, 0)]
    assert shrink(model).get_layer("conv8").filters == 4


def test_ratio_by_layer_excluded_layers_and_width_multiple(flavor):
    x, y = data()
    model = conv_net(flavor)
    model.fit(x, y, verbose=0, callbacks=[SoftFilterPrune({"conv8": 0.75})])
    assert [shrink(model).get_layer(f"conv{n}").filters for n in (8, 6)] == [2, 6]
    model = conv_net(flavor)
    model.fit(x, y, verbose=0, callbacks=[SoftFilterPrune(0.6, exclude=["conv6"])])
    assert [shrink(model).get_layer(f"conv{n}").filters for n in (8, 6)] == [4, 6]
    model = conv_net(flavor)
    model.fit(x, y, verbose=0, callbacks=[SoftFilterPrune(0.6, width_multiple=4)])
    assert [shrink(model).get_layer(f"conv{n}").filters for n in (8, 6)] == [4, 4]


def test_training_ends_when_mask_and_metric_have_converged(flavor):
    model, (x, y) = conv_net(flavor, optimizer=flavor.optimizers.SGD(0.0)), data()
    prune = SoftFilterPrune(schedule="constant", phases=Phases(soft_share=0.9, patience=3))
    history = model.fit(x, y, epochs=40, verbose=0, callbacks=[prune]).history
    phases = history["phase"]
    assert phases.index(2) == 5
    assert len(phases) < 15


def test_literal_recipe_is_soft_to_the_end(flavor):
    model, (x, y) = conv_net(flavor, optimizer=flavor.optimizers.SGD(0.0)), data()
    prune = SoftFilterPrune(
        recipe="literal", schedule="constant", phases=Phases(soft_share=1.0, fine_tune_epochs=0)
    )
    history = model.fit(x, y, epochs=8, verbose=0, callbacks=[prune]).history
    assert history["phase"] == [0] * 8


def test_the_model_is_left_as_it_was_but_for_its_weights(flavor):
    model, (x, y) = conv_net(flavor), data()
    config, losses = model.get_config(), len(model.losses)
    model.fit(x, y, epochs=2, verbose=0, callbacks=[SoftFilterPrune()])
    assert model.get_config() == config
    assert len(model.losses) == losses
    assert all(w.constraint is None for w in model.trainable_variables)
    loss = model.evaluate(x, y, verbose=0)[0]
    assert loss == pytest.approx(shrink(model).evaluate(x, y, verbose=0)[0], rel=1e-5)


def test_a_second_fit_goes_on_from_the_pruned_model(flavor):
    model, (x, y) = conv_net(flavor), data()
    prune = SoftFilterPrune()
    model.fit(x, y, epochs=3, verbose=0, callbacks=[prune])
    model.fit(x, y, epochs=3, verbose=0, callbacks=[prune])
    assert read_mask(channel_groups(model)).sum() == 7


def test_same_seed_gives_the_same_masks(flavor):
    masks = []
    for _ in range(2):
        flavor.utils.set_random_seed(3)
        model, (x, y) = conv_net(flavor), data()
        model.fit(x, y, epochs=3, verbose=0, callbacks=[SoftFilterPrune(criterion="random")])
        masks.append(read_mask(channel_groups(model)))
    assert np.array_equal(*masks)


def test_early_stopping_and_checkpoints_keep_masked_weights(flavor, tmp_path):
    model, (x, y), val = conv_net(flavor), data(), data(64, seed=1)
    callbacks = [
        flavor.callbacks.EarlyStopping(patience=1, restore_best_weights=True),
        SoftFilterPrune(schedule="constant"),
        flavor.callbacks.ModelCheckpoint(str(tmp_path / "best.keras"), save_best_only=True),
    ]
    model.fit(x, y, epochs=6, validation_data=val, verbose=0, callbacks=callbacks)
    saved = flavor.models.load_model(tmp_path / "best.keras")
    for pruned in (model, saved):
        assert read_mask(channel_groups(pruned)).sum() == 7


def test_csv_logger_behind_it_writes_its_values(flavor, tmp_path):
    model, (x, y) = conv_net(flavor), data()
    logger = flavor.callbacks.CSVLogger(str(tmp_path / "log.csv"))
    model.fit(x, y, epochs=2, verbose=0, callbacks=[SoftFilterPrune(), logger])
    head = (tmp_path / "log.csv").read_text().splitlines()[0].split(",")
    assert {"phase", "pruning_ratio", "pruned_filters"} <= set(head)


def test_numbers_of_numpy_and_one_name_to_exclude():
    prune = SoftFilterPrune(
        {"conv*": np.float32(0.5)}, exclude="out", width_multiple=np.int64(2), l1=np.float64(0.2)
    )
    config = json.loads(json.dumps(prune.get_config()))
    copy = SoftFilterPrune.from_config(config)
    assert copy.get_config() == prune.get_config() == config
    assert (copy.exclude, copy.width_multiple) == (("out",), 2)
    assert SoftFilterPrune(np.float32(0.5)).pruning_ratio == 0.5


def test_config_round_trip():
    prune = SoftFilterPrune(
        {"a*": 0.3}, schedule="asymptotic", phases=Phases(0.2), criterion="l2", exclude=["b"]
    )
    again = SoftFilterPrune.from_config(prune.get_config())
    assert again.get_config() == prune.get_config()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pruning_ratio": 1.0}, "pruning_ratio is 1.0"),
        ({"pruning_ratio": {"a": -1}}, "for layer 'a'"),
        ({"decay": -0.1}, "decay is -0.1"),
        ({"l1": float("nan")}, "l1 is nan"),
        ({"width_multiple": 0}, "width_multiple is 0"),
        ({"recipe": "magic"}, "recipe is 'magic'"),
        ({"criterion": "magic"}, "criterion 'magic'"),
        ({"schedule": "magic"}, "schedule 'magic'"),
    ],
)
def test_bad_arguments_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        SoftFilterPrune(**arguments)


def test_unknown_layer_and_nothing_to_prune_are_refused_before_training(flavor):
    model, (x, y) = conv_net(flavor), data()
    with pytest.raises(ValueError, match="'convx'; there are: conv8, conv6, out"):
        model.fit(x, y, verbose=0, callbacks=[SoftFilterPrune({"convx": 0.5})])
    only = flavor.Sequential([flavor.Input((2,)), flavor.layers.Dense(1)])
    only.compile("sgd", "mse")
    with pytest.raises(UnsupportedError, match="no filter that can be pruned"):
        only.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[SoftFilterPrune()])


def test_subclassed_model_without_a_graph_is_refused(flavor):
    class Net(flavor.Model):
        def __init__(self):
            super().__init__()
            self.dense = flavor.layers.Dense(1)

        def call(self, x):
            return self.dense(flavor.layers.Dense(3)(x))  # a new layer in each call

    model = Net()
    model.compile("sgd", "mse", run_eagerly=True)
    model(np.ones((4, 2)))
    with pytest.raises(UnsupportedError, match="functional API"):
        model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0, callbacks=[SoftFilterPrune()])


def test_nan_weights_are_refused_with_the_way_out(flavor):
    model, (x, y) = conv_net(flavor), data()
    with pytest.raises(UnsupportedError, match="a score is NaN"):
        model.fit(x * np.nan, y, verbose=0, callbacks=[SoftFilterPrune()])


def test_import_loads_neither_tfmot_nor_tflite():
    code = (
        "import sys, sft_keras, sft_keras.callbacks\n"
        "heavy = 'tensorflow_model_optimization', 'ai_edge_litert', 'tflite_runtime', 'tf_keras'\n"
        "assert not [name for name in heavy if name in sys.modules]\n"
    )
    # TensorFlow itself loads tf_keras where a test before set this.
    environment = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert sft_keras.SoftFilterPrune is SoftFilterPrune


def test_soft_share_zero_prunes_at_once(flavor):
    model, (x, y) = conv_net(flavor), data()
    history = model.fit(
        x, y, epochs=3, verbose=0, callbacks=[SoftFilterPrune(phases=Phases(soft_share=0))]
    ).history
    assert history["phase"] == [2, 2, 2]
    assert history["pruned_filters"] == [7, 7, 7]


def test_evaluating_with_the_callback_changes_nothing(flavor):
    model, (x, y), prune = conv_net(flavor), data(), SoftFilterPrune()
    model.evaluate(x, y, verbose=0, callbacks=[prune])
    model.fit(x, y, epochs=2, verbose=0, callbacks=[prune])
    before = model.get_weights()
    model.evaluate(x, y, verbose=0, callbacks=[prune])
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(flavor, policy):
    flavor.mixed_precision.set_global_policy(policy)
    try:
        model = conv_net(flavor)
        callback = SoftFilterPrune(0.5)
        history = model.fit(*data(), epochs=6, verbose=0, callbacks=[callback])
    finally:
        flavor.mixed_precision.set_global_policy("float32")
    assert np.isfinite(history.history["loss"]).all()
    small = shrink(model)
    assert small.get_layer("conv8").filters == 4
    assert small.get_layer("conv8").dtype_policy.name == policy
