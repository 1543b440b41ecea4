"""Quantization-aware training with TFMOT, on a tf_keras port of the model."""

from sft_keras.quantization.back import copy_back
from sft_keras.quantization.loading import load_model
from sft_keras.quantization.pipeline import problems, quantize
from sft_keras.quantization.port import to_tf_keras
from sft_keras.quantization.problem import Problem

__all__ = ["Problem", "copy_back", "load_model", "problems", "quantize", "to_tf_keras"]
