"""Penalties and constraints on variables of built layers, and terms of a model's loss."""

from collections.abc import Callable
from typing import Any

import keras

from sft_keras.flavors.arrays import ops
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


def is_trained(layer: Any, variable: Any) -> bool:
    """Whether `fit` changes a variable of `layer`: neither of them is frozen."""
    return any(found is variable for found in layer.trainable_variables)


class _Sum(keras.Regularizer):
    """Several penalties on one variable; Keras takes no plain function there."""

    def __init__(self, penalties: list[Callable]):
        self.penalties = penalties

    def __call__(self, value: Any) -> Any:
        return sum(penalty(value) for penalty in self.penalties)


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
    variable.regularizer = _Sum([penalty] if before is None else [before, penalty])

    def detach():
        variable.regularizer = before

    return detach


def attach_constraint(variable: Any, constraint: Callable) -> Callable[[], None]:
    """Sets a variable's constraint.

    Returns:
        A function that brings the former constraint back.
    """
    before = variable.constraint

    # In mixed precision tf_keras puts a variable that casts around the one with the constraint.
    inner = getattr(variable, "_variable", variable)
    # Under a strategy the first of the variables has it.
    inner = getattr(inner, "_primary", inner)

    def set_constraint(value):
        if type(inner).__module__.startswith("tensorflow"):
            inner._constraint = value  # tf.Variable.constraint cannot be set
        else:
            inner.constraint = value

    set_constraint(constraint)
    return lambda: set_constraint(before)


def attach_loss(model: Any, term: Callable) -> Callable[[], None]:
    """Adds `term(x, y_pred, sample_weight)` to the loss that `fit` minimizes.

    `evaluate` and validation leave it out. Functions that are traced already must be made anew.

    Returns:
        A function that takes it off again.
    """
    if "compute_loss" not in vars(model):
        model.compute_loss = _with_terms(model.compute_loss, ops(model).cast)
    terms = model.compute_loss.terms
    terms.append(term)

    def detach():
        if term in terms:
            terms.remove(term)
            if not terms:
                del model.compute_loss  # back to that of its class

    return detach


def _with_terms(plain: Callable, cast: Callable) -> Callable:
    terms: list[Callable] = []

    def compute_loss(x=None, y=None, y_pred=None, sample_weight=None, **mode):
        loss = plain(x, y, y_pred, sample_weight, **mode)
        if not mode.get("training", True):
            return loss  # tf_keras does not say, and shows another number in `evaluate` anyway
        added = sum(term(x, y_pred, sample_weight) for term in terms)
        return loss + cast(added, loss.dtype)

    compute_loss.terms = terms  # type: ignore[attr-defined]
    return compute_loss
