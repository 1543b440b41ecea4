"""The equations of EinsumDense layers, axis by axis."""

import re
from typing import NamedTuple


class Equation(NamedTuple):
    """What each axis of input, kernel, output and bias of an EinsumDense stands for.

    Axes with one name go together. Elided axes (`...`) are named `.0`, `.1` and so on.

    Attributes:
        inputs: names of the input's axes, batch first.
        kernel: names of the kernel's axes.
        outputs: names of the output's axes, batch first.
        bias: names of the bias's axes, `1` where it is broadcast; empty without a bias.
    """

    inputs: tuple[str, ...]
    kernel: tuple[str, ...]
    outputs: tuple[str, ...]
    bias: tuple[str, ...]

    @property
    def is_per_sample(self) -> bool:
        """Whether the batch stays the first axis and no axis is named twice in one tensor."""
        once = all(len(set(names)) == len(names) for names in self[:3])
        return once and self.inputs[0] == self.outputs[0] and self.inputs[0] not in self.kernel

    @property
    def summed(self) -> tuple[str, ...]:
        """Axes of input and kernel that the output lacks."""
        return tuple(x for x in self.inputs if x in self.kernel and x not in self.outputs)

    @property
    def scaled(self) -> tuple[str, ...]:
        """Axes that input, kernel and output have."""
        return tuple(x for x in self.inputs if x in self.kernel and x in self.outputs)

    @property
    def bias_fits_kernel(self) -> bool:
        """Whether what a constant input adds to the output can be added to the bias."""
        lost = set(self.inputs) - set(self.outputs) - set(self.kernel)
        return not lost and set(self.bias) - {"1"} == set(self.kernel) & set(self.outputs)

    def place_in_output_shape(self, name: str) -> int:
        """The index of an axis in the layer's `output_shape`, without batch and axes elided."""
        axis = self.outputs.index(name)
        elided = sum(other.startswith(".") for other in self.outputs[:axis])
        return axis - max(elided, 1)


def parse(equation: str, bias_axes: str | None, rank: int) -> Equation:
    """Reads the equation of an EinsumDense.

    Args:
        equation: the layer's `equation`.
        bias_axes: the layer's `bias_axes`.
        rank: the number of axes of its input, batch included.

    Example:
        >>> parse("...x,xy->...y", "y", 3).outputs
        ('.0', '.1', 'y')
    """
    given, kernel, made = re.split(",|->", equation)
    elided = tuple(f".{i}" for i in range(rank - len(given.replace("...", ""))))
    inputs, outputs = _axes(given, elided), _axes(made, elided)
    bias: tuple[str, ...] = ()
    if bias_axes:
        first = min(outputs.index(letter) for letter in bias_axes)
        bias = tuple(name if name in bias_axes else "1" for name in outputs[first:])
    return Equation(inputs, tuple(kernel), outputs, bias)


def _axes(letters: str, elided: tuple[str, ...]) -> tuple[str, ...]:
    before, dots, after = letters.partition("...")
    return (*before, *(elided if dots else ()), *after)
