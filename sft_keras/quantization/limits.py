"""What no int8 file computes, whichever way a model is quantized."""

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from keras import tree

from sft_keras import flavors
from sft_keras.quantization.problem import Problem

INTERPOLATIONS = ("nearest", "bilinear")


def problems(model: Any, floats: Collection[str] = ()) -> list[Problem]:
    """The layers of a model of either Keras that no int8 file holds.

    Args:
        model: a functional or sequential model.
        floats: paths of layers that stay float32, `model/layer` in a nested model.
    """
    quantized = {layer: path for path, layer in _layers(model) if path not in floats}
    return [problem for problem in map(problem_of, quantized) if problem]


def layers(model: Any) -> Iterator[Any]:
    """The layers of a model of either Keras, also those of nested models and inside of others."""
    return (layer for _, layer in _layers(model))


def problem_of(layer: Any) -> Problem | None:
    """What keeps a layer or operator of either Keras out of every int8 file."""
    kind = type(layer).__name__
    interpolation = getattr(layer, "interpolation", INTERPOLATIONS[0])
    if kind in ("UpSampling2D", "Resizing", "Resize") and interpolation not in INTERPOLATIONS:
        reason = f"is a {kind} with interpolation='{interpolation}', which TFLite has not"
        return Problem(layer.name, reason, f"use one of {', '.join(INTERPOLATIONS)}")
    if kind == "Softmax" and np.size(getattr(layer, "axis", 0)) > 1:
        reason = "is a Softmax over several axes, which no runtime computes right in int8"
        return Problem(layer.name, reason, "let it take one axis, with a Reshape on either side")
    return beyond_cpus(layer)


def beyond_cpus(layer: Any) -> Problem | None:
    """A layer of either Keras that only a GPU computes, so that nothing can be proven of it."""
    kind = type(layer).__name__
    # tf_keras has another way, for images alone.
    has_another_way = flavors.is_tf_keras(layer) and kind == "Conv2DTranspose"
    is_dilated = np.max(getattr(layer, "dilation_rate", 1)) > 1
    if not kind.endswith("DTranspose") or has_another_way or not is_dilated:
        return None
    reason = f"is a {kind} with dilation_rate, which TensorFlow cannot compute on a CPU"
    return Problem(layer.name, reason, "build it without, or of UpSampling2D and Conv2D")


def _layers(model: Any, outer: str = "") -> Iterator[tuple[str, Any]]:
    for call in flavors.calls(model):
        path = f"{outer}{call.layer.name}"
        if flavors.is_model(call.layer):
            yield from _layers(call.layer, f"{path}/")
        else:
            yield path, call.layer
            yield from ((path, part) for part in tree.flatten(flavors.parts(call.layer)))
