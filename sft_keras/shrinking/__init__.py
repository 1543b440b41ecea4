"""Removes masked filters physically."""

from sft_keras.shrinking.shrink import shrink

__all__ = ["shrink"]
