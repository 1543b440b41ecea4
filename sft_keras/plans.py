"""Plans: which filters to prune, by layer name, apart from any model and as a file."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sft_keras import criteria, writing
from sft_keras.channels import ChannelGroups
from sft_keras.channels.mask import apply_mask, read_mask, require_filters_left
from sft_keras.errors import ArgumentError, FileError
from sft_keras.pruning.ratios import Ratio, check_width_multiple, group_ratios, select

VERSION = 1


class LayerPlan(NamedTuple):
    """What a plan prunes of one layer.

    Attributes:
        layer: its name; in a nested model `model/layer`, of one of several sets of filters
            `layer/set`, as the channel groups show it.
        prune: indices of its filters that go, and with them all filters that are tied to them.
        filters: how many filters the layer has before, where known.
        tied: names of the other layers in its channel group; for the reader alone.
    """

    layer: str
    prune: tuple[int, ...]
    filters: int | None = None
    tied: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Which filters to prune, by layer name; print it as a table.

    It holds no weights and knows no model: it replays on any model with layers of the same names
    and sizes. `Plan.of` makes one by hand.

    Attributes:
        layers: one `LayerPlan` a layer that the plan names.

    Example:
        >>> plan = sft_keras.plan(model, pruning_ratio=0.5, criterion="l1")
        >>> print(plan)
        pruned  filters  layers
             8       16  stem, block1_conv2
            16       32  block1_conv1
        24 filters pruned, in 2 layers
        >>> plan.save("plan.json")  # edit it, then
        >>> small = sft_keras.shrink(model, sft_keras.Plan.load("plan.json"))
    """

    layers: tuple[LayerPlan, ...] = ()

    @classmethod
    def of(cls, filters: Mapping[str, Iterable[int]]) -> "Plan":
        """A plan from layer names and the indices of the filters to prune.

        Raises:
            ArgumentError: an index is no whole number of 0 or more, or is there twice.

        Example:
            >>> sft_keras.Plan.of({"stem": [0, 3], "block1_conv1": range(16)})
        """
        rows = {name: {"prune": _as_list(indices)} for name, indices in filters.items()}
        return cls.from_dict({"version": VERSION, "layers": rows})

    def to_dict(self) -> dict:
        """The plan as plain data, as `save` writes it."""
        return {"version": VERSION, "layers": {row.layer: _row_to_dict(row) for row in self.layers}}

    @classmethod
    def from_dict(cls, data: Any) -> "Plan":
        """The inverse of `to_dict`; `filters` and `tied` of a layer may be missing.

        Raises:
            ArgumentError: says what in `data` is not as `to_dict` has it.
        """
        if not isinstance(data, dict) or not isinstance(data.get("layers"), dict):
            raise ArgumentError("A plan needs 'version' and 'layers'; see Plan.to_dict().")
        if data.get("version") != VERSION:
            raise ArgumentError(
                f"A plan of version {data.get('version')!r} is not known; make it anew with "
                f"sft_keras.plan(model), which writes version {VERSION}."
            )
        return cls(tuple(_row_from_dict(name, row) for name, row in data["layers"].items()))

    def save(self, path: str | os.PathLike, overwrite: bool = False) -> None:
        """Writes the plan as JSON, one line a layer, wholly or not at all.

        Args:
            path: the file's name.
            overwrite: whether an existing file may be replaced.

        Raises:
            FileError: the file exists, or cannot be written.
        """
        writing.save(path, _to_json(self).encode(), overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Plan":
        """Reads a plan that `save` wrote or a person edited.

        Raises:
            FileError: there is no such file, or it is no whole plan; says what is wrong in it.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise FileError(f"'{path}' is no text; give the path of a plan.") from error
        except (OSError, ValueError) as error:  # a path that no system takes is a ValueError
            reason = getattr(error, "strerror", None) or error
            raise FileError(
                f"'{path}' cannot be read ({reason}); give the path of a plan."
            ) from error
        try:
            return cls.from_dict(json.loads(text, object_pairs_hook=_unique_keys))
        except ArgumentError as error:
            raise FileError(f"'{path}' is no plan: {error}") from error
        except (ValueError, RecursionError) as error:  # Python reads no number of 5,000 digits
            raise FileError(
                f"'{path}' is not whole JSON ({error}); mend or save it anew."
            ) from error

    def __str__(self) -> str:
        lines = [f"{'pruned':>6}  {'filters':>7}  layers"]
        for row in self.layers:
            filters = "?" if row.filters is None else row.filters
            lines.append(f"{len(row.prune):>6}  {filters:>7}  {', '.join([row.layer, *row.tied])}")
        total = sum(len(row.prune) for row in self.layers)
        lines.append(f"{total} filters pruned, in {len(self.layers)} layers")
        return "\n".join(lines)


def plan(
    model: Any,
    pruning_ratio: Ratio = 0.5,
    criterion: str | criteria.Criterion = "contribution",
    exclude: Sequence[str] = (),
    width_multiple: int = 1,
    seed: int = 0,
) -> Plan:
    """Chooses the weakest filters of a model as it is now, in one shot and without training.

    Args:
        model: a built model of Keras 3 or tf_keras; it is not changed.
        pruning_ratio: share of each layer's filters to prune, in [0, 1); or a mapping from layer
            names or patterns to such numbers, as `SoftFilterPrune` takes it.
        criterion: the name of one of `sft_keras.criteria`, or a function of `criteria.Filters`.
        exclude: names or patterns of layers to leave alone.
        width_multiple: the filters that stay are rounded up to a multiple of this (4, 8, 16).
        seed: for criteria that draw random numbers.

    Returns:
        A `Plan` for `sft_keras.mask` and `sft_keras.shrink`.

    Raises:
        ArgumentError: an argument is out of range or names no layer.
        UnsupportedError: the model cannot be read, or has no filter that can be pruned.

    Example:
        >>> plan = sft_keras.plan(model, pruning_ratio=0.5, criterion="l1")
        >>> small = sft_keras.shrink(model, plan)
    """
    check_width_multiple(width_multiple)
    score = criteria.get(criterion)
    groups = ChannelGroups(model)
    ratios = group_ratios(groups, pruning_ratio, exclude)
    scores = criteria.scores(groups, score, np.random.default_rng(seed))
    return plan_of_mask(groups, select(groups, scores, ratios, width_multiple))


def plan_from_masks(model: Any) -> Plan:
    """Reads the plan that a model's zeros spell, as `SoftFilterPrune` leaves them.

    Args:
        model: a built model of Keras 3 or tf_keras.

    Returns:
        The `Plan` that `sft_keras.shrink(model)` would cut by.

    Raises:
        UnsupportedError: the model cannot be read.

    Example:
        >>> model.fit(train, epochs=30, callbacks=[sft_keras.SoftFilterPrune()])
        >>> sft_keras.plan_from_masks(model).save("plan.json")
    """
    groups = ChannelGroups(model)
    return plan_of_mask(groups, read_mask(groups))


def mask(model: Any, plan: Plan) -> None:
    """Zeroes, in place, exactly the filters that `sft_keras.shrink(model, plan)` cuts.

    Args:
        model: a built model of Keras 3 or tf_keras.
        plan: which filters.

    Raises:
        ArgumentError: the plan does not fit the model.
        ShrinkError: a layer would be left empty.
        UnsupportedError: the model cannot be read.

    Example:
        >>> sft_keras.mask(model, sft_keras.plan(model, pruning_ratio=0.3))
        >>> model.evaluate(val)  # what the shrunk model would reach
    """
    groups = ChannelGroups(model)
    apply_mask(groups, mask_of_plan(groups, plan))


def plan_of_mask(groups: ChannelGroups, pruned: np.ndarray) -> Plan:
    """The plan that prunes what a boolean array (classes,) marks."""
    layers_of = {int(number): group.layers for group in groups for number in group.classes}
    listed = np.zeros(groups.count, bool)
    rows = []
    for name, classes in groups.producers:
        here = np.flatnonzero(pruned[classes] & ~listed[classes])
        listed[classes] = True
        if here.size:
            tied = tuple(other for other in layers_of[int(classes[0])] if other != name)
            rows.append(LayerPlan(name, tuple(here.tolist()), len(classes), tied))
    return Plan(tuple(rows))


def mask_of_plan(groups: ChannelGroups, plan: Plan) -> np.ndarray:
    """The boolean array (classes,), true where `plan` prunes.

    Raises:
        ArgumentError: the plan names a layer or filter that there is not, or one that is frozen.
        ShrinkError: a layer would be left empty.
    """
    if not isinstance(plan, Plan):
        raise ArgumentError(
            f"Expected a Plan, got {type(plan).__name__}; make one with sft_keras.plan(model), "
            "Plan.of or Plan.load."
        )
    producers = dict(groups.producers)
    pruned = np.zeros(groups.count, bool)
    for row in plan.layers:
        if row.layer not in producers:
            raise ArgumentError(
                f"The plan names layer '{row.layer}', but the layers with filters of model "
                f"'{groups.model.name}' are: {', '.join(producers) or 'none'}."
            )
        pruned[_classes_to_prune(groups, row, producers[row.layer])] = True
    require_filters_left(groups, pruned)
    return pruned


def _classes_to_prune(groups: ChannelGroups, row: LayerPlan, classes: np.ndarray) -> np.ndarray:
    if row.filters not in (None, len(classes)):
        raise ArgumentError(
            f"The plan is for a layer '{row.layer}' of {row.filters} filters, but this model's has "
            f"{len(classes)}; make the plan anew for this model."
        )
    for index in row.prune:
        if index >= len(classes):
            raise ArgumentError(
                f"The plan prunes filter {index} of layer '{row.layer}', which has only "
                f"{len(classes)}, from 0; take it out of the plan."
            )
        if not groups.prunable[classes[index]]:
            raise ArgumentError(
                f"Filter {index} of layer '{row.layer}' cannot be pruned: it "
                f"{groups.reasons[int(classes[index])]}; take it out of the plan."
            )
    return classes[list(row.prune)]


def _as_list(indices: Any) -> list:
    """Indices as a list of what they are, NumPy integers as Python's."""
    return np.asarray(indices).tolist() if hasattr(indices, "dtype") else [*indices]


def _row_to_dict(row: LayerPlan) -> dict:
    known = {} if row.filters is None else {"filters": row.filters}
    return {"prune": list(row.prune), **known, "tied": list(row.tied)}


def _row_from_dict(name: str, row: Any) -> LayerPlan:
    where = f"Layer '{name}' of the plan"
    if not isinstance(row, dict) or not isinstance(row.get("prune"), list):
        raise ArgumentError(f"{where} needs 'prune', a list of the indices of its filters.")
    if unknown := set(row) - {"prune", "filters", "tied"}:
        raise ArgumentError(f"{where} has an unknown entry '{min(unknown)}'; take it out.")
    prune, filters, tied = row["prune"], row.get("filters"), row.get("tied", [])
    for index in prune:
        if not _is_count(index):
            raise ArgumentError(f"{where} prunes filter {index!r}; take whole numbers from 0.")
    counts: Counter = Counter(prune)
    twice = [index for index, count in counts.items() if count > 1]
    if twice:
        raise ArgumentError(f"{where} prunes filter {twice[0]} twice; name it once.")
    if not (filters is None or _is_count(filters)):
        raise ArgumentError(
            f"{where} has {filters!r} filters; take a whole number or leave it out."
        )
    if not (isinstance(tied, list) and all(isinstance(other, str) for other in tied)):
        raise ArgumentError(f"{where} has a 'tied' that is no list of names; leave it out.")
    return LayerPlan(name, tuple(sorted(map(int, prune))), filters, tuple(tied))


def _is_count(value: Any) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return bool(whole and value >= 0)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict:
    data = dict(pairs)
    if len(data) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ArgumentError(f"'{twice}' is there twice; join the two.")
    return data


def _to_json(plan: Plan) -> str:
    """JSON with one line a layer, which a person can edit."""
    rows = ",\n".join(
        f"    {json.dumps(row.layer, ensure_ascii=False)}: "
        f"{json.dumps(_row_to_dict(row), ensure_ascii=False)}"
        for row in plan.layers
    )
    return f'{{\n  "version": {VERSION},\n  "layers": {{\n{rows}\n  }}\n}}\n'
