"""`LiteModel`: the bytes of a `.tflite` file and what a caller must know to feed them."""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sft_keras import writing
from sft_keras.errors import ArgumentError, DataError, FileError, UnsupportedError
from sft_keras.tflite import schema
from sft_keras.tflite.data import Slot

FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class TensorDetails:
    """An input or output of a `.tflite` file.

    Attributes:
        name: its name in the file's signature, which is the Keras layer's.
        shape: sizes of the axes, batch axis first, -1 where the size is only known at run time.
        dtype: `"int8"`, `"float32"`, …
        scale: real value of one step; None for a float tensor.
        zero_point: the integer that stands for 0.0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: float | None
    zero_point: int

    @property
    def sound(self) -> bool:
        """Whether its scale and its zero point are ones that a tensor can have."""
        if self.scale is None:
            return True
        limits = np.iinfo(self.dtype)
        span = self.scale * (int(limits.max) - int(limits.min))
        return 0 < span <= FLOAT32_MAX and limits.min <= self.zero_point <= limits.max

    def quantize(self, values: np.ndarray) -> np.ndarray:
        """Real values as this tensor stores them: rounded to steps, saturated at the dtype's ends.

        Args:
            values: real numbers, any shape.

        Returns:
            Array of the same shape in the tensor's dtype; a float tensor only changes the dtype.

        Raises:
            DataError: NaN or infinity among `values`.
        """
        values = np.asarray(values)
        if not np.isfinite(values).all():
            raise DataError(f"NaN or infinity in the data for input '{self.name}'; clean the data.")
        if self.scale is None:
            return values.astype(self.dtype)
        steps = values.astype(np.float64) / self.scale
        # Halves go away from zero, as in TFLite's QUANTIZE and C's roundf.
        rounded = np.copysign(np.floor(np.abs(steps) + 0.5), steps) + self.zero_point
        limits = np.iinfo(self.dtype)
        return np.clip(rounded, limits.min, limits.max).astype(self.dtype)

    def dequantize(self, steps: np.ndarray) -> np.ndarray:
        """What this tensor stores as float32 real values, same shape."""
        steps = np.asarray(steps)
        if self.scale is None:
            return steps.astype(np.float32)
        return ((steps.astype(np.float64) - self.zero_point) * self.scale).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class LiteModel:
    """A `.tflite` file in memory.

    Args:
        content: the file's bytes.
        name: what messages call it; the path it was loaded from.

    Raises:
        FileError: `content` is empty, truncated, corrupt or no `.tflite` file.

    Example:
        >>> lite = sft_keras.convert(qat)
        >>> lite.save("model.tflite")
        >>> sft_keras.LiteModel.load("model.tflite").inputs[0].shape
        (1, 8, 8, 1)
    """

    content: bytes
    name: str = dataclasses.field(default="the model", compare=False)

    def __post_init__(self):
        _ = self.file  # decodes, and so refuses what is damaged

    def __repr__(self) -> str:
        def listed(all_details):
            return ", ".join(f"{d.name} {d.dtype}{list(d.shape)}" for d in all_details)

        arrow = f"{listed(self.inputs)} -> {listed(self.outputs)}"
        return f"<LiteModel {arrow}, {self.size:,} bytes>"

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return len(self.content)

    @functools.cached_property
    def file(self) -> schema.File:
        """The decoded flatbuffer."""
        return schema.read(self.content, self.name)

    @functools.cached_property
    def inputs(self) -> tuple[TensorDetails, ...]:
        """The inputs, in the order the file has them.

        Raises:
            UnsupportedError: one is of a dtype that arrays lack, such as int4.
            FileError: the file is damaged: one has a scale that no tensor can have.
        """
        return self._details(self.file.subgraphs[0].inputs)

    @functools.cached_property
    def outputs(self) -> tuple[TensorDetails, ...]:
        """The outputs, in the order the file has them; raises as `inputs` does."""
        return self._details(self.file.subgraphs[0].outputs)

    def _details(self, tensors: Sequence[schema.Tensor]) -> tuple[TensorDetails, ...]:
        for tensor in tensors:
            if tensor.dtype not in schema.NUMPY_DTYPES:
                raise UnsupportedError(
                    f"'{tensor.name}' of {self.name} is {tensor.dtype}, which no array can hold; "
                    "convert with input_dtype='float32' and output_dtype='float32'."
                )
        found = tuple(map(_tensor_details, tensors))
        for details in found:
            if not details.sound:
                raise FileError(
                    f"'{details.name}' of {self.name} has scale {details.scale} and zero point "
                    f"{details.zero_point}, which {details.dtype} cannot have; convert it again."
                )
        return found

    def slots(self) -> list[Slot]:
        """The inputs as data has to fit them.

        Raises:
            UnsupportedError: the file's batch is not 1.
        """
        for details in self.inputs:
            if details.shape[:1] != (1,) or -1 in details.shape:
                raise UnsupportedError(
                    f"Input '{details.name}' of {self.name} has shape {list(details.shape)}; "
                    "convert with sft_keras.convert, which fixes the batch at 1."
                )
        return [Slot(details.name, details.shape[1:]) for details in self.inputs]

    def quantize_input(self, x: np.ndarray, index: int = 0) -> np.ndarray:
        """Real values as the file's input takes them.

        Args:
            x: real values, any shape.
            index: which input.

        Returns:
            Array of the same shape in the input's dtype.

        Raises:
            DataError: NaN or infinity in `x`.
        """
        return self.inputs[index].quantize(x)

    def dequantize_output(self, y: np.ndarray, index: int = 0) -> np.ndarray:
        """What the file puts out as float32 real values.

        Args:
            y: array of the output's dtype, any shape.
            index: which output.

        Returns:
            float32 array of the same shape.
        """
        return self.outputs[index].dequantize(y)

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Writes the file, wholly or not at all.

        Args:
            path: where to; its folder must exist.
            overwrite: whether an existing file may be replaced.

        Raises:
            FileError: `path` exists, or cannot be written.

        Example:
            >>> lite.save("model.tflite", overwrite=True)
        """
        writing.save(path, self.content, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "LiteModel":
        """Reads a `.tflite` file.

        Args:
            path: where it is.

        Returns:
            A `LiteModel`.

        Raises:
            FileError: there is no such file, or it is empty, truncated, corrupt or no `.tflite`.
        """
        try:
            content = Path(path).read_bytes()
        except (OSError, ValueError) as error:  # a path that no system takes is a ValueError
            reason = getattr(error, "strerror", None) or error
            raise FileError(
                f"'{path}' cannot be read ({reason}); give the path of a .tflite file."
            ) from error
        return cls(content, f"'{path}'")


def require_lite(value: Any, where: str) -> None:
    """Refuses what is no `LiteModel`: the path or the bytes of a file, a Keras model, …

    Args:
        value: what a caller gave for one.
        where: the function it was given to, or the argument.

    Raises:
        ArgumentError: says how to make one of it.
    """
    if not isinstance(value, LiteModel):
        kind = type(value).__name__
        raise ArgumentError(f"{where} takes a LiteModel, not {kind}; {_way_to_one(value)}.")


def require_named_lites(values: Any, where: str) -> None:
    """Refuses what is no dict of `LiteModel`s by name; an empty one passes.

    Raises:
        ArgumentError: says what to give.
    """
    if not isinstance(values, Mapping):
        raise ArgumentError(
            f"{where} takes files by name, not {type(values).__name__}; give a dict such as "
            '{"dense": lite, "pruned": other}.'
        )
    for name, value in values.items():
        require_lite(value, f"{where} with '{name}'")


def _way_to_one(value: Any) -> str:
    if isinstance(value, str | os.PathLike):
        return f"read the file with LiteModel.load({os.fspath(value)!r})"
    if isinstance(value, bytes | bytearray | memoryview):
        return "wrap the bytes of a file: LiteModel(content)"
    if hasattr(value, "get_config"):  # Keras is not loaded here to ask it
        return "convert the model first: sft_keras.convert(model)"
    return "make one with sft_keras.convert(model), or LiteModel.load(path)"


def _tensor_details(tensor: schema.Tensor) -> TensorDetails:
    quantized = tensor.scales.size == 1 and "int" in tensor.dtype
    return TensorDetails(
        name=tensor.name,
        shape=tensor.shape,
        dtype=tensor.dtype,
        scale=float(tensor.scales[0]) if quantized else None,
        zero_point=int(tensor.zero_points[0]) if quantized and tensor.zero_points.size else 0,
    )
