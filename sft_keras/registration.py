"""Makes both Kerases know the classes of this package that are saved within models.

A Keras that was not imported yet learns of them when it is: `import sft_keras` alone imports none.
"""

import importlib
from typing import Any

import wrapt

PACKAGE = "sft_keras"
_MODULES = ("constraints", "regularizers")  # what a model's layers can hold


def serializable(cls: Any) -> Any:
    """Registers a class, as a decorator, with Keras 3 and with tf_keras."""

    def register(library: Any) -> None:
        library.saving.register_keras_serializable(PACKAGE)(cls)

    for name in ("keras", "tf_keras"):
        wrapt.register_post_import_hook(register, name)
    return cls


def register_when_imported() -> None:
    """Registers all such classes with either Keras as soon as that is imported."""

    def register(_: Any) -> None:
        for name in _MODULES:
            importlib.import_module(f"{PACKAGE}.{name}")

    for library in ("keras", "tf_keras"):
        wrapt.register_post_import_hook(register, library)
