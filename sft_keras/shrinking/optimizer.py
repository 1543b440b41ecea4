"""Carries the optimizer's state over to the shrunk model, momenta cut like their weights."""

from typing import Any

from absl import logging

from sft_keras import flavors
from sft_keras.shrinking.cut import Cuts

NOT_ALIKE = "is not shaped like the weights"


def compile_like(model: Any, view: Any, small: Any, cuts: Cuts) -> None:
    """Compiles `small` as `model` was, with the optimizer's state carried over.

    An optimizer whose state is not shaped like the weights starts afresh, said in the log.

    Args:
        model: the model that was shrunk.
        view: its graph, with the same variables: `model` itself unless that is subclassed.
        small: the shrunk model.
        cuts: what `small` was made with.
    """
    if not flavors.is_compiled(model):
        return None
    small.compile(**flavors.compile_arguments(model))
    if model.optimizer is None:
        return None
    if flavors.is_legacy(model.optimizer):
        return _start_afresh(small.optimizer, "is of tf_keras' legacy kind")
    if not flavors.is_built(model.optimizer):
        return None
    pairs = zip(flavors.weights(small), flavors.weights(view), strict=True)
    _carry(model, small, {id(new): old for new, old in pairs}, cuts)
    return None


def _carry(model: Any, small: Any, source: dict[int, Any], cuts: Cuts) -> None:
    """Gives the optimizer of `small` the state of that of `model`, cut.

    Each slot goes with its weight, for a subclassed model lists its weights in another order.
    """
    old, new = model.optimizer, small.optimizer
    owners = _owners(flavors.fresh(old), model.trainable_variables)
    new_owners = _owners(new, small.trainable_variables)
    state = list(old.variables)
    if not len(state) == len(owners) == len(new_owners):
        return _start_afresh(new, NOT_ALIKE)
    slots: dict[int, list] = {}
    for slot, owner in zip(state, owners, strict=True):
        slots.setdefault(id(owner), []).append(slot)
    values = []
    for new_slot, new_owner in zip(new.variables, new_owners, strict=True):
        owner = None if new_owner is None else source[id(new_owner)]
        value = cuts.part(owner, flavors.to_numpy(slots[id(owner)].pop(0)))
        if tuple(value.shape) != tuple(new_slot.shape):
            return _start_afresh(new, NOT_ALIKE)
        values.append(value)
    for new_slot, value in zip(new.variables, values, strict=True):
        new_slot.assign(value)
    for kept, value in zip(*map(flavors.unlisted_variables, (new, old)), strict=True):
        kept.assign(value)
    return None


def _start_afresh(optimizer: Any, reason: str) -> None:
    logging.warning("The state of optimizer %s %s: reset.", type(optimizer).__name__, reason)


def _owners(optimizer: Any, weights: list) -> list:
    """Builds `optimizer`; the weight that each of its variables was made for, or None."""
    found: dict[int, Any] = {}
    inner = getattr(optimizer, "inner_optimizer", None)
    for part in filter(None, (optimizer, inner)):
        _note_references(part, found)
    optimizer.build(weights)
    for part in filter(None, (optimizer, inner)):
        del part.add_variable_from_reference
    return [found.get(id(slot)) for slot in optimizer.variables]


def _note_references(optimizer: Any, found: dict[int, Any]) -> None:
    make = optimizer.add_variable_from_reference

    def noting(*args, **kwargs):
        slot = make(*args, **kwargs)
        # The first argument; the two Kerases name it differently.
        found[id(slot)] = next(iter((*args, *kwargs.values())))
        return slot

    optimizer.add_variable_from_reference = noting
