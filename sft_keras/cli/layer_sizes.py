"""How many weights the layers in a config have, before any memory is taken for them."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

DENSE = {"Dense", "LSTM", "GRU", "SimpleRNN", "LSTMCell", "GRUCell", "SimpleRNNCell"}
CONVOLUTIONS = {f"Conv{n}D{kind}" for n in (1, 2, 3) for kind in ("", "Transpose")}
DEPTHWISE = {"DepthwiseConv1D", "DepthwiseConv2D"}


class Weights(NamedTuple):
    """A number of weights, which the layers have at least.

    Attributes:
        known: of layers whose config holds the shape of their input.
        guessed: of the other layers, if each follows the widest of all.
    """

    known: float
    guessed: float


def weights(config: Any) -> Weights:
    """Adds up the kernels of all dense, convolutional and recurrent layers and embeddings."""
    layers = [*_layers(config)]
    widest = max((_width(layer["config"]) for layer in layers), default=1.0)
    known = guessed = 0.0
    for layer in layers:
        channels = _channels(layer)
        count = _kernel(layer, channels or widest)
        if channels:
            known += count
        else:
            guessed += count
    return Weights(known, guessed)


def _layers(config: Any) -> Iterator[dict]:
    """All objects in a config that have a config of their own."""
    pending = [config]
    while pending:
        part = pending.pop()
        if isinstance(part, dict):
            if isinstance(part.get("class_name"), str) and isinstance(part.get("config"), dict):
                yield part
            pending.extend(part.values())
        elif isinstance(part, list):
            pending.extend(part)


def _kernel(layer: dict, channels: float) -> float:
    name, config = layer["class_name"], layer["config"]
    if name == "Embedding":
        return _number(config.get("input_dim")) * _number(config.get("output_dim"))
    if name in DENSE:
        return channels * _width(config)
    if name in CONVOLUTIONS:
        return _kernel_size(config) * channels * _width(config) / _number(config.get("groups"))
    return _kernel_size(config) * channels if name in DEPTHWISE else 0.0


def _width(config: dict) -> float:
    return max(_number(config.get("units")), _number(config.get("filters")))


def _kernel_size(config: dict) -> float:
    sizes = config.get("kernel_size")
    return math.prod(map(_number, sizes)) if isinstance(sizes, list) else _number(sizes)


def _channels(layer: dict) -> float | None:
    """Channels of the input that the layer was built for, where its config says it."""
    built = layer.get("build_config")
    shape = built.get("input_shape") if isinstance(built, dict) else None
    if not isinstance(shape, list) or len(shape) < 2:
        return None
    axis = 1 if layer["config"].get("data_format") == "channels_first" else -1
    return _number(shape[axis])


def _number(value: Any) -> float:
    """A size; 1 for what is none, which the loader refuses."""
    return max(1.0, float(value)) if isinstance(value, int | float) else 1.0
