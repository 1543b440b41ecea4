"""One small rule per layer type; importing a module registers its rules."""

from sft_keras.channels.rules import (
    activation,
    applications,
    attention,
    conv,
    dense,
    einsum,
    embedding,
    merge,
    norm,
    shape,
    spatial,
)

__all__ = [
    "activation",
    "applications",
    "attention",
    "conv",
    "dense",
    "einsum",
    "embedding",
    "merge",
    "norm",
    "shape",
    "spatial",
]
