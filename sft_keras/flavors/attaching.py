"""Penalties and constraints on variables of built layers."""

from collections.abc import Callable
from typing import Any

from sft_keras.flavors.kinds import argument, is_tf_keras


def regularizer(layer: Any, variable: Any) -> Any:
    """The regularizer that `layer`, or a layer inside it, made `variable` with, or None."""
    if not is_tf_keras(layer):
        return variable.regularizer
    for part in layer._flatten_layers():  # tf_keras' only way to the cells of recurrent layers
        for name, value in vars(part).items():
            if value is variable:
                names = (name, name.removesuffix("_kernel"))
                found = (argument(part, f"{short}_regularizer") for short in names)
                return next((x for x in found if x is not None), None)
    return None


def attach_penalty(layer: Any, variable: Any, penalty: Callable) -> Callable[[], None]:
    """Adds `penalty(variable)` to the training loss, beside any regularizer that is there.

    Returns:
        A function that takes it off again.
    """
    if is_tf_keras(layer):
        # tf_keras binds a variable's regularizer when the layer is built; this list is read live.
        layer.add_loss(lambda: penalty(variable))
        added = layer._callable_losses[-1]
        return lambda: layer._callable_losses.remove(added)
    before = variable.regularizer
    variable.regularizer = (
        penalty if before is None else lambda value: before(value) + penalty(value)
    )

    def detach():
        variable.regularizer = before

    return detach


def attach_constraint(variable: Any, constraint: Callable) -> Callable[[], None]:
    """Sets a variable's constraint.

    Returns:
        A function that brings the former constraint back.
    """
    before = variable.constraint

    def set_constraint(value):
        if type(variable).__module__.startswith("tensorflow"):
            variable._constraint = value  # tf.Variable.constraint cannot be set
        else:
            variable.constraint = value

    set_constraint(constraint)
    return lambda: set_constraint(before)
