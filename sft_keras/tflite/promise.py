"""What a file is promised to be."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sft_keras.errors import UnsupportedError
from sft_keras.tflite import targets

INTEGERS = ("int32", "int64", "bool")
"""Dtypes of tokens, positions and masks, which are the same in every file."""
DTYPES = {
    "int8": ("int8", "uint8", "float32"),
    "int16x8": ("int16", "float32"),
    "dynamic": ("float32",),
    "float16": ("float32",),
    "float32": ("float32",),
}
"""What a file may compute in, each with what its inputs and outputs may be, the default first."""


@dataclasses.dataclass(frozen=True)
class Promise:
    """What a file was promised to be.

    Args:
        dtype: what it computes in, one of `DTYPES`.
        target: what runs it, one of `targets.names()`.
        input_dtype: of its inputs, but for those of integers such as tokens; by default that of
            the computation.
        output_dtype: of its outputs, likewise.
        chosen: names of tensors that are to have another dtype, each with that.
        calibrated: whether the file was quantized after training.
    """

    dtype: str = "int8"
    target: str = "tflm"
    input_dtype: str | None = None
    output_dtype: str | None = None
    chosen: Mapping[str, str] = dataclasses.field(default_factory=dict)
    calibrated: bool = False

    def __post_init__(self):
        _require_one_of("dtype", self.dtype, DTYPES)
        _require_one_of("target", self.target, targets.names())
        for key in ("input_dtype", "output_dtype"):
            given = getattr(self, key)
            if given is not None:
                _require_one_of(f"{key} of a file in {self.dtype}", given, DTYPES[self.dtype])

    @property
    def io(self) -> tuple[str, str]:
        """The dtypes of inputs and outputs."""
        default = DTYPES[self.dtype][0]
        return self.input_dtype or default, self.output_dtype or default


def _require_one_of(what: str, given: Any, known: Any) -> None:
    if not isinstance(given, str) or given not in known:
        raise UnsupportedError(f"{what} '{given}' is unknown; choose one of {', '.join(known)}.")
