"""The layers inside of a layer or model, and which of them `fit` trains."""

from typing import Any

from sft_keras.errors import UnsupportedError


def with_all_inside(layer: Any) -> list:
    """A layer or model, then all layers inside of it."""
    # The public ways are the parts of models alone, or not the same in both Kerases.
    return list(layer._flatten_layers())


def moving_statistics(model: Any) -> list:
    """The means and variances that normalizations in a model keep of what they saw."""
    names = ("moving_mean", "moving_variance")
    found = (getattr(layer, name, None) for layer in with_all_inside(model) for name in names)
    return [variable for variable in found if variable is not None]


def freeze_like(copy: Any, original: Any) -> None:
    """Gives a copy, and each layer inside of it, the `trainable` of the original.

    A config holds that of its own layer alone. In tf_keras it decides the order of the weights.

    Raises:
        UnsupportedError: the copy has other layers inside, and some of the original are frozen.
    """
    new, old = (with_all_inside(x) for x in (copy, original))
    if all(layer.trainable for layer in (*new, *old)):
        return
    if [*map(type, new)] != [*map(type, old)]:
        raise UnsupportedError(
            f"Model '{original.name}' has frozen layers inside of others, and other ones when it "
            "is made anew from its configs; freeze only whole layers of the model, or none."
        )
    # What holds others first, because it passes its own flag on to them.
    pairs = sorted(zip(new, old, strict=True), key=lambda pair: -len(with_all_inside(pair[0])))
    for made, given in pairs:
        made.trainable = given.trainable
