"""Plans: made, saved, edited, and replayed on another copy of the model."""

import copy
import importlib
import json
import time

import numpy as np
import pytest

import sft_keras
from sft_keras import Plan
from sft_keras.channels.mask import read_mask
from sft_keras.errors import ArgumentError, FileError, ShrinkError
from sft_keras.shrinking.proof import outputs, random_inputs, relative_difference


def _net(k):
    """A residual block, a nested model and an output: 8 + 5 + 4 filters can go."""
    inner = k.Sequential([k.Input((6, 6, 8)), k.layers.Conv2D(4, 1, name="conv")], name="inner")
    x = k.Input((6, 6, 3))
    stem = k.layers.Conv2D(8, 3, padding="same", activation="relu", name="stem")(x)
    y = k.layers.Conv2D(5, 1, use_bias=False, name="narrow")(stem)
    y = k.layers.BatchNormalization(name="norm")(y)
    y = k.layers.Conv2D(8, 3, padding="same", name="wide")(k.layers.ReLU(name="relu")(y))
    y = inner(k.layers.Add(name="add")([stem, y]))
    y = k.layers.GlobalAveragePooling2D(name="pool")(y)
    return k.Model(x, k.layers.Dense(2, name="out")(y), name="net")


@pytest.fixture
def net(flavor, randomize):
    return randomize(_net(flavor))


def test_plan_lists_each_filter_once_under_the_first_layer_of_its_group(net):
    plan = sft_keras.plan(net, pruning_ratio=0.5)
    rows = plan.to_dict()["layers"]
    assert {name: (len(row["prune"]), row["filters"]) for name, row in rows.items()} == {
        "stem": (4, 8),
        "narrow": (2, 5),
        "inner/conv": (2, 4),
    }
    assert rows["stem"]["tied"] == ["wide"]
    assert "     4        8  stem, wide\n" in str(plan)
    assert str(plan).endswith("8 filters pruned, in 3 layers")


@pytest.mark.parametrize("criterion", ["contribution", "l1", "random"])
def test_mask_zeroes_exactly_what_shrink_cuts(net, criterion):
    plan = sft_keras.plan(net, 0.5, criterion, seed=3)
    before = net.get_weights()
    small = sft_keras.shrink(net, plan)
    assert all(map(np.array_equal, before, net.get_weights())), "shrink changed its input"
    assert sft_keras.mask(net, plan) is None
    assert sft_keras.plan_from_masks(net) == plan
    again = sft_keras.shrink(net)
    assert all(map(np.array_equal, small.get_weights(), again.get_weights()))
    inputs = random_inputs(net, seed=2)
    assert relative_difference(outputs(net, inputs), outputs(small, inputs)) < 1e-5


def test_plan_chooses_as_training_does_at_its_end(flavor, net):
    net.compile(flavor.optimizers.SGD(0.0), "mse")
    ratios = {"stem": 0.25, "wide": 0.5, "inner/*": 0.5}
    plan = sft_keras.plan(net, ratios, "l1", width_multiple=2)
    rows = plan.to_dict()["layers"]
    assert {name: len(row["prune"]) for name, row in rows.items()} == {"stem": 2, "inner/conv": 2}
    callback = sft_keras.SoftFilterPrune(ratios, criterion="l1", width_multiple=2)
    x, y = np.zeros((4, 6, 6, 3)), np.zeros((4, 2))
    net.fit(x, y, epochs=1, verbose=0, callbacks=[callback])
    assert sft_keras.plan_from_masks(net) == plan


def test_excluded_layers_keep_their_filters(net):
    names = sft_keras.plan(net, exclude=["stem", "inner/*"]).to_dict()["layers"]
    assert list(names) == ["narrow"]


def test_saved_plan_replays_on_a_copy(flavor, net, tmp_path):
    plan = sft_keras.plan(net, 0.4)
    plan.save(tmp_path / "plan.json")
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]
    loaded = Plan.load(tmp_path / "plan.json")
    assert loaded == plan
    other = _net(flavor)
    other.set_weights(net.get_weights())
    pair = sft_keras.shrink(net, plan), sft_keras.shrink(other, loaded)
    assert all(map(np.array_equal, pair[0].get_weights(), pair[1].get_weights()))


def test_file_has_one_line_a_layer_and_can_be_edited(net, tmp_path):
    path = tmp_path / "plan.json"
    sft_keras.plan(net).save(path)
    lines = path.read_text().splitlines()
    assert len(lines) == 8
    edited = '{"version": 1, "layers": {"wide": {"prune": [7, 0]}}}'
    path.write_text(edited)
    small = sft_keras.shrink(net, Plan.load(path))
    widths = [small.get_layer(name).filters for name in ("stem", "narrow", "wide")]
    assert widths == [6, 5, 6], "what is tied to a listed filter goes with it"


def test_existing_file_is_replaced_only_when_asked(net, tmp_path):
    path, plan = tmp_path / "plan.json", sft_keras.plan(net)
    path.write_text("mine")
    with pytest.raises(FileError, match=r"plan\.json' exists; pass overwrite=True"):
        plan.save(path)
    assert path.read_text() == "mine"
    plan.save(path, overwrite=True)
    assert Plan.load(path) == plan
    with pytest.raises(FileError, match="cannot be written"):
        plan.save(tmp_path / "absent" / "plan.json")


def test_plans_are_values(net):
    plan = sft_keras.plan(net)
    assert copy.deepcopy(plan) == plan
    assert hash(plan) == hash(Plan.from_dict(plan.to_dict()))
    assert json.loads(json.dumps(plan.to_dict())) == plan.to_dict()
    with pytest.raises(AttributeError):
        plan.layers = ()


def test_indices_may_be_any_whole_numbers():
    same = ([0, 2], (2, 0), range(0, 3, 2), np.array([0, 2]), {0: "", 2: ""}, [np.int64(0), 2])
    assert {Plan.of({"conv": indices}) for indices in same} == {Plan.of({"conv": [0, 2]})}


def test_empty_plan_cuts_nothing(net, tmp_path):
    plan = sft_keras.plan_from_masks(net)
    assert plan == Plan()
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    small = sft_keras.shrink(net, plan)
    assert all(map(np.array_equal, small.get_weights(), net.get_weights()))


def test_filters_tied_inside_one_layer_go_together(flavor, randomize):
    k = flavor
    layers = [k.layers.Conv2D(6, 1, name="first"), k.layers.Conv2D(6, 3, groups=2, name="grouped")]
    model = randomize(k.Sequential([k.Input((6, 6, 4)), *layers, k.layers.Conv2D(2, 1)]))
    sft_keras.mask(model, Plan.of({"first": [1]}))
    assert sft_keras.plan_from_masks(model).layers[0].prune == (1, 4)


@pytest.mark.parametrize(
    ("filters", "error", "message"),
    [
        ({"absent": [0]}, ArgumentError, "names layer 'absent', but .* are: stem, narrow, wide"),
        ({"stem": [8]}, ArgumentError, "filter 8 of layer 'stem', which has only 8, from 0"),
        (
            {"out": [1]},
            ArgumentError,
            "Filter 1 of layer 'out' cannot be pruned: it is a model out",
        ),
        ({"wide": range(8)}, ShrinkError, "Every filter of layer 'stem' is pruned"),
    ],
)
def test_plan_that_does_not_fit_the_model_is_refused(net, filters, error, message):
    before = net.get_weights()
    for use in (sft_keras.mask, sft_keras.shrink):
        with pytest.raises(error, match=message):
            use(net, Plan.of(filters))
    assert all(map(np.array_equal, before, net.get_weights()))


def test_plan_for_another_width_is_refused(net):
    plan = sft_keras.plan(net)
    with pytest.raises(ArgumentError, match="of 8 filters, but this model's has 4; make the plan"):
        sft_keras.mask(sft_keras.shrink(net, plan), plan)
    with pytest.raises(ArgumentError, match="Expected a Plan, got dict"):
        sft_keras.mask(net, {"stem": [0]})


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ([0, 1.5], r"'conv' of the plan prunes filter 1\.5; take whole numbers"),
        ([True], "prunes filter True; take whole numbers"),
        (["1"], "prunes filter '1'; take whole numbers"),
        ([-1], "prunes filter -1; take whole numbers"),
        ([3, 1, 3], "prunes filter 3 twice"),
        ([[0]], r"prunes filter \[0\]"),
    ],
)
def test_bad_indices_are_refused(indices, message):
    with pytest.raises(ArgumentError, match=message):
        Plan.of({"conv": indices})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not whole JSON"),
        ('{"version": 1, "layers": {"conv"', "is not whole JSON"),
        ("[" * 100_000, "is not whole JSON"),
        ('{"version": 1, "layers": {"a": {"prune": [%s]}}}' % ("1" * 5000), "is not whole JSON"),
        (b"\xff\xfe\x00", "is no text"),
        ("[1, 2]", "needs 'version' and 'layers'"),
        ('{"class_name": "Functional"}', "needs 'version' and 'layers'"),
        ('{"version": 2, "layers": {}}', "version 2 is not known"),
        ('{"layers": {}}', "version None is not known"),
        ('{"version": 1, "layers": {"a": [0]}}', "'a' of the plan needs 'prune', a list"),
        ('{"version": 1, "layers": {"a": {"prune": 0}}}', "'a' of the plan needs 'prune', a list"),
        ('{"version": 1, "layers": {"a": {"prune": [0], "keep": []}}}', "unknown entry 'keep'"),
        ('{"version": 1, "layers": {"a": {"prune": [], "filters": "8"}}}', "has '8' filters"),
        ('{"version": 1, "layers": {"a": {"prune": [], "tied": "b"}}}', "no list of names"),
        ('{"version": 1, "layers": {"a": {"prune": [NaN]}}}', "filter nan; take whole numbers"),
        (
            '{"version": 1, "layers": {"a": {"prune": []}, "a": {"prune": []}}}',
            "'a' is there twice",
        ),
    ],
)
def test_bad_files_are_refused_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "plan.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(FileError, match=message) as error:
        Plan.load(path)
    assert "plan.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(FileError, match="No such file"):
        Plan.load(tmp_path / "absent.json")


def test_a_path_that_no_system_takes_is_refused():
    with pytest.raises(FileError, match="cannot be read"):
        Plan.load("plan\0.json")


def test_a_name_among_many_that_is_there_twice_is_found_at_once(tmp_path):
    rows = ",".join(f'"layer{i % 39_999}": 0' for i in range(1, 40_000))
    path = tmp_path / "plan.json"
    path.write_text('{"version": 1, "layers": {' + rows + ', "layer39998": 0}}')
    start = time.monotonic()
    with pytest.raises(FileError, match="'layer39998' is there twice"):
        Plan.load(path)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pruning_ratio": 1.0}, r"pruning_ratio is 1\.0"),
        ({"criterion": "l3"}, "Unknown criterion 'l3'"),
        ({"exclude": ["absent"]}, "called 'absent'"),
        ({"width_multiple": 0}, "width_multiple is 0"),
    ],
)
def test_bad_arguments_are_refused(net, arguments, message):
    with pytest.raises(ArgumentError, match=message):
        sft_keras.plan(net, **arguments)


def test_weights_come_back_when_shrinking_fails(net, monkeypatch):
    def fail(*_):
        raise ShrinkError("no")

    module = importlib.import_module("sft_keras.shrinking.shrink")
    monkeypatch.setattr(module, "prove_equal", fail)
    before = net.get_weights()
    with pytest.raises(ShrinkError):
        sft_keras.shrink(net, sft_keras.plan(net))
    assert all(map(np.array_equal, before, net.get_weights()))
    assert not read_mask(sft_keras.channel_groups(net)).any()
