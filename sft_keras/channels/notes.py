"""What the rules note about a network: whose filter each part of each variable is."""

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from sft_keras import flavors


class Role(enum.Enum):
    """What a slice of a variable is to the filter that it belongs to."""

    FILTER = "filter"
    """The filter's weights: ranked, zeroed and cut."""
    PARAMETER = "parameter"
    """A bias or a normalization's γ or β: zeroed and cut."""
    CUT = "cut"
    """What reads the filter, or its statistics: only cut."""


class Producer(NamedTuple):
    """A layer that owns filters, or one of several sets of them, as an attention's key_dim."""

    name: str
    layer: Any
    ids: np.ndarray


class Slices(NamedTuple):
    """One axis of one variable, and the filter that each of its positions belongs to."""

    layer: Any
    variable: Any
    axis: int
    ids: np.ndarray
    role: Role


class Width(NamedTuple):
    """A number in a layer's config that counts filters: `("filters",)`, `("target_shape", 2)`."""

    layer: Any
    path: tuple
    ids: np.ndarray


class Rewrite(NamedTuple):
    """Arguments of an operator's call that depend on which of `ids` stay, as a slice's bounds do.

    `change` takes a function from ids to a boolean array, true where they stay, and returns the
    new arguments by name, as in `flavors.arguments`.
    """

    call: flavors.Call
    ids: np.ndarray
    change: Callable


class Need(NamedTuple):
    """Filters of which one must stay, as of a slice: the name of what reads them, and their ids."""

    name: str
    ids: np.ndarray


class Fold(NamedTuple):
    """A bias that takes up the constants that pruned filters emit into a kernel's `axis`.

    `output_axes` are the kernel's axes that are the bias's too, in the bias's order. `place` is the
    index of the part of the bias that has them, if not all of it has.
    """

    kernel: Any
    bias: Any
    axis: int
    output_axes: tuple[int, ...]
    ids: np.ndarray
    dead: np.ndarray
    place: tuple = ()


class Scale(NamedTuple):
    """A variable to multiply by √(filters that stay / filters), as 1/√key_dim asks for."""

    variable: Any
    ids: np.ndarray
