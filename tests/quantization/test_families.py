"""A small member of each family of applications, trained for a step and in int8 throughout.

`benchmarks/int8_applications.py` takes the real ones.
"""

import importlib

import keras
import numpy as np
import pytest
import tf_keras

from sft_keras import convert, quantize
from sft_keras.quantization import problems

IMAGE = {"weights": None, "classes": 3, "input_shape": (32, 32, 3)}


def module(library, name):
    """The module that holds a family's general constructor, which is not exported."""
    return importlib.import_module(f"{library.__name__}.src.applications.{name}")


def mobile_net(library):
    return library.applications.MobileNet(alpha=0.25, **IMAGE)


def mobile_net_v2(library):
    return library.applications.MobileNetV2(alpha=0.35, **IMAGE)


def mobile_net_v3(library):
    return library.applications.MobileNetV3Small(alpha=0.35, **IMAGE)


def efficient_net(library):
    return module(library, "efficientnet").EfficientNet(0.25, 0.1, 32, **IMAGE)


def efficient_net_v2(library):
    build = module(library, "efficientnet_v2").EfficientNetV2
    return build(0.25, 0.1, 32, name="efficientnetv2-b0", **IMAGE)


def dense_net(library):
    return module(library, "densenet").DenseNet([1, 1, 1, 1], **IMAGE)


def nas_net(library):
    build = module(library, "nasnet").NASNet
    return build(penultimate_filters=96, num_blocks=1, stem_block_filters=8, **IMAGE)


def res_net(library):
    resnet = module(library, "resnet")
    stack = getattr(resnet, "stack_residual_blocks_v1", None) or resnet.stack1

    def stacks(x):
        return stack(stack(x, 8, 2, stride1=1, name="one"), 12, 1, name="two")

    build = resnet.ResNet
    options = {"weights_name": "resnet"} if library is keras else {}
    return build(stacks, False, True, weights=None, classes=3, input_shape=(32, 32, 3), **options)


def res_net_v2(library):
    resnet = module(library, "resnet")
    stack = getattr(resnet, "stack_residual_blocks_v2", None) or resnet.stack2

    def stacks(x):
        return stack(stack(x, 8, 2, name="one"), 12, 2, stride1=1, name="two")

    options = {"weights_name": "resnetv2"} if library is keras else {}
    return resnet.ResNet(
        stacks, True, True, weights=None, classes=3, input_shape=(32, 32, 3), **options
    )


def reg_net_x(library):
    return module(library, "regnet").RegNet(
        [1, 1, 1, 1], [8, 8, 16, 16], 8, "X", 32, model_name="regnet", **IMAGE
    )


def reg_net_y(library):
    return module(library, "regnet").RegNet(
        [1, 1, 1, 1], [8, 8, 16, 16], 8, "Y", 32, model_name="regnet", **IMAGE
    )


def res_net_rs(library):
    blocks = [{"input_filters": 8, "num_repeats": 1}, {"input_filters": 12, "num_repeats": 2}]
    return module(library, "resnet_rs").ResNetRS(50, block_args=blocks, **IMAGE)


def thin(model):
    """The same network with a sixteenth of the filters."""

    def divided(key, value):
        return value // 16 if key in ("filters", "units") and value > 3 else value

    def walk(config):
        if isinstance(config, dict):
            return {k: divided(k, walk(v)) for k, v in config.items() if k != "build_config"}
        return [walk(x) for x in config] if isinstance(config, list | tuple) else config

    return type(model).from_config(walk(model.get_config()))


def vgg(library):
    return thin(library.applications.VGG16(**IMAGE))


def inception(library):
    return thin(library.applications.InceptionV3(**IMAGE | {"input_shape": (75, 75, 3)}))


def xception(library):
    return thin(library.applications.Xception(**IMAGE | {"input_shape": (71, 71, 3)}))


BOTH = (
    *(mobile_net, mobile_net_v2, mobile_net_v3, efficient_net, efficient_net_v2, dense_net),
    *(nas_net, res_net, res_net_v2, vgg, inception, xception),
)
ONLY_TF_KERAS = (reg_net_x, reg_net_y, res_net_rs)
CASES = [*((keras, family) for family in BOTH), *((tf_keras, family) for family in ONLY_TF_KERAS)]


def _normalize(library, model, images):
    """Gives BatchNormalization the statistics of the images: else layers of this depth are dead."""
    for layer in model.layers:
        if isinstance(layer, library.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)


@pytest.mark.parametrize(("library", "family"), CASES, ids=lambda x: x.__name__)
def test_it_becomes_int8_by_training(library, family, to_file):
    library.utils.set_random_seed(0)
    library.backend.clear_session()
    model = family(library)
    assert problems(model) == []
    shape = (4, *model.input_shape[1:])
    images = np.random.default_rng(0).uniform(0, 255, shape).astype("float32")
    _normalize(library, model, images)
    qat = quantize(model)
    qat(images, training=True)
    file = to_file(qat)
    assert file.floats == []
    outputs, _ = file(images[:1])
    assert np.ptp(outputs) > 0


def test_convnext_is_refused_before_training_and_becomes_int8_without():
    build = module(keras, "convnext").ConvNeXt
    model = build([1, 1, 1, 1], [8, 8, 12, 12], name="convnext", **IMAGE)
    reasons = {problem.reason for problem in problems(model)}
    assert "is a LayerNormalization that has no int8 form" in reasons
    images = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype("float32")
    assert convert(model, images, target="litert").inputs[0].dtype == "int8"
