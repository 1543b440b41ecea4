"""Channel groups: who belongs together, who is frozen and why, and how it is shown."""

import numpy as np
import pytest

import sft_keras
from sft_keras.channels import registry
from sft_keras.channels.mask import apply_mask, read_mask, require_filters_left
from sft_keras.channels.tensor import along
from sft_keras.errors import ShrinkError


def _residual(k):
    x = k.Input((8, 8, 3))
    stem = k.layers.Conv2D(4, 3, padding="same", name="stem")(x)
    y = k.layers.Conv2D(6, 3, padding="same", activation="relu", name="inside")(stem)
    y = k.layers.Conv2D(4, 3, padding="same", name="last")(y)
    y = k.layers.Flatten()(k.layers.Add()([stem, y]))
    return k.Model(x, k.layers.Dense(3, name="logits")(y))


TABLE = """\
filters  prunable  layers
      4  yes       stem, last
      6  yes       inside
      3  no        logits  (is a model output)
10 of 13 filters can be pruned, in 3 groups"""


def test_groups_as_a_table_and_as_data(flavor):
    groups = sft_keras.channel_groups(_residual(flavor))
    assert str(groups) == TABLE
    assert groups.to_dict() == [
        {"filters": 4, "layers": ["stem", "last"], "prunable": True, "reason": ""},
        {"filters": 6, "layers": ["inside"], "prunable": True, "reason": ""},
        {"filters": 3, "layers": ["logits"], "prunable": False, "reason": "is a model output"},
    ]
    assert [group.filters for group in groups] == [4, 6, 3]
    assert len(groups) == 3
    together = np.concatenate([group.classes for group in groups])
    assert sorted(together) == list(range(groups.count))


def test_spatial_gate_does_not_couple_channels_but_channel_gate_does(flavor):
    layers = flavor.layers
    x = flavor.Input((8, 8, 3))
    y = layers.Conv2D(6, 3, name="main")(x)
    spatial = layers.Conv2D(1, 1, activation="sigmoid", name="spatial")(y)
    channel = layers.GlobalAveragePooling2D(keepdims=True)(y)
    channel = layers.Conv2D(6, 1, activation="sigmoid", name="channel")(channel)
    y = layers.Multiply(name="gate")([layers.Multiply(name="both")([y, channel]), spatial])
    model = flavor.Model(x, layers.Conv2D(2, 3, name="out")(y))
    table = {tuple(g["layers"]): g for g in sft_keras.channel_groups(model).to_dict()}
    assert table["main", "channel"]["prunable"]
    assert table["main", "channel"]["filters"] == 6
    assert table[("spatial",)]["reason"] == "is broadcast over channels by 'gate'"


# layers given `keras.layers`, and the reason why the Conv2D(6) named "conv" before them is frozen
FROZEN = {
    "output": (lambda x: [], "is a model output"),
    "softmax": (lambda x: [x.Softmax(name="s"), x.Conv2D(2, 1)], "enters 's' (Softmax), which mix"),
    "softmax_argument": (
        lambda x: [x.Activation("softmax", name="s"), x.Conv2D(2, 1)],
        "passes 's', whose activation 'softmax' is not element-wise",
    ),
    "layer_norm": (
        lambda x: [x.LayerNormalization(name="n"), x.Conv2D(2, 1)],
        "enters 'n' (LayerNormalization), which mixes channels",
    ),
    "normalization": (
        lambda x: [x.Normalization(mean=0.0, variance=1.0, name="n"), x.Conv2D(2, 1)],
        "enters 'n' (Normalization), whose statistics are fixed",
    ),
    "per_channel_rescaling": (
        lambda x: [x.Rescaling([1.0] * 6, name="r"), x.Conv2D(2, 1)],
        "enters 'r' (Rescaling), which has a scale per channel",
    ),
    "padded_constant": (
        lambda x: [
            x.ReLU(),
            x.Activation("sigmoid"),
            x.ZeroPadding2D(1, name="pad"),
            x.Conv2D(2, 1),
        ],
        "emits a constant when pruned, to which 'pad' adds a border",
    ),
    "constant_into_norm": (
        lambda x: (
            [x.Activation("sigmoid"), x.BatchNormalization(scale=False, name="b"), x.Conv2D(2, 1)]
        ),
        "emits a constant when pruned, into 'b' without γ",
    ),
    "constant_into_transpose": (
        lambda x: [x.Activation("sigmoid"), x.Conv2DTranspose(2, 3, name="up")],
        "emits a constant when pruned, which 'up' cannot take up",
    ),
    "constant_into_groups": (
        lambda x: [x.Activation("sigmoid"), x.Conv2D(4, 3, groups=2, name="g")],
        "emits a constant into a grouped conv",
    ),
    "constant_into_prelu": (
        lambda x: [x.Activation("sigmoid"), x.PReLU(name="p"), x.Conv2D(2, 1)],
        "emits a constant when pruned, into 'p'",
    ),
    "over_positions": (
        lambda x: [x.Permute((3, 1, 2)), x.Conv2D(2, 3, name="mix"), x.Flatten()],
        "'mix' mixes positions that hold different filters",
    ),
}


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_filters_have_a_reason(flavor, name):
    behind, reason = FROZEN[name]
    conv = flavor.layers.Conv2D(6, 1, name="conv")
    model = flavor.Sequential([flavor.Input((8, 8, 3)), conv, *behind(flavor.layers)])
    group = sft_keras.channel_groups(model).groups[0]
    assert group.layers[0] == "conv"
    assert not group.prunable
    assert reason in group.reason


def test_unknown_sizes_freeze_what_rearranges_them(flavor):
    x = flavor.Input((None, 4, 3))
    y = flavor.layers.Conv2D(6, 1)(x)
    model = flavor.Model(x, flavor.layers.Conv1D(2, 3)(flavor.layers.Reshape((-1, 8))(y)))
    assert "rearranges a tensor of unknown size" in str(sft_keras.channel_groups(model))


def test_custom_layer_is_frozen_by_name_until_it_has_a_rule(flavor, monkeypatch, randomize):
    monkeypatch.setattr(registry, "_CUSTOM", {})

    class Clip(flavor.layers.Layer):
        def call(self, x):
            return x * 2.0

    class ClipTwice(Clip):
        pass

    def model(layer):
        return flavor.Sequential(
            [flavor.Input((4,)), flavor.layers.Dense(6), layer, flavor.layers.Dense(2)]
        )

    before = sft_keras.channel_groups(model(Clip(name="mine")))
    assert "(enters 'mine' (Clip), which has no channel rule)" in str(before)

    @sft_keras.register_channel_rule(Clip)
    def clip(walk, call, x):
        return x

    after = sft_keras.channel_groups(randomize(model(Clip())))
    assert after.prunable.sum() == 6
    mask = after.prunable & (np.arange(after.count) < 2)
    apply_mask(after, mask)
    assert sft_keras.shrink(after.model).layers[0].units == 4
    assert not sft_keras.channel_groups(model(ClipTwice())).prunable.any(), "subclass: own rule"


def test_user_layer_named_like_a_known_one_is_not_trusted(flavor):
    class ReLU(flavor.layers.Layer):
        def call(self, x):
            return x[..., ::-1]

    class Subclass(flavor.layers.LeakyReLU):
        call = ReLU.call

    first = [flavor.layers.Dense(6, activation=kind()) for kind in (ReLU, Subclass)]
    layers = [*first, flavor.layers.Dense(5), ReLU()]
    model = flavor.Sequential([flavor.Input((4,)), *layers, flavor.layers.Dense(2)])
    assert not sft_keras.channel_groups(model).prunable.any()


def test_normalization_over_two_axes_is_not_understood():
    import tf_keras as k

    layers = [k.layers.Conv2D(6, 3), k.layers.BatchNormalization(axis=[1, 3]), k.layers.Flatten()]
    model = k.Sequential([k.Input((6, 6, 3)), *layers, k.layers.Dense(2)])
    assert "which has several axes or renorm" in str(sft_keras.channel_groups(model))


def test_rule_that_uses_ids_of_the_wrong_length_raises(flavor, monkeypatch):
    monkeypatch.setattr(registry, "_CUSTOM", {})

    class Half(flavor.layers.Layer):
        def call(self, x):
            return x[:, :3]

    @sft_keras.register_channel_rule(Half)
    def half(walk, call, x):
        return along(-1, x.ids.reshape(-1), (3,))  # six ids for three channels

    layers = [flavor.layers.Dense(6), Half(), flavor.layers.Dense(2)]
    with pytest.raises(ValueError, match="broadcast"):
        sft_keras.channel_groups(flavor.Sequential([flavor.Input((4,)), *layers]))


def test_mask_round_trip(flavor, randomize, random_mask):
    groups = sft_keras.channel_groups(randomize(_residual(flavor)))
    assert not read_mask(groups).any()
    for seed in range(3):
        mask = random_mask(groups, seed)
        apply_mask(groups, mask)
        assert not (mask & ~read_mask(groups)).any()
        require_filters_left(groups, mask)
    with pytest.raises(ShrinkError, match=r"Every filter of layer 'stem'.* keep at least one"):
        require_filters_left(groups, groups.prunable)


def test_conv_bias_and_norm_all_belong_to_a_filter(flavor, randomize):
    layers = flavor.layers
    model = flavor.Sequential(
        [
            flavor.Input((6, 6, 3)),
            layers.Conv2D(4, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.DepthwiseConv2D(3, name="depthwise"),
            layers.Conv2D(2, 1),
        ]
    )
    groups = sft_keras.channel_groups(randomize(model))
    apply_mask(groups, np.arange(groups.count) == groups.producers[0][1][1])
    for name, axis in (("conv", -1), ("norm", -1), ("depthwise", 2)):
        layer = model.get_layer(name)
        for weight in layer.get_weights()[:1] if name == "depthwise" else layer.get_weights()[:2]:
            moved = np.moveaxis(weight, axis if weight.ndim > 1 else 0, 0)
            assert not moved[1].any()
            assert moved[0].all()
    assert model.get_layer("norm").moving_mean.numpy().all(), "statistics stay"
