"""Which phase each epoch belongs to."""

import enum
from dataclasses import dataclass, replace

from sft_keras.schedules import Phases


class Phase(enum.IntEnum):
    """The number that `phase` has in the logs."""

    PRUNE = 0
    """Trains on L_ori + λ·Σ_i ‖w_i‖₁; the weakest filters are softened at the epoch's end."""
    FINE_TUNE = 1
    """Trains on L_ori; the next prune phase may take softened filters back."""
    FINAL = 2
    """Trains on L_ori; the mask is final and held."""


@dataclass(frozen=True)
class PhasePlan:
    """Cycles of prune and fine-tune epochs, then the final phase.

    The last prune phase ends with the final mask: the final phase is its fine-tune phase.

    Attributes:
        cycles: number of cycles.
        prune_epochs: length of a prune phase.
        fine_tune_epochs: length of the fine-tune phase behind it.
    """

    cycles: int
    prune_epochs: int
    fine_tune_epochs: int

    @classmethod
    def over(cls, epochs: int, phases: Phases) -> "PhasePlan":
        """The plan for a `fit` of so many epochs."""
        prune_epochs = min(phases.prune_epochs, epochs)
        cycle = prune_epochs + phases.fine_tune_epochs
        # The last prune phase has to end within `fit`, or the ratio is never reached.
        most = (epochs + phases.fine_tune_epochs) // cycle
        cycles = min(most, max(1, round(phases.soft_share * epochs / cycle)))
        return cls(cycles if phases.soft_share else 0, prune_epochs, phases.fine_tune_epochs)

    @property
    def soft_epochs(self) -> int:
        """Epochs before the final phase."""
        cycle = self.prune_epochs + self.fine_tune_epochs
        return max(0, self.cycles * cycle - self.fine_tune_epochs)

    def phase(self, epoch: int) -> Phase:
        """The phase of an epoch, counted from 0."""
        if epoch >= self.soft_epochs:
            return Phase.FINAL
        position = epoch % (self.prune_epochs + self.fine_tune_epochs)
        return Phase.PRUNE if position < self.prune_epochs else Phase.FINE_TUNE

    def ends_prune_phase(self, epoch: int) -> bool:
        """Whether a prune phase is complete at the end of an epoch."""
        cycle = self.prune_epochs + self.fine_tune_epochs
        return epoch < self.soft_epochs and epoch % cycle == self.prune_epochs - 1

    def progress(self, epoch: int) -> float:
        """The share of prune epochs that is done at the end of a prune epoch, 0 to 1."""
        cycle = self.prune_epochs + self.fine_tune_epochs
        done = epoch // cycle * self.prune_epochs + epoch % cycle + 1
        return done / (self.cycles * self.prune_epochs)

    def ended_at(self, epoch: int) -> "PhasePlan":
        """The same plan with the cycle of `epoch` as the last."""
        cycle = self.prune_epochs + self.fine_tune_epochs
        return replace(self, cycles=epoch // cycle + 1)
