"""Whether training data comes with the labels that a model's loss compares with."""

from typing import Any

from sft_keras import flavors
from sft_keras.errors import DataError


def require_labels(model: Any, **data: Any) -> None:
    """Refuses data without labels before `fit` fails on it after an epoch, or in the first.

    Only what can be told without reading the data is: arrays, and a `tf.data.Dataset`. A model
    without a loss for any output, or with a `train_step` of its own, may need no labels.

    Args:
        model: a compiled model; any other passes.
        **data: what `fit` takes, by the name of the argument.

    Raises:
        DataError: names the argument.

    Example:
        >>> require_labels(model, train=x_train, val=(x_val, y_val))
        DataError: train has no labels; give train=(x, y).
    """
    if not flavors.is_compiled(model) or not _compares_with_labels(model):
        return
    for name, value in data.items():
        if _lacks_labels(value):
            raise DataError(
                f"{name} has no labels for the loss of model '{model.name}'; give {name}=(x, y), "
                "or a dataset of such batches."
            )


def _compares_with_labels(model: Any) -> bool:
    losses = flavors.output_losses(model)
    return flavors.trains_by_its_loss(model) and any(loss is not None for loss in losses)


def _lacks_labels(data: Any) -> bool:
    batch = getattr(data, "element_spec", data)  # of a tf.data.Dataset
    if isinstance(batch, tuple):
        return len(batch) < 2 or batch[1] is None
    is_arrays = isinstance(batch, list | dict) or hasattr(batch, "__array__")
    return is_arrays or batch is not data
