"""Inputs that take a camera's bytes, 0 to 255, and the range that this gives them."""

import math
from typing import Any

import numpy as np

from sft_keras import flavors

LOW, HIGH = 0.0, 255.0


def pixel_inputs(model: Any) -> set[str]:
    """Names of the inputs whose every reader is a Rescaling from 0..255 to 0..1 or -1..1.

    With the range fixed to that, a step is 1: a uint8 file takes bytes as they are, and an int8
    file bytes less 128, whatever the brightness of the images it was calibrated on.

    Args:
        model: a functional model of either Keras.
    """
    readers: dict[int, list] = {id(x): [] for x in flavors.inputs(model)}
    for call in flavors.calls(model):
        for x in call.inputs:
            if id(x) in readers:
                readers[id(x)].append(call.layer)
    return {
        flavors.producer(x).name
        for x in flavors.inputs(model)
        if readers[id(x)] and all(map(_takes_bytes, readers[id(x)]))
    }


def _takes_bytes(layer: Any) -> bool:
    if type(layer).__name__ != "Rescaling" or np.size(layer.scale) + np.size(layer.offset) != 2:
        return False
    scale, offset = float(np.ravel(layer.scale)[0]), float(np.ravel(layer.offset)[0])
    ends = round(offset, 2), scale * HIGH + offset
    return ends[0] in (0, -1) and math.isclose(ends[1], 1, abs_tol=0.01)


def pinned(sample: np.ndarray) -> np.ndarray:
    """A calibration sample with a black and a white pixel, for the range of all bytes.

    Args:
        sample: samples of one input, shape (samples, ...), in 0..255.

    Returns:
        A copy; or `sample`, where it goes beyond bytes or has no room.
    """
    if sample[0].size < 2 or sample.min() < LOW or sample.max() > HIGH:
        return sample
    copy = sample.copy()
    first = copy[0].reshape(-1)
    first[0], first[-1] = LOW, HIGH
    copy[0] = first.reshape(copy[0].shape)
    return copy
