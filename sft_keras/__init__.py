"""Soft filter pruning for Keras: filters really removed, then int8 TFLite.

    >>> model.fit(train, epochs=30, validation_data=val, callbacks=[sft_keras.SoftFilterPrune()])
    >>> small = sft_keras.shrink(model)
    >>> qat = sft_keras.quantize(small)
    >>> qat.fit(train, epochs=3, validation_data=val)
    >>> lite = sft_keras.convert(qat)
    >>> lite.save("model.tflite")

Names are imported when first used: `import sft_keras` loads no Keras, TFMOT or TFLite. Models with
this package's regularizers and constraints load from then on.
"""

import importlib
from typing import Any

from sft_keras.registration import register_when_imported

__version__ = "0.1.0"

# Modules are named otherwise than the functions in them: importing `sft_keras.x` sets the
# package's attribute `x`, which would hide a function of that name.
_PUBLIC = {
    "Backup": "backups",
    "ChannelGroups": "channels",
    "Distill": "distillation",
    "LiteModel": "tflite",
    "Plan": "plans",
    "SoftFilterPrune": "callbacks",
    "channel_groups": "channels",
    "check": "tflite",
    "compare_layers": "tflite",
    "compress": "compression",
    "convert": "tflite",
    "cost": "costs",
    "mask": "plans",
    "plan": "plans",
    "plan_from_masks": "plans",
    "quantize": "quantization",
    "register_channel_rule": "channels",
    "report": "reports",
    "shrink": "shrinking",
    "verify": "tflite",
}
_MODULES = (
    *("android", "callbacks", "constraints", "costs", "criteria", "datasets", "errors"),
    *("micro", "quantization", "regularizers", "schedules", "tflite", "training"),
)

__all__ = ["__version__", *_MODULES, *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'sft_keras' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)


register_when_imported()
