"""Functions that LiteRT's kernels for int16 read from a table, and how far off that is.

The table has 513 entries over the whole range of the input, and what lies between two of them is on
a straight line: a function that bends within one step, as a logarithm does close to zero, is lost.
LOGISTIC, TANH and SOFTMAX have tables of their own, over a range in which they are exact.
"""

import math
from collections.abc import Callable

import numpy as np

from sft_keras.tflite import constants, schema

STEP = 128  # numbers from one entry to the next
LOWEST, HIGHEST = -(2**15), 2**15 - 1
FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "EXP": np.exp,
    "GELU": lambda x: x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "LOG": np.log,
    "RSQRT": lambda x: 1 / np.sqrt(x),
}
OUTSIDE = {"LOG": LOWEST, "RSQRT": HIGHEST}  # entries where the function has no number
POSITIVE = {"EXP", "SOFTMAX", "LOGISTIC", "RELU", "RELU6", "ABS", "SQUARE", "SQUARED_DIFFERENCE"}
DEPTH = 8  # mean(x * x) + 1e-6 is four
KEEPING = {"MEAN", "SUM", "QUANTIZE", "RESHAPE", "TRANSPOSE"}
"""What gives nothing below the least of what it reads, where that is no less than zero."""


def worst_error(operator: schema.Operator, made: constants.Made) -> float:
    """How far a table is off at most, where its input may be and its output has a range.

    Args:
        operator: one of `FUNCTIONS`, in int16.
        made: of `constants.made_by`.

    Returns:
        A share of the largest number that the output can hold.
    """
    source, result = operator.inputs[0], operator.outputs[0]
    function = _between_steps(operator.name, float(source.scales[0]), float(result.scales[0]))
    read = np.arange(LOWEST, HIGHEST + 1)
    with np.errstate(all="ignore"):
        exact = function(read)
        looked_up = _looked_up(read, function)
        possible = read >= np.floor(least(source, made) / float(source.scales[0]))
    possible &= (exact > LOWEST) & (exact < HIGHEST)
    return float(np.abs(looked_up - exact)[possible].max(initial=0)) / HIGHEST


def least(tensor: schema.Tensor, made: constants.Made, depth: int = DEPTH) -> float:
    """A number that nothing in a tensor is below, by what computes it.

    Args:
        tensor: of a file.
        made: as in `worst_error`.
        depth: how many operators to look back.

    Returns:
        The number; minus infinity where that is not known.
    """
    numbers, operator = constants.values(tensor), made.get(tensor)
    if numbers is not None:
        return float(numbers.min())
    if operator is None or not depth:
        return -math.inf
    if operator.name in POSITIVE or (operator.name == "MUL" and len({*operator.inputs}) == 1):
        return 0.0
    if operator.name == "ADD":
        return sum(least(summand, made, depth - 1) for summand in operator.inputs)
    if operator.name in KEEPING and operator.inputs:
        below = least(operator.inputs[0], made, depth - 1)
        return below if below >= 0 else -math.inf
    return -math.inf


def _between_steps(name: str, step: float, output_step: float) -> Callable:
    """A function from the input's numbers to the output's, before they are rounded."""

    def function(number: np.ndarray) -> np.ndarray:
        result = FUNCTIONS[name](number * step) / output_step
        return np.where(number > 0, result, OUTSIDE[name]) if name in OUTSIDE else result

    return function


def _looked_up(read: np.ndarray, function: Callable) -> np.ndarray:
    """What the kernel makes of numbers."""
    at = np.linspace(LOWEST, HIGHEST, (HIGHEST + 1 - LOWEST) // STEP + 1)
    entries = function(at)
    # Each entry is moved so that the middle of its line is half as far off as it would be.
    entries[:-1] -= ((entries[:-1] + entries[1:]) / 2 - function((at[:-1] + at[1:]) / 2)) / 2
    entries = np.rint(np.clip(entries, LOWEST, HIGHEST)).astype(np.int64)
    slopes = np.diff(entries).astype(np.int16)  # a steep one wraps around, as in the kernel
    index, rest = np.divmod(read - LOWEST, STEP)
    return (entries[index] + np.rint(slopes[index] * (rest / STEP)).astype(np.int64)).astype(
        np.int16
    )
