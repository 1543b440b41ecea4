"""When soft pruning has converged: the mask stays, then the metric stays."""

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
    """

    def __init__(self, cycles: int = 2):
        self.cycles = cycles
        self._last: np.ndarray | None = None
        self._alike = 0

    def reached(self, mask: np.ndarray) -> bool:
        """Takes the mask at a cycle's end; says whether it has converged."""
        same = self._last is not None and intersection_over_union(self._last, mask) >= SAME_MASK
        self._alike = self._alike + 1 if same else 0
        self._last = mask.copy()
        return self._alike >= self.cycles


class Plateau:
    """Whether a value has stopped falling.

    Args:
        patience: epochs without a new lowest value, or None for never.
    """

    def __init__(self, patience: int | None):
        self.patience = patience
        self._best = np.inf
        self._waited = 0

    def reached(self, value: float | None) -> bool:
        """Takes an epoch's value; says whether it has stopped falling."""
        if self.patience is None or value is None:
            return False
        self._waited = 0 if value < self._best else self._waited + 1
        self._best = min(self._best, value)
        return self._waited >= self.patience
