import json

import keras
import numpy as np
import pytest

from sft_keras import schedules

ALL = [schedules.Constant(), schedules.Polynomial(2.0), schedules.Asymptotic(0.25)]


@pytest.mark.parametrize("schedule", ALL)
def test_schedules_rise_to_exactly_one(schedule):
    values = [schedule(p) for p in np.linspace(0, 1, 21)]
    assert values[-1] == pytest.approx(1.0)
    assert values == sorted(values)


def test_polynomial_of_power_one_grows_evenly():
    assert schedules.Polynomial(1.0)(0.3) == pytest.approx(0.3)


def test_asymptotic_has_three_quarters_at_its_knee():
    assert schedules.Asymptotic(0.125)(0.125) == pytest.approx(0.75, abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"soft_share": 1.5}, "soft_share is 1.5"),
        ({"prune_epochs": 0}, "prune_epochs is 0"),
        ({"fine_tune_epochs": -1}, "fine_tune_epochs is -1"),
        ({"patience": 0.5}, "patience is 0.5"),
        ({"prune_epochs": None}, "prune_epochs is None"),
        ({"soft_share": "half"}, "soft_share is 'half'"),
    ],
)
def test_bad_phases_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        schedules.Phases(**arguments)


def test_phases_may_be_numbers_of_numpy():
    phases = schedules.Phases(np.float32(0.25), np.int64(2), np.int32(1), patience=np.int64(3))
    assert phases == schedules.Phases(0.25, 2, 1, patience=3)
    config = json.loads(json.dumps(phases.get_config()))
    assert schedules.Phases.from_config(config) == phases


def test_phases_config_survives_json():
    phases = schedules.Phases(0.3, 2, 0, patience=None)
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(phases)))
    assert keras.saving.deserialize_keras_object(config) == phases


@pytest.mark.parametrize("schedule", ALL)
def test_config_survives_json(schedule):
    config = json.loads(json.dumps(keras.saving.serialize_keras_object(schedule)))
    again = keras.saving.deserialize_keras_object(config)
    assert type(again) is type(schedule)
    assert again(0.37) == schedule(0.37)


def test_get_takes_names_and_objects():
    assert isinstance(schedules.get("constant"), schedules.Constant)
    assert schedules.get(ALL[1]) is ALL[1]


def test_unknown_name_lists_the_known():
    with pytest.raises(
        ValueError, match="'cosine'; take 'constant', 'linear', 'polynomial', 'asymptotic'"
    ):
        schedules.get("cosine")


@pytest.mark.parametrize(("cls", "bad"), [(schedules.Polynomial, 0), (schedules.Asymptotic, 1.0)])
def test_bad_arguments_are_refused(cls, bad):
    with pytest.raises(ValueError, match=r"needs a"):
        cls(bad)
