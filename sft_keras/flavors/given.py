"""What a layer's call was given, without what Keras 3 filled in itself."""

from typing import Any

from keras import tree

from sft_keras.flavors.graphs import Call
from sft_keras.flavors.kinds import is_tf_keras


def given(call: Call) -> tuple[tuple, dict]:
    """The `(args, kwargs)` that whoever built the graph gave a layer.

    Keras 3 also notes the masks that tensors bring along, and a mode that `fit` overrides.

    Args:
        call: the call of a layer.

    Returns:
        The arguments; keywords that are None are left out.
    """
    kwargs = {key: value for key, value in call.kwargs.items() if value is not None}
    if is_tf_keras(call.layer):
        return call.args, kwargs
    brought = {id(mask(x)) for x in tree.flatten((call.args, call.kwargs)) if has_mask(x)}
    return call.args, {
        key: value
        for key, value in kwargs.items()
        if key != "training" and not (key.endswith("mask") and _all_in(value, brought))
    }


def _all_in(masks: Any, brought: set[int]) -> bool:
    """Whether all of these masks, one or a list with gaps, came along with other arguments."""
    found = [id(x) for x in tree.flatten(masks) if x is not None]
    return set(found) <= brought


def has_mask(tensor: Any) -> bool:
    """Whether a symbolic tensor carries a mask."""
    return mask(tensor) is not None


def mask(tensor: Any) -> Any:
    """The mask that a tensor carries, or None."""
    # Both Kerases keep it here and have no public way to ask.
    return getattr(tensor, "_keras_mask", None)
