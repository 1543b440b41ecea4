"""Softening of filters, and the masked view that training keeps its soft filters behind."""

from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.backups import fingerprint
from sft_keras.channels import ChannelGroups
from sft_keras.channels.mask import (
    Aside,
    apply_mask,
    owned,
    pruned_positions,
    put_back,
    set_aside,
)
from sft_keras.channels.notes import Role, Slices


def effective_slices(groups: ChannelGroups) -> list[Slices]:
    """Where to soften a filter: γ and β of the BatchNormalization behind, else kernel and bias.

    BatchNormalization scales a small kernel up again, so softening the kernel would do nothing.
    """
    normalized = {
        key
        for key, norms in groups.trace.norms.items()
        # A frozen γ could never grow back.
        if all(norm.scale and flavors.is_trained(norm, norm.gamma) for norm in norms)
    }
    norms = {id(norm) for key in normalized for norm in groups.trace.norms[key]}
    return [
        s
        for s in owned(groups)
        if (id(s.layer) in norms) or (id(s.layer) not in normalized and not _is_norm(s.layer))
    ]


def kernel_slices(groups: ChannelGroups) -> list[Slices]:
    """The kernels, which the literal soft filter pruning zeroes."""
    return [s for s in groups.trace.slices if s.role is Role.FILTER]


def _is_norm(layer: Any) -> bool:
    return hasattr(layer, "moving_variance")


def soften(groups: ChannelGroups, slices: list[Slices], mask: np.ndarray, decay: float) -> None:
    """Multiplies the masked filters' part of `slices` by `decay`, in place."""
    for part in slices:
        pruned = pruned_positions(groups, part, mask)
        if pruned.any():
            value = flavors.to_numpy(part.variable).copy()
            np.moveaxis(value, part.axis, 0)[pruned] *= decay
            part.variable.assign(value)


class MaskedView:
    """Shows the weights as the shrunk model will have them, and keeps what it hides.

    Args:
        groups: the channel groups of the model in training.
    """

    def __init__(self, groups: ChannelGroups):
        self._groups = groups
        self._hidden: list[Aside] = []
        self._shown = ""

    def show(self, mask: np.ndarray) -> None:
        """Zeroes what masked filters own, and keeps it aside."""
        self._hidden = set_aside(self._groups, mask)
        apply_mask(self._groups, mask)
        self._shown = fingerprint(self._groups.model)

    def hide(self) -> None:
        """Brings back what was kept aside; what others changed meanwhile elsewhere stays."""
        put_back(self._hidden)
        self._hidden = []

    def take_back(self) -> None:
        """The same, for good, where the model's weights are still those that were shown."""
        if self._hidden and fingerprint(self._groups.model) == self._shown:
            self.hide()
        self.forget()

    def forget(self) -> None:
        """Makes the view final: what it hid is gone."""
        self._hidden = []

    def kept(self) -> list[np.ndarray]:
        """What is kept aside, in an order that `bring` knows."""
        return [aside.value for aside in self._hidden]

    def bring(self, mask: np.ndarray, kept: list[np.ndarray]) -> None:
        """Keeps aside what another view did that showed the same mask."""
        places = set_aside(self._groups, mask) if kept else []
        pairs = zip(places, kept, strict=True)
        self._hidden = [aside._replace(value=value) for aside, value in pairs]
