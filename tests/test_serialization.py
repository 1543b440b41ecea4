"""Everything with a config comes back from it, and models load wherever the package is imported."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tf_keras
from test_callbacks import data

from sft_keras import Distill, SoftFilterPrune, criteria, schedules
from sft_keras.cli.files import load_model
from sft_keras.constraints import FilterMask
from sft_keras.errors import ArgumentError
from sft_keras.regularizers import FilterGroupLasso, FilterL1

CASES = [
    FilterL1(0.25, axis=-2, normalize=False),
    FilterGroupLasso(0.5, axis=0),
    FilterMask([1, 0, 1], axis=0, inner=keras.constraints.MaxNorm(2.0)),
    schedules.Phases(0.2, 2, 3, None, "loss"),
    schedules.Constant(),
    schedules.Polynomial(2.0),
    schedules.Asymptotic(0.25),
    Distill(temperature=2.0, weight=0.5),
    SoftFilterPrune({"a*": 0.3}, l1=0.2, criterion="l2", schedule="asymptotic", exclude=["b"]),
    SoftFilterPrune(
        0.25, phases=schedules.Phases(0.1), decay=0.1, recipe="literal", width_multiple=8, seed=3
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: type(case).__name__)
def test_a_config_survives_json(case):
    written = json.dumps(keras.saving.serialize_keras_object(case))
    again = keras.saving.deserialize_keras_object(json.loads(written), safe_mode=True)
    assert type(again) is type(case)
    assert again.get_config() == case.get_config()


def test_all_that_is_registered_has_a_case():
    import sft_keras.quantization  # noqa: F401  its layers are registered with tf_keras alone

    registered = keras.saving.get_custom_objects()
    ours = {cls for name, cls in registered.items() if name.startswith("sft_keras>")}
    assert ours == {type(case) for case in CASES}


def test_numbers_of_numpy_become_those_of_python():
    half, three = np.float32(0.5), np.int64(3)
    for case in (
        SoftFilterPrune(l1=half, decay=half, seed=three),
        Distill(temperature=half, weight=half),
        FilterL1(half, axis=three),
        FilterMask([1, 0], axis=three),
        schedules.Polynomial(half),
        schedules.Asymptotic(half),
    ):
        assert json.loads(json.dumps(case.get_config())) == case.get_config()


@pytest.mark.parametrize("name", ["l1", "l2", "bn_folded", "contribution", "geometric_median"])
def test_criteria_are_found_by_their_names(name):
    assert criteria.serialize(criteria.get(name)) == name


@keras.saving.register_keras_serializable("tests")
def last(filters):
    return np.arange(len(filters.weights), dtype=float)


def test_a_registered_function_is_a_criterion_of_a_config():
    config = json.loads(json.dumps(SoftFilterPrune(criterion=last).get_config()))
    assert config["criterion"] == "tests>last"
    assert SoftFilterPrune.from_config(config).criterion is last


def test_a_function_without_a_name_is_refused_and_not_written_as_code():
    with pytest.raises(ValueError, match="register_keras_serializable"):
        SoftFilterPrune(criterion=lambda filters: filters.scale).get_config()


def test_a_function_inside_a_mask_is_refused_and_not_written_as_code():
    with pytest.raises(ArgumentError, match=r"inside a FilterMask.*register_keras_serializable"):
        FilterMask([1, 0], inner=lambda weights: weights).get_config()


@keras.saving.register_keras_serializable("tests")
def doubled(weights):
    return 2 * weights


def test_a_registered_function_inside_a_mask_comes_back():
    config = json.loads(json.dumps(FilterMask([1, 0], inner=doubled).get_config()))
    assert FilterMask.from_config(config).inner is doubled


def test_a_teacher_is_refused_in_a_config(small_model):
    with pytest.raises(ValueError, match="weights of the teacher"):
        Distill(small_model()).get_config()


def test_a_mask_keeps_the_other_constraint_of_either_keras(flavor):
    mask = FilterMask([1, 0], inner=flavor.constraints.MaxNorm(1.0))
    config = json.loads(json.dumps(mask.get_config()))
    weights = np.full((4, 2), 3.0, "float32")
    np.testing.assert_allclose(FilterMask.from_config(config)(weights), mask(weights))
    assert float(keras.ops.sum(mask(weights) ** 2)) == pytest.approx(1.0)


def penalized(flavor):
    """A classifier of 6x6 images whose layers hold every kind of object of this package."""
    layers = flavor.layers
    inner = flavor.constraints.MaxNorm(2.0)
    model = flavor.Sequential(
        [
            flavor.Input((6, 6, 2)),
            layers.Conv2D(8, 3, kernel_regularizer=FilterL1(0.01), name="first"),
            layers.BatchNormalization(gamma_regularizer=FilterL1(0.02)),
            layers.ReLU(),
            layers.Conv2D(
                8,
                3,
                kernel_regularizer=FilterGroupLasso(0.01),
                kernel_constraint=FilterMask([1] * 7 + [0], inner=inner),
                name="second",
            ),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def require_same_objects(model, original):
    """The objects of two models have equal configs, and each is of its class."""
    for layer, before in zip(model.layers, original.layers, strict=True):
        for key in ("kernel_regularizer", "gamma_regularizer", "kernel_constraint"):
            ours, theirs = getattr(layer, key, None), getattr(before, key, None)
            assert type(ours) is type(theirs)
            assert ours is None or ours.get_config() == theirs.get_config()


@pytest.mark.parametrize("way", ["clone_model", "from_config"])
def test_copies_of_a_model_have_the_same_objects(flavor, way):
    model = penalized(flavor)
    if way == "clone_model":
        copy = flavor.models.clone_model(model)
    else:
        copy = type(model).from_config(json.loads(json.dumps(model.get_config())))
    require_same_objects(copy, model)
    copy.set_weights(model.get_weights())
    np.testing.assert_allclose(copy.losses, model.losses, rtol=1e-6)


IN_A_FRESH_PROCESS = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import numpy as np
import {first}
import {second}
library = sys.modules[sys.argv[1]]
for path in sys.argv[2:]:
    model = library.models.load_model(path, safe_mode=True)
    with np.load(path + ".npz") as seen:
        np.testing.assert_allclose(model(seen["x"]), seen["y"], atol=1e-6)
        np.testing.assert_allclose(model.losses, seen["losses"], rtol=1e-5)
        before = model.get_layer("second").get_weights()[0]
        assert not before[..., 7].any()
        model.fit(seen["x"], seen["labels"], verbose=0)
    after = model.get_layer("second").get_weights()[0]
    assert not after[..., 7].any() and (after != before).any()
"""


@pytest.mark.parametrize("package_first", [True, False])
def test_a_model_saved_while_it_was_pruned_loads_in_a_fresh_process(
    flavor, tmp_path, package_first
):
    name = flavor.__name__
    x, labels = data(64)
    paths, penalties = [], []

    class Saver(flavor.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            path = str(tmp_path / f"epoch_{epoch}.keras")
            self.model.save(path)
            penalties.append(float(self.model.losses[0]))
            copy = flavor.models.clone_model(self.model)  # with the λ that the user gave
            copy.set_weights(self.model.get_weights())
            np.savez(f"{path}.npz", x=x, labels=labels, y=self.model(x), losses=copy.losses)
            assert copy.get_layer("first").kernel_regularizer.l1 == pytest.approx(0.01)
            paths.append(path)

    callbacks = [SoftFilterPrune(phases=schedules.Phases(0.5)), Saver()]
    penalized(flavor).fit(x, labels, epochs=4, verbose=0, callbacks=callbacks)
    assert penalties[0] > 0 == penalties[-1]  # λ of a prune phase, and of the final one

    imports = ("sft_keras", name) if package_first else (name, "sft_keras")
    code = IN_A_FRESH_PROCESS.format(first=imports[0], second=imports[1])
    command = [sys.executable, "-c", code, name, paths[0], paths[-1]]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_importing_the_package_imports_no_keras():
    code = (
        "import sys, sft_keras; assert not {'keras', 'tf_keras', 'tensorflow'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_code_in_a_model_file_is_not_run(tmp_path):
    for library in (keras, tf_keras):
        path = tmp_path / f"{library.__name__}.keras"
        layers = [library.Input((2,)), library.layers.Lambda(lambda x: x + 1)]
        library.Sequential(layers).save(path)
        with pytest.raises(ValueError, match=r"(?i)unsafe|safe_mode|lambda"):
            load_model(path)
