"""Carries the optimizer's state over to the shrunk model, momenta cut like their weights."""

from typing import Any

from absl import logging

from sft_keras import flavors
from sft_keras.shrinking.cut import Cuts


def compile_like(model: Any, small: Any, cuts: Cuts) -> None:
    """Compiles `small` as `model` was, with the optimizer's state carried over.

    An optimizer whose state is not shaped like the weights starts afresh, said in the log.
    """
    if not flavors.is_compiled(model):
        return
    small.compile(**flavors.compile_arguments(model))
    if model.optimizer is None or not flavors.is_built(model.optimizer):
        return
    variables = model.trainable_variables, small.trainable_variables
    _carry(model.optimizer, small.optimizer, *variables, cuts)


def _carry(old: Any, new: Any, old_weights: list, new_weights: list, cuts: Cuts) -> None:
    references = _references(new, new_weights)
    state = list(old.variables)
    if len(state) != len(new.variables):
        return _start_afresh(new)
    source = {id(n): o for n, o in zip(new_weights, old_weights, strict=True)}
    values = []
    for old_slot, new_slot in zip(state, new.variables, strict=True):
        value = flavors.to_numpy(old_slot)
        reference = references.get(id(new_slot))
        if reference is not None:
            value = cuts.part(source[id(reference)], value)
        if tuple(value.shape) != tuple(new_slot.shape):
            return _start_afresh(new)
        values.append(value)
    for new_slot, value in zip(new.variables, values, strict=True):
        new_slot.assign(value)
    return None


def _start_afresh(optimizer: Any) -> None:
    name = type(optimizer).__name__
    logging.warning("The state of optimizer %s is not shaped like the weights: reset.", name)


def _references(optimizer: Any, weights: list) -> dict[int, Any]:
    """Builds `optimizer` and notes which weight each of its slot variables was made for."""
    found: dict[int, Any] = {}
    inner = getattr(optimizer, "inner_optimizer", None)
    for part in filter(None, (optimizer, inner)):
        _note_references(part, found)
    optimizer.build(weights)
    for part in filter(None, (optimizer, inner)):
        del part.add_variable_from_reference
    return found


def _note_references(optimizer: Any, found: dict[int, Any]) -> None:
    make = optimizer.add_variable_from_reference

    def noting(*args, **kwargs):
        slot = make(*args, **kwargs)
        # The first argument; the two Kerases name it differently.
        found[id(slot)] = next(iter((*args, *kwargs.values())))
        return slot

    optimizer.add_variable_from_reference = noting
