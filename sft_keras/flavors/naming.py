"""Names of layers as tf_keras takes them."""

import re
from typing import Any


def rename(layer: Any, name: str) -> None:
    """Gives a tf_keras layer that is in no model yet another name."""
    # Calling a TensorFlow function on a symbolic tensor makes a layer, and takes no name for it.
    layer._name = name


def scope_name(name: str) -> str:
    """A layer's name as TensorFlow takes it, which Keras 3 does not ask for."""
    return re.sub(r"[^A-Za-z0-9._/>-]", "_", name).lstrip("_/>-") or "layer"
