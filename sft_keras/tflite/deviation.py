"""Sums over samples of how far a tensor's values are from what they should be."""

import math

import numpy as np

from sft_keras.tflite.schema import Tensor

LIMIT = 144.0  # dB; float32 resolves 2**-24 of a value, so more says nothing


class Deviation:
    """How far a tensor of a `.tflite` file is from the real values that it stands for.

    Args:
        tensor: an activation, quantized with one scale or not at all.

    Example:
        >>> deviation = Deviation(tensor)
        >>> deviation.add(expected, steps)
        >>> deviation.sqnr
        31.7
    """

    def __init__(self, tensor: Tensor):
        quantized = tensor.scales.size == 1 and not tensor.dtype.startswith("float")
        self.scale = float(tensor.scales[0]) if quantized else None
        self._zero_point = int(tensor.zero_points[0]) if quantized else 0
        self._ends = np.iinfo(tensor.dtype) if quantized else None
        self._count = self._beyond = 0
        self._signal = self._noise = self._absolute = self._sum = self._largest = 0.0
        self._low = self._high = 0.0

    def add(self, expected: np.ndarray, steps: np.ndarray) -> None:
        """Takes some samples in.

        Args:
            expected: real values.
            steps: the same values as the tensor holds them, in as many elements.
        """
        x = np.asarray(expected, float).ravel()
        y = (np.asarray(steps, float).ravel() - self._zero_point) * (self.scale or 1.0)
        error = y - x
        self._count += x.size
        self._signal += float(np.square(x).sum())
        self._noise += float(np.square(error).sum())
        self._absolute += float(np.abs(error).sum())
        self._sum += float(error.sum())
        self._largest = max(self._largest, float(np.abs(error).max(initial=0)))
        self._low = min(self._low, float(x.min(initial=0)), float(y.min(initial=0)))
        self._high = max(self._high, float(x.max(initial=0)), float(y.max(initial=0)))
        if self._ends is not None and self.scale is not None:
            # A ReLU's zeros are at the lower end too, and right there.
            exact = x / self.scale + self._zero_point
            raw = np.asarray(steps).ravel()
            above = (raw == self._ends.max) & (exact > self._ends.max + 0.5)
            below = (raw == self._ends.min) & (exact < self._ends.min - 0.5)
            self._beyond += int(np.count_nonzero(above | below))

    @property
    def sqnr(self) -> float:
        """Signal to noise in dB, within ±`LIMIT`; `LIMIT` without noise, whatever the signal."""
        if not self._noise:
            return LIMIT
        if not self._signal:
            return -LIMIT
        ratio = 10 * (math.log10(self._signal) - math.log10(self._noise))
        return min(max(ratio, -LIMIT), LIMIT)

    @property
    def relative_error(self) -> float:
        """Mean absolute error as a share of the range of all values and 0."""
        return self._mean(self._absolute) / (self._high - self._low or 1.0)

    @property
    def largest_steps(self) -> float | None:
        """The largest error in steps; None without a scale."""
        return None if self.scale is None else self._largest / self.scale

    @property
    def saturated(self) -> float:
        """Share of values at an end of the range that should lie beyond it."""
        return self._mean(self._beyond)

    @property
    def bias(self) -> float:
        """Mean error: of what the tensor holds, minus what it should."""
        return self._mean(self._sum)

    def _mean(self, total: float) -> float:
        return total / max(self._count, 1)
