"""Keras' own `Distiller`, a model that trains another one inside it."""

from collections.abc import Callable
from typing import Any

import keras

from sft_keras.flavors.attaching import attach_loss


def student(model: Any) -> Any:
    """The model that a `keras.distillation.Distiller` trains; any other model itself."""
    return model.student if _is_distiller(model) else model


def attach_own_losses(model: Any) -> Callable[[], None]:
    """Lets `fit` of a Distiller minimize the penalties of its layers too, which it leaves out.

    Returns:
        A function that undoes it; for other models neither does anything.
    """
    if not _is_distiller(model):
        return lambda: None
    return attach_loss(model, lambda x, y_pred, sample_weight: sum(model.losses))


def _is_distiller(model: Any) -> bool:
    distillation = getattr(keras, "distillation", None)  # since Keras 3.12
    return distillation is not None and isinstance(model, distillation.Distiller)
