"""One small rule per layer type; importing a module registers its rules."""

from sft_keras.channels.rules import activation, conv, dense, merge, norm, shape, spatial

__all__ = ["activation", "conv", "dense", "merge", "norm", "shape", "spatial"]
