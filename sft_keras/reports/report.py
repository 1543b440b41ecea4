"""`report`: the public function, and what it returns."""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sft_keras import flavors, writing
from sft_keras.errors import ArgumentError, DataError, FileError
from sft_keras.reports import plot, table
from sft_keras.reports.measure import Row, measure
from sft_keras.tflite import LiteModel

FILES = ("report.txt", "report.md", "report.json", "report.png")


@dataclasses.dataclass(frozen=True)
class Report:
    """What models cost and are worth; print it as a table.

    Attributes:
        rows: one `Row` a model.
        filters: number of filters by layer, in the first and in the last Keras model.
        history: what the epochs of pruning logged, by name, one number an epoch.
    """

    rows: tuple[Row, ...]
    filters: dict[str, tuple[int, int]]
    history: dict[str, list[float]]

    def __getitem__(self, name: str) -> Row:
        """The row of the model with this name."""
        return next(row for row in self.rows if row.name == name)

    def __str__(self) -> str:
        return table.text(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain types, for JSON."""
        return {
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "filters": {name: list(pair) for name, pair in self.filters.items()},
            "history": {name: list(map(float, values)) for name, values in self.history.items()},
        }

    def save(self, folder: str | os.PathLike, overwrite: bool = False) -> None:
        """Writes `report.txt`, `report.md`, `report.json` and `report.png`, each wholly or not.

        There is no picture of `.tflite` files alone, without a history.

        Args:
            folder: an existing folder.
            overwrite: whether existing files of these names may be replaced.

        Raises:
            FileError: a file exists, or the folder cannot be written.
        """
        targets = [Path(folder, name) for name in FILES]
        existing = [str(target) for target in targets if target.exists()]
        if existing and not overwrite:
            raise FileError(f"'{existing[0]}' exists; pass overwrite=True or another folder.")
        texts = (
            str(self),
            table.markdown(self.rows),
            json.dumps(self.to_dict(), indent=2),
        )
        contents = [f"{text}\n".encode() for text in texts]
        if self.filters or self.history:
            contents.append(plot.draw(self))
        for target, content in zip(targets, contents, strict=False):
            writing.save(target, content, overwrite=True)


def report(
    models: Mapping[str, Any], data: Any, *, history: Mapping[str, list[float]] | None = None
) -> Report:
    """Measures the stages of a compression side by side.

    A Keras model is converted to a float32 `.tflite` file for its size, its latency on LiteRT and
    its TFLite Micro arena. A `.tflite` file has its parameters and multiply-accumulates counted in
    the file.

    Args:
        models: by name, built models of Keras 3 or tf_keras, or `LiteModel`s; the first one is
            what the others are compared with.
        data: held-out data, whatever `evaluate` takes; arrays as a tuple `(x, y)`.
        history: `fit(...).history` of a training with `SoftFilterPrune`.

    Returns:
        A `Report`: print it, or `save` it as text, Markdown, JSON and a picture.

    Raises:
        ArgumentError: what is to be measured is no model, or has no name.
        DataError: no models, or `data` does not fit them.
        UnsupportedError: a model cannot be converted.

    Example:
        >>> models = {"float": model, "shrunk": small, "int8": lite}
        >>> report = sft_keras.report(models, val, history=history.history)
        >>> print(report)
        >>> report.save("out")
    """
    _require_models(models)
    if not models:
        raise DataError("There is nothing to report on; give at least one model.")
    return Report(tuple(measure(models, data)), _filters(models), dict(history or {}))


def _require_models(models: Any) -> None:
    if not isinstance(models, Mapping):
        raise ArgumentError(
            f"report() takes models by name, not {type(models).__name__}; give a dict such as "
            '{"float": model, "int8": lite}.'
        )
    for name, model in models.items():
        if not isinstance(model, LiteModel) and not flavors.is_model(model):
            raise ArgumentError(
                f"report() with '{name}' takes a Keras model or a LiteModel, not "
                f"{type(model).__name__}; load it with keras.saving.load_model(path) or "
                "LiteModel.load(path)."
            )


def _filters(models: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    counts = [_filter_counts(m) for m in models.values() if not isinstance(m, LiteModel)]
    if not counts:
        return {}
    before, after = counts[0], counts[-1]
    return {name: (count, after[name]) for name, count in before.items() if name in after}


def _filter_counts(model: Any) -> dict[str, int]:
    configs = {layer.name: layer.get_config() for layer in model.layers}
    counts = {name: config.get("filters", config.get("units")) for name, config in configs.items()}
    return {name: count for name, count in counts.items() if count}
