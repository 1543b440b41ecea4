"""Names of the layers that tf_keras makes by itself."""

from typing import Any


def rename(layer: Any, name: str) -> None:
    """Gives a tf_keras layer that is in no model yet another name."""
    # Calling a TensorFlow function on a symbolic tensor makes a layer, and takes no name for it.
    layer._name = name
