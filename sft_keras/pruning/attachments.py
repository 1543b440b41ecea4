"""What SoftFilterPrune adds to a model's variables while it trains, and takes off again."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.channels import ChannelGroups
from sft_keras.channels.mask import owned, pruned_positions
from sft_keras.channels.notes import Role, Slices
from sft_keras.constraints import FilterMask
from sft_keras.regularizers import FilterGroupLasso, FilterL1

Penalty = FilterL1 | FilterGroupLasso


class Penalties:
    """λ/√F·Σ_i ‖w_i‖₁/√n_i over all F filters of n_i weights each; of γ where it follows.

    √F keeps the penalty's share of the gradient the same from small networks to large ones: what
    L_ori's gradient gives a single filter falls alike. Layers to which the user gave a filter
    penalty keep it; its λ is used in prune phases.

    Args:
        groups: the channel groups of the model.
        l1: λ for the layers that have no filter penalty of their own.
    """

    def __init__(self, groups: ChannelGroups, l1: float):
        self._detach: list[Callable[[], None]] = []
        self._penalties: list[Penalty] = []
        parts = penalized(groups)
        counts = [len(np.unique(part.ids)) for part in parts]
        # All of them first, for what is attached becomes a regularizer too.
        given = [_given(groups, part) for part in parts]
        for part, count, own in zip(parts, counts, given, strict=True):
            if own:
                self._penalties += own
                continue
            # With the layer's own 1/√n this is λ/√F for a filter of whichever layer.
            strength = l1 * math.sqrt(count / sum(counts))
            penalty = FilterL1(strength)
            layer, variable = _penalized_variable(groups, part)
            self._detach.append(flavors.attach_penalty(layer, variable, penalty))
            self._penalties.append(penalty)

    def switch(self, on: bool) -> None:
        """Lets λ be its strength, or 0."""
        for penalty in self._penalties:
            penalty.switch(on)

    def detach(self) -> None:
        """Takes off what was added and gives the user's own penalties their λ back."""
        self.switch(on=True)
        for detach in reversed(self._detach):  # a variable may have several, one in another
            detach()
        self._detach = []


def penalized(groups: ChannelGroups) -> list[Slices]:
    """The kernels in training of layers in which at least one filter can be pruned."""
    found = []
    for part in groups.trace.slices:
        classes = groups.classes_of(part.ids)
        if not flavors.is_trained(part.layer, part.variable):
            continue
        if part.role is Role.FILTER and groups.prunable[classes[classes >= 0]].any():
            found.append(part)
    return found


def _penalized_variable(groups: ChannelGroups, part: Slices) -> tuple[Any, Any]:
    norms = groups.trace.norms.get(id(part.layer), [])
    if len(norms) == 1 and norms[0].scale and flavors.is_trained(norms[0], norms[0].gamma):
        return norms[0], norms[0].gamma
    return part.layer, part.variable


def _given(groups: ChannelGroups, part: Slices) -> list[Penalty]:
    """The filter penalties that the user gave to a kernel, or to the γ behind it."""
    layer, variable = _penalized_variable(groups, part)
    found = [flavors.regularizer(part.layer, part.variable)]
    if variable is not part.variable:
        found.append(flavors.regularizer(layer, variable))
    return [penalty for penalty in found if isinstance(penalty, Penalty)]


class Masks:
    """A FilterMask on everything that prunable filters own; open until `close`.

    Args:
        groups: the channel groups of the model.
    """

    def __init__(self, groups: ChannelGroups):
        self._groups = groups
        self._masks: list[tuple[Slices, FilterMask]] = []
        self._detach: list[Callable[[], None]] = []
        for part in owned(groups):
            classes = groups.classes_of(part.ids)
            if part.variable.trainable and groups.prunable[classes[classes >= 0]].any():
                inner = part.variable.constraint
                mask = FilterMask(np.ones(len(part.ids)), part.axis, inner)
                self._detach.append(flavors.attach_constraint(part.variable, mask))
                self._masks.append((part, mask))

    def close(self, mask: np.ndarray) -> None:
        """Holds the masked filters at zero from the next step on."""
        for part, constraint in self._masks:
            constraint.set_mask(~pruned_positions(self._groups, part, mask))

    def detach(self) -> None:
        """Gives the variables back the constraints they had."""
        for detach in reversed(self._detach):  # a variable may have several, one in another
            detach()
        self._detach = []
