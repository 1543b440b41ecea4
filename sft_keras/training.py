"""`fit` with a learning rate that falls: what every stage of the chain trains with."""

import math
from collections.abc import Sequence
from typing import Any

from sft_keras import flavors
from sft_keras.backups import TrainingBackup
from sft_keras.errors import UnsupportedError


def fit(
    model: Any,
    train: Any,
    val: Any,
    epochs: int,
    *,
    callbacks: Sequence[Any] = (),
    backup: TrainingBackup | None = None,
    verbose: int | str = "auto",
) -> dict[str, list[float]]:
    """Trains a compiled model of either Keras.

    The learning rate falls from the optimizer's own to zero along half a cosine, and is put back
    afterwards; an optimizer with a schedule keeps to that.

    Args:
        model: a compiled model of Keras 3 or tf_keras.
        train: training data, whatever `fit` takes; arrays as a tuple `(x, y)`.
        val: held-out data, the same.
        epochs: how often `train` is gone through.
        callbacks: more callbacks for `fit`.
        backup: where to save every epoch, and to go on from; see `sft_keras.Backup`.
        verbose: as for `fit`.

    Returns:
        What the epochs logged, by name, one number an epoch.

    Raises:
        UnsupportedError: the model is not compiled.

    Example:
        >>> history = training.fit(model, digits.train, digits.val, epochs=15)
        >>> history["val_accuracy"][-1]
        0.991
    """
    require_compiled(model)
    # That of mixed precision keeps the learning rate, and its config, in another one.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    start = optimizer.get_config()["learning_rate"]
    has_schedule = isinstance(start, dict)  # serialized
    if not has_schedule:
        half_cosine = flavors.library(model).callbacks.LearningRateScheduler(
            lambda epoch: start * (1 + math.cos(math.pi * epoch / epochs)) / 2
        )
        callbacks = [half_cosine, *callbacks]
    callbacks, first = [*callbacks], 0
    if backup:
        saving, first = backup.callbacks(model)
        callbacks += saving
        epochs = len(backup.log.epochs) if backup.log.ended else epochs
    data = train if isinstance(train, tuple) else (train,)
    try:
        history = model.fit(
            *data,
            validation_data=val,
            epochs=epochs,
            initial_epoch=first,
            callbacks=callbacks,
            shuffle=isinstance(train, tuple),  # other data is in the order it should be in
            verbose=verbose,
        )
    finally:
        if not has_schedule:
            model.optimizer.learning_rate = start
    return backup.log.history if backup else history.history


def require_compiled(model: Any) -> None:
    """Refuses a model that has no loss and optimizer to train with.

    Raises:
        UnsupportedError: `compile` was not called.
    """
    if not flavors.is_compiled(model):
        raise UnsupportedError(
            f"Model '{model.name}' has no loss and optimizer; call its compile() first."
        )
