"""A teacher, such as the model before pruning, beside the labels."""

from sft_keras.distillation.distill import Distill, teach

__all__ = ["Distill", "teach"]
