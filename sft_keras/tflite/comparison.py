"""`compare_layers`: how far each layer of a `.tflite` file is from the Keras model."""

import dataclasses
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from sft_keras.errors import UnsupportedError
from sft_keras.tables import aligned
from sft_keras.tflite import child, comparison_plot
from sft_keras.tflite.data import batches
from sft_keras.tflite.deviation import Deviation
from sft_keras.tflite.layer_outputs import LayerOutput, LayerOutputs
from sft_keras.tflite.lite_model import LiteModel, require_lite
from sft_keras.tflite.matching import Matching, match, paired
from sft_keras.tflite.reference import is_sound
from sft_keras.tflite.schema import Tensor

AT_ONCE = 8  # samples; all the activations of a large network for more would not fit in memory
HEAD = ("layer", "shape", "scale", "SQNR dB", "mean error", "max steps", "saturated", "bias")


@dataclasses.dataclass(frozen=True)
class Row:
    """How far one layer's output in the file is from the Keras model's.

    Attributes:
        layer: its name; `block/conv` inside model `block`, `conv (2)` for a second call.
        position: its place in the order of the graph, from 0, among all layers.
        tensor: the converter's name for the tensor, which holds the names of what it merged.
        shape: of the tensor, batch axis first.
        scale: real value of one step; None where the tensor is not quantized.
        sqnr: signal to quantization noise, 10 log10(Σ x² / Σ (x - y)²), in dB, from -144 to 144.
        error: mean absolute error, as a share of the range that the values span with 0.
        largest_steps: the largest error in steps of the tensor; None where it has no scale.
        saturated: share of values at an end of the tensor's range that the model has beyond it.
        bias: mean of file minus model, in real values.
    """

    layer: str
    position: int
    tensor: str
    shape: tuple[int, ...]
    scale: float | None
    sqnr: float
    error: float
    largest_steps: float | None
    saturated: float
    bias: float


@dataclasses.dataclass(frozen=True)
class Fused:
    """A layer that the file has no tensor for.

    Attributes:
        layer: its name.
        reason: which layer's tensor took it up, or what else there is to say.
    """

    layer: str
    reason: str


@dataclasses.dataclass(frozen=True)
class LayerComparison:
    """Result of `compare_layers`; `print` shows it as a table.

    Attributes:
        rows: layers with a tensor of their own, the worst first.
        fused: all the other layers, in the order of the graph.
        samples: how many samples were run.
    """

    rows: tuple[Row, ...]
    fused: tuple[Fused, ...]
    samples: int

    def __getitem__(self, layer: str) -> Row:
        """The row of the layer with this name."""
        return {row.layer: row for row in self.rows}[layer]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain types, for JSON."""
        return {
            "samples": self.samples,
            "rows": [{**dataclasses.asdict(row), "shape": list(row.shape)} for row in self.rows],
            "fused": [dataclasses.asdict(layer) for layer in self.fused],
        }

    def plot(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Draws each layer's SQNR, in the order of the graph.

        Args:
            path: the `.png` file to write; its folder must exist.
            overwrite: whether an existing file may be replaced.

        Raises:
            FileError: `path` exists, or cannot be written.

        Example:
            >>> comparison.plot("layers.png")
        """
        comparison_plot.save(self, path, overwrite)

    def __str__(self) -> str:
        lines = aligned([HEAD, *map(_cells, self.rows)])
        lines += [f"{layer.layer}: {layer.reason}" for layer in self.fused]
        note = f"{self.samples} samples; {len(self.rows)} layers compared, {len(self.fused)} not"
        return "\n".join([*lines, note])


def compare_layers(
    model: Any, lite: LiteModel, data: Any, limit: int | None = 32, timeout: float = 600
) -> LayerComparison:
    """Finds the layers where a `.tflite` file loses most.

    The file runs on LiteRT's reference kernels, in a child process, with every tensor kept, or on
    its optimized ones where it has an operator that reference kernels compute wrongly, such as SUM
    in int8; the Keras model runs beside it on the same samples. Errors are those of the whole way
    from the input, so a layer also shows what the layers before it did: look for the first that
    drops.

    Tensors are found by the layers' names in them and must have the layers' shapes. A convolution
    merged with BatchNormalization and ReLU leaves one tensor, that of the last of them; the others
    are listed as fused, as is what the file's names do not tell for certain.

    Args:
        model: the built Sequential or Functional model, of Keras 3 or tf_keras, that was converted
            or quantized; or what `quantize` returned. Compare a file with the trained model that
            `quantize` returned to see conversion alone, and with the float model to see rounding
            and training together.
        lite: the file, with batch 1; int8 or float32.
        data: whatever `verify` takes; labels are not used.
        limit: samples to use; None takes all.
        timeout: seconds after which the file's run is stopped.

    Returns:
        A `LayerComparison`: print it, or `plot` it.

    Raises:
        ArgumentError: `lite` is no `LiteModel`.
        DataError: `data` does not fit the file.
        UnsupportedError: the model's graph cannot be read, its inputs are not the file's, the
            file's batch is not 1, or LiteRT cannot run it.

    Example:
        >>> print(sft_keras.compare_layers(model, lite, x_val))
        layer   shape            scale     SQNR dB  mean error  max steps  saturated  bias
        pool    [1, 6]           0.002513  28.9     0.93 %      3.8        0.00 %     0.000691
        ...
    """
    require_lite(lite, "compare_layers()")
    outputs = LayerOutputs(model)
    order = _input_order(outputs, lite)
    inputs = _collect(lite, data, limit)
    matching = match(lite, outputs)
    with tempfile.TemporaryDirectory(prefix="sft_keras_") as temporary:
        folder = Path(temporary)
        _run(lite, inputs, matching, folder, timeout)
        deviations = _deviations(outputs, matching, [inputs[i] for i in order], folder)
    places = {output: position for position, output in enumerate(outputs.all)}
    rows = [_row(x, places[x], matching.tensors[x], found) for x, found in deviations.items()]
    fused = tuple(Fused(output.name, reason) for output, reason in matching.fused.items())
    return LayerComparison(tuple(sorted(rows, key=lambda r: r.sqnr)), fused, len(inputs[0]))


def _input_order(outputs: LayerOutputs, lite: LiteModel) -> list[int]:
    """For each input of the model, its place among the file's."""
    pairs = paired(lite.file.subgraphs[0].inputs, outputs.inputs)
    if pairs is None:
        raise UnsupportedError(
            f"Model '{outputs.model.name}' takes {_listed(outputs.inputs)} and {lite.name} "
            f"{_listed(lite.inputs)}; give the model that was converted."
        )
    return [pairs.index(x) for x in outputs.inputs]


def _listed(inputs: Sequence[Any]) -> str:
    # The file's shapes have a batch axis, which is 1; the model's have none.
    return ", ".join(f"'{x.name}' {list(x.shape)}" for x in inputs)


def _collect(lite: LiteModel, data: Any, limit: int | None) -> list[np.ndarray]:
    """The samples, as real values, one array an input of the file."""
    parts = [batch.inputs for batch in batches(data, lite.slots(), limit)]
    return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]


def _run(
    lite: LiteModel, inputs: list[np.ndarray], matching: Matching, folder: Path, timeout: float
) -> None:
    """Leaves in `folder` what the matched tensors hold."""
    (folder / "model.tflite").write_bytes(lite.content)
    steps = [details.quantize(x) for details, x in zip(lite.inputs, inputs, strict=True)]
    np.savez(folder / "inputs.npz", *steps)
    logging.info("Running %d samples with %d tensors kept.", len(inputs[0]), len(matching.tensors))
    indices = {str(tensor.index) for tensor in matching.tensors.values()}
    kernels = "reference" if is_sound("litert-ref", lite.file) else "optimized"
    try:
        child.run("sft_keras.tflite.comparison_process", [folder, kernels, *indices], timeout)
    except child.ChildError as error:
        raise UnsupportedError(
            f"LiteRT's {kernels} kernels cannot run {lite.name}: {error}; verify() tells which "
            "runtimes can."
        ) from error


def _deviations(
    outputs: LayerOutputs, matching: Matching, inputs: list[np.ndarray], folder: Path
) -> dict[LayerOutput, Deviation]:
    """Compares what the model gives with what lies in `folder`, some samples at a time."""
    held = {
        output: np.load(folder / f"{tensor.index}.npy", mmap_mode="r")
        for output, tensor in matching.tensors.items()
    }
    found = {output: Deviation(tensor) for output, tensor in matching.tensors.items()}
    for part in _parts(len(inputs[0])):
        values = outputs.values([array[part] for array in inputs])
        for output, expected in zip(outputs.all, values, strict=True):
            if output in found:
                found[output].add(expected, held[output][part])
    return found


def _parts(samples: int) -> Iterator[slice]:
    return (slice(start, start + AT_ONCE) for start in range(0, samples, AT_ONCE))


def _row(output: LayerOutput, position: int, tensor: Tensor, found: Deviation) -> Row:
    return Row(
        output.name,
        position,
        tensor.name,
        tensor.shape,
        found.scale,
        found.sqnr,
        found.relative_error,
        found.largest_steps,
        found.saturated,
        found.bias,
    )


def _cells(row: Row) -> tuple[str, ...]:
    def share(value: float) -> str:
        return f"{100 * value:.2f} %"

    return (
        row.layer,
        str(list(row.shape)),
        "n/a" if row.scale is None else f"{row.scale:.4g}",
        f"{row.sqnr:.1f}",
        share(row.error),
        "n/a" if row.largest_steps is None else f"{row.largest_steps:.1f}",
        share(row.saturated),
        f"{row.bias:.3g}",
    )
