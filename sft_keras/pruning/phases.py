"""Which phase each epoch belongs to."""

import enum
from dataclasses import dataclass


class Phase(enum.IntEnum):
    """The number that `phase` has in the logs."""

    PRUNE = 0
    """Trains on L_ori + λ·Σ_i ‖w_i‖₁; the weakest filters are softened at the epoch's end."""
    FINE_TUNE = 1
    """Trains on L_ori; pruned filters may come back."""
    FINAL = 2
    """Trains on L_ori; the mask is final and held."""


@dataclass(frozen=True)
class PhasePlan:
    """Cycles of prune and fine-tune epochs, then the final phase.

    Attributes:
        soft_epochs: epochs of soft pruning, all cycles together.
        prune_epochs: length of a prune phase.
        fine_tune_epochs: length of the fine-tune phase behind it.
    """

    soft_epochs: int
    prune_epochs: int
    fine_tune_epochs: int

    def phase(self, epoch: int) -> Phase:
        """The phase of an epoch, counted from 0."""
        if epoch >= self.soft_epochs:
            return Phase.FINAL
        position = epoch % (self.prune_epochs + self.fine_tune_epochs)
        return Phase.PRUNE if position < self.prune_epochs else Phase.FINE_TUNE

    def ends_cycle(self, epoch: int) -> bool:
        """Whether a cycle is complete at the end of an epoch."""
        return (epoch + 1) % (self.prune_epochs + self.fine_tune_epochs) == 0

    def progress(self, epoch: int) -> float:
        """The share of soft pruning that is done at an epoch's end, 0 to 1."""
        return min(1.0, (epoch + 1) / max(1, self.soft_epochs))
