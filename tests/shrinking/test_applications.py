"""One small member of each family of keras.applications and tf_keras.applications."""

import importlib

import keras
import pytest
import tf_keras

import sft_keras

LIBRARIES = {"keras": keras, "tf_keras": tf_keras}

# library/constructor: share of the MACs that must go
SMALL = {
    "keras/ConvNeXtTiny": 0.4,  # LayerNormalization freezes its residual stream
    "keras/DenseNet121": 0.7,
    "keras/EfficientNetV2B0": 0.7,
    "keras/InceptionV3": 0.7,
    "keras/MobileNet": 0.6,
    "keras/MobileNetV2": 0.6,
    "keras/MobileNetV3Small": 0.6,
    "keras/NASNetMobile": 0.7,
    "keras/ResNet50": 0.7,
    "keras/VGG16": 0.7,
    "keras/Xception": 0.7,
    "tf_keras/EfficientNetB0": 0.7,  # needs the proof in float64
    "tf_keras/MobileNet": 0.6,
    "tf_keras/MobileNetV3Small": 0.6,
    "tf_keras/RegNetX002": 0.7,
    "tf_keras/RegNetY002": 0.7,
    "tf_keras/ResNet50V2": 0.7,
    "tf_keras/ResNetRS50": 0.7,
}
LARGE = {
    "keras/EfficientNetB0": 0.7,
    "keras/InceptionResNetV2": 0.6,
    "keras/ResNet50V2": 0.7,
    "tf_keras/ConvNeXtTiny": 0.4,
    "tf_keras/DenseNet121": 0.7,
    "tf_keras/EfficientNetV2B0": 0.7,
    "tf_keras/InceptionResNetV2": 0.6,
    "tf_keras/InceptionV3": 0.7,
    "tf_keras/MobileNetV2": 0.6,
    "tf_keras/NASNetMobile": 0.7,
    "tf_keras/ResNet50": 0.7,
    "tf_keras/VGG16": 0.7,
    "tf_keras/Xception": 0.7,
}
CASES = [*SMALL.items(), *(pytest.param(*x, marks=pytest.mark.slow) for x in LARGE.items())]
SIZES = {"Inception": 75, "Xception": 71}
ALPHAS = {"MobileNet": 0.25, "MobileNetV2": 0.35}


def _application(path):
    library, name = path.split("/")
    lib = LIBRARIES[library]
    lib.backend.clear_session()
    size = next((size for start, size in SIZES.items() if name.startswith(start)), 32)
    alpha = {"alpha": ALPHAS[name]} if name in ALPHAS else {}
    constructor = getattr(lib.applications, name)
    return constructor(weights=None, classes=10, input_shape=(size, size, 3), **alpha)


@pytest.mark.parametrize(("path", "least"), CASES)
def test_an_application_loses_half_of_its_filters(path, least, randomize):
    model = randomize(_application(path))
    frozen = [g for g in sft_keras.channel_groups(model) if not g.prunable]
    if "ConvNeXt" not in path:
        assert [(g.filters, g.reason) for g in frozen] == [(10, "is a model output")]
    sft_keras.mask(model, sft_keras.plan(model, pruning_ratio=0.5, criterion="l1"))
    small = sft_keras.shrink(model)  # it proves itself
    assert 1 - sft_keras.cost(small).macs / sft_keras.cost(model).macs >= least


def _own_layer(flavor, module, name):
    address = f"{flavor.__name__}.src.applications.{module}"  # exported nowhere else
    return getattr(importlib.import_module(address), name)


def test_layer_scale_is_cut_with_its_channels(flavor, shrink_and_compare):
    layers = flavor.layers
    x = image = flavor.Input((6, 6, 3))
    x = layers.Conv2D(8, 1, activation="sigmoid")(x)
    x = _own_layer(flavor, "convnext", "LayerScale")(0.1, 8)(x)
    x = _own_layer(flavor, "convnext", "StochasticDepth")(0.1)(x)
    x = layers.Conv2D(2, 3, padding="same")(x)
    model = flavor.Model(image, layers.Flatten()(x))
    assert sft_keras.channel_groups(model).prunable.sum() == 8
    shrink_and_compare(model)


def test_scaled_residual_ties_its_inputs_and_scales_their_constants(flavor, shrink_and_compare):
    layers = flavor.layers
    x = image = flavor.Input((6, 6, 3))
    x = layers.Conv2D(8, 1, activation="sigmoid")(x)
    y = layers.Conv2D(8, 3, padding="same", activation="sigmoid")(image)
    x = _own_layer(flavor, "inception_resnet_v2", "CustomScaleLayer")(0.25)([x, y])
    x = layers.Conv2D(2, 3)(x)
    model = flavor.Model(image, layers.Flatten()(x))
    assert sft_keras.channel_groups(model).prunable.sum() == 8
    shrink_and_compare(model)


def test_groups_of_a_shared_depthwise_convolution_stay_where_one_input_cannot_go(
    flavor, shrink_and_compare
):
    layers = flavor.layers
    image = flavor.Input((6, 6, 4))
    shared = layers.Conv2D(8, 3, groups=4)
    x = layers.Concatenate()([shared(image), shared(layers.Conv2D(4, 1)(image))])
    model = flavor.Model(image, layers.Flatten()(layers.Conv2D(2, 1)(x)))
    assert sft_keras.channel_groups(model).prunable.sum() == 0
    shrink_and_compare(model)


def test_depthwise_convolution_by_groups_may_be_left_with_one_group(flavor, randomize):
    layers = flavor.layers
    image = flavor.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, groups=4, name="groups")(layers.Conv2D(4, 1, name="before")(image))
    model = randomize(flavor.Model(image, layers.Flatten()(layers.Conv2D(2, 1)(x))))
    small = sft_keras.shrink(model, sft_keras.Plan.of({"before": [0, 1, 3]}))
    assert small.get_layer("groups").groups == 1
    assert small.get_layer("groups").filters == 2
    assert "groups" in dict(sft_keras.channel_groups(small).producers)


def test_grouped_convolution_may_be_left_with_one_channel_a_group(flavor, randomize):
    layers = flavor.layers
    image = flavor.Input((6, 6, 3))
    x = layers.Conv2D(4, 3, groups=2, name="groups")(layers.Conv2D(4, 1, name="before")(image))
    model = randomize(flavor.Model(image, layers.Flatten()(layers.Conv2D(2, 1)(x))))
    small = sft_keras.shrink(model, sft_keras.Plan.of({"before": [0, 2], "groups": [1, 3]}))
    conv = small.get_layer("groups")
    assert (conv.groups, conv.filters, conv.kernel.shape[-2]) == (2, 2, 1)
    assert "groups" not in dict(sft_keras.channel_groups(small).producers)
