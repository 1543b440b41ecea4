"""When soft pruning has converged: the mask stays, then the metric stays."""

from collections.abc import Mapping

import numpy as np

SAME_MASK = 0.99


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    """How alike two masks are, 0 to 1; two empty masks are alike."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


class MaskConvergence:
    """Whether the masks of the last cycles are the same, to an IoU of 0.99.

    Args:
        cycles: how many cycles in a row must leave the mask as it was.

    Attributes:
        last: the mask at the last cycle's end, or None.
        alike: how many cycles in a row have left it as it was.
    """

    def __init__(self, cycles: int = 2):
        self.cycles = cycles
        self.last: np.ndarray | None = None
        self.alike = 0

    def reached(self, mask: np.ndarray) -> bool:
        """Takes the mask at a cycle's end; says whether it has converged."""
        same = self.last is not None and intersection_over_union(self.last, mask) >= SAME_MASK
        self.alike = self.alike + 1 if same else 0
        self.last = mask.copy()
        return self.alike >= self.cycles


class Plateau:
    """Whether a value has stopped falling.

    Args:
        patience: epochs without a new lowest value, or None for never.

    Attributes:
        best: the lowest value so far.
        waited: epochs since.
    """

    def __init__(self, patience: int | None):
        self.patience = patience
        self.best = np.inf
        self.waited = 0

    def reached(self, value: float | None) -> bool:
        """Takes an epoch's value; says whether it has stopped falling."""
        if self.patience is None or value is None:
            return False
        self.waited = 0 if value < self.best else self.waited + 1
        self.best = min(self.best, value)
        return self.waited >= self.patience


class Monitored:
    """The value of `fit`'s logs that is to fall: the monitor, or the loss where there is none.

    Args:
        monitor: its key in the logs.

    Attributes:
        seen: whether it has been in the logs of this `fit`.
    """

    def __init__(self, monitor: str):
        self.monitor = monitor
        self.seen = False

    def value(self, logs: Mapping[str, float]) -> float | None:
        """The value of an epoch; None for one without validation where others have it."""
        self.seen |= self.monitor in logs
        return logs.get(self.monitor if self.seen else "loss")
