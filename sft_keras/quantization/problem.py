"""What stands between a model and int8, in words a person can act on."""

import dataclasses

from sft_keras.errors import UnsupportedError


@dataclasses.dataclass(frozen=True)
class Problem:
    """One reason why a model cannot be quantized.

    Args:
        layer: name of the layer, operator or compile setting.
        reason: what is wrong with it.
        way_out: what to change.
    """

    layer: str
    reason: str
    way_out: str

    def __str__(self) -> str:
        return f"'{self.layer}' {self.reason}; {self.way_out}."


class Unportable(Exception):
    """Raised where one layer, operator or compile setting has no counterpart in tf_keras."""

    def __init__(self, reason: str, way_out: str):
        super().__init__(reason)
        self.reason = reason
        self.way_out = way_out


def require_none(problems: list[Problem], name: str) -> None:
    """Refuses a model that has problems, all of them at once.

    Raises:
        UnsupportedError: there is at least one problem; one line each.
    """
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise UnsupportedError(f"Model '{name}' cannot be quantized to int8:\n{lines}")
