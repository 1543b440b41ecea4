"""How many of the values that were fed to a file lie outside of what its inputs can hold."""

import dataclasses

import numpy as np

from sft_keras.tflite.lite_model import TensorDetails

CONSIDERABLE = 0.01  # a few outliers are always clipped, and should be


@dataclasses.dataclass(frozen=True)
class Clipped:
    """Values of one input that its scale cannot express.

    Attributes:
        name: the input's.
        low: the least value that it can hold.
        high: the greatest.
        share: of the values that lie beyond these by half a step or more, 0 to 1.
    """

    name: str = dataclasses.field(compare=False)  # Keras counts layers up
    low: float
    high: float
    share: float

    @property
    def is_considerable(self) -> bool:
        """Whether so many are clipped that the data may be in another unit."""
        return self.share >= CONSIDERABLE

    def __str__(self) -> str:
        return (
            f"{self.share:.0%}".replace("%", " %")
            + f" of the values for input '{self.name}' lie outside {self.low:.4g}..{self.high:.4g},"
            " which the file can hold, and were clipped"
        )


class Clipping:
    """Counts, batch by batch, what is clipped of one input.

    Args:
        details: the input, with a scale.
        scale: that scale.

    Example:
        >>> clipping = Clipping(lite.inputs[0], lite.inputs[0].scale)
        >>> clipping.add(pixels)
        >>> print(clipping.result)
        99 % of the values for input 'image' lie outside 0..1, which the file can hold, and …
    """

    def __init__(self, details: TensorDetails, scale: float):
        limits = np.iinfo(details.dtype)
        self._low, self._high = details.dequantize(np.array([limits.min, limits.max])).tolist()
        self._name, self._half = details.name, scale / 2
        self._count = self._beyond = 0

    def add(self, values: np.ndarray) -> None:
        """Takes some real values in."""
        outside = (values < self._low - self._half) | (values > self._high + self._half)
        self._count += outside.size
        self._beyond += int(np.count_nonzero(outside))

    @property
    def result(self) -> Clipped:
        """Of all values so far."""
        return Clipped(self._name, self._low, self._high, self._beyond / max(self._count, 1))
