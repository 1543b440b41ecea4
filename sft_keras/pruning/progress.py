"""How far soft pruning has come, as arrays that a file of weights can hold."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np


def pack(numbers: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One dictionary of arrays; the numbers become JSON."""
    text = json.dumps(numbers).encode()
    return {"numbers": np.frombuffer(text, np.uint8), **arrays}


def unpack(state: Mapping[str, np.ndarray]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The inverse of `pack`."""
    arrays = dict(state)
    return json.loads(arrays.pop("numbers").tobytes()), arrays
