"""Channel groups: which filters of a network live or die together."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.channels import rules as _rules  # noqa: F401  (registers the rules)
from sft_keras.channels.components import components
from sft_keras.channels.notes import Slices
from sft_keras.channels.tensor import FIXED
from sft_keras.channels.trace import Trace, trace


@dataclass(frozen=True)
class ChannelGroup:
    """Layers whose filters live or die together.

    Attributes:
        filters: how many filters can be pruned independently of each other.
        layers: names of the layers that produce them, in graph order.
        prunable: whether they may be pruned.
        reason: why not, or an empty string.
        classes: integer array (filters,), the group's numbers among all the model's filters.
    """

    filters: int
    layers: tuple[str, ...]
    prunable: bool
    reason: str
    classes: np.ndarray


class ChannelGroups:
    """All channel groups of a model; iterate over it, or print it as a table.

    A *class* is a set of channels that are pruned together; masks are boolean arrays (classes,),
    true where pruned. `model` is the graph of the model: itself, unless it is subclassed.
    """

    def __init__(self, model: Any):
        self.model = flavors.as_graph(model)
        self.trace: Trace = trace(self.model)
        self.classes = self.trace.components()

    @cached_property
    def reasons(self) -> dict[int, str]:
        """The first reason why a class is frozen, by class."""
        found: dict[int, str] = {}
        for ids, reason in self.trace.frozen:
            for number in np.unique(self.classes[ids]):
                found.setdefault(int(number), reason)
        return found

    @property
    def count(self) -> int:
        """Number of classes."""
        return int(self.classes.max()) + 1 if self.classes.size else 0

    @cached_property
    def prunable(self) -> np.ndarray:
        """Boolean array (classes,): which may be pruned."""
        allowed = np.ones(self.count, bool)
        allowed[list(self.reasons)] = False
        return allowed

    @cached_property
    def producers(self) -> list[tuple[str, np.ndarray]]:
        """Names of the layers that own filters, with the class of each of their filters."""
        return [(p.name, self.classes[p.ids]) for p in self.trace.producers.values()]

    @cached_property
    def never_empty(self) -> list[tuple[str, np.ndarray]]:
        """Sets of classes of which one must stay: a layer's filters, the channels of a slice."""
        needs = ((need.name, self.classes[need.ids]) for need in self.trace.needs)
        return [*self.producers, *needs]

    def classes_of(self, ids: np.ndarray) -> np.ndarray:
        """The class of each id, `FIXED` where it is no filter."""
        return np.append(self.classes, FIXED)[ids]  # FIXED, -1, looks up the last

    def channels_of(self, variable: Any) -> np.ndarray:
        """The class of each position of a one-dimensional variable."""
        return self.classes_of(self._slices_by_variable[id(variable)].ids)

    @cached_property
    def _slices_by_variable(self) -> dict[int, Slices]:
        return {id(s.variable): s for s in self.trace.slices}

    @cached_property
    def groups(self) -> list[ChannelGroup]:
        """The groups, in graph order."""
        members_of: dict[int, list] = {}
        for producer, label in zip(self.producers, self._connected_producers(), strict=True):
            members_of.setdefault(label, []).append(producer)
        found = []
        for members in members_of.values():
            names = tuple(name for name, _ in members)
            classes = np.unique(np.concatenate([c for _, c in members]))
            by_reason: dict[str, list[int]] = {}
            for c in classes:
                by_reason.setdefault(self.reasons.get(int(c), ""), []).append(int(c))
            found += [
                ChannelGroup(len(cs), names, not reason, reason, np.array(cs))
                for reason, cs in by_reason.items()
            ]
        return found

    def _connected_producers(self) -> list[int]:
        if not self.producers:
            return []
        rows = [np.full(len(classes), i) for i, (_, classes) in enumerate(self.producers)]
        cols = np.concatenate([classes for _, classes in self.producers]) + len(rows)
        found = components(np.concatenate(rows), cols, len(rows) + self.count)
        return found[: len(rows)].tolist()

    def __iter__(self) -> Iterator[ChannelGroup]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def to_dict(self) -> list[dict]:
        """The table as plain data."""
        return [
            {
                "filters": group.filters,
                "layers": list(group.layers),
                "prunable": group.prunable,
                "reason": group.reason,
            }
            for group in self
        ]

    def __str__(self) -> str:
        lines = [f"{'filters':>7}  {'prunable':<8}  layers"]
        for group in self:
            layers = ", ".join(group.layers)
            reason = f"  ({group.reason})" if group.reason else ""
            lines.append(
                f"{group.filters:>7}  {'yes' if group.prunable else 'no':<8}  {layers}{reason}"
            )
        free = sum(group.filters for group in self if group.prunable)
        total = sum(group.filters for group in self)
        lines.append(f"{free} of {total} filters can be pruned, in {len(self)} groups")
        return "\n".join(lines)


def channel_groups(model: Any) -> ChannelGroups:
    """Reads which filters of a model belong together, and which cannot be pruned and why.

    Args:
        model: a built model of Keras 3 or tf_keras; a subclassed one is traced into a graph.

    Returns:
        An iterable of `ChannelGroup`; `print` shows it as a table, `to_dict` gives it as data.

    Raises:
        UnsupportedError: the model was never built, or its graph cannot be traced.

    Example:
        >>> print(sft_keras.channel_groups(model))
        filters  prunable  layers
             16  yes       stem, block1_conv2
             32  yes       block1_conv1
             10  no        logits  (is a model output)
        48 of 58 filters can be pruned, in 3 groups
    """
    return ChannelGroups(model)
