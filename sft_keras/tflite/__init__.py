"""From a Keras model to a checked int8 `.tflite` file, and to numbers about it.

Names are imported when first used: the child processes that run a file start without TensorFlow.
"""

import importlib
from typing import Any

_PUBLIC = {
    "LayerComparison": "comparison",
    "LiteModel": "lite_model",
    "Verification": "verification",
    "arena_size": "arena",
    "benchmark": "speed",
    "check": "preflight",
    "compare_layers": "comparison",
    "convert": "conversion",
    "latency": "speed",
    "profile": "profiling",
    "to_onnx": "onnx_file",
    "verify": "verification",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
