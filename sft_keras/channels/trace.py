"""The walk: carries channel ids through a network and notes what belongs to each id."""

import enum
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from keras import tree
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sft_keras import flavors
from sft_keras.channels import registry
from sft_keras.channels.tensor import FIXED, Channels, fixed


class Role(enum.Enum):
    """What a slice of a variable is to the filter that it belongs to."""

    FILTER = "filter"
    """The filter's weights: ranked, zeroed and cut."""
    PARAMETER = "parameter"
    """A bias or a normalization's γ or β: zeroed and cut."""
    CUT = "cut"
    """What reads the filter, or its statistics: only cut."""


class Slices(NamedTuple):
    """One axis of one variable, and the filter that each of its positions belongs to."""

    layer: Any
    variable: Any
    axis: int
    ids: np.ndarray
    role: Role


class Width(NamedTuple):
    """A number in a layer's config that counts filters, as `filters` or `target_shape[2]`."""

    layer: Any
    key: str
    ids: np.ndarray
    position: int | None = None


class Fold(NamedTuple):
    """A layer whose bias takes up the constants that pruned filters emit into its kernel."""

    layer: Any
    kernel: Any
    axis: int
    output_axis: int
    ids: np.ndarray
    dead: np.ndarray


class Trace:
    """Everything the rules note while the walk goes from inputs to outputs."""

    def __init__(self, call_counts: Counter | None = None):
        self.count = 0
        self.call_counts = call_counts or Counter()
        self.slices: list[Slices] = []
        self.widths: list[Width] = []
        self.folds: list[Fold] = []
        self.filters: dict[int, np.ndarray] = {}
        self.layers: dict[int, Any] = {}
        self.frozen: list[tuple[np.ndarray, str]] = []
        self.tensors: dict[int, Channels] = {}
        self.norms: dict[int, list] = {}
        self._pairs: list[np.ndarray] = []
        self._claimed: dict[tuple[int, int], np.ndarray] = {}

    def new_filters(self, layer: Any, count: int) -> np.ndarray:
        """Fresh ids for a layer's filters; a layer called again gets the ids it had."""
        if id(layer) not in self.filters:
            self.filters[id(layer)] = np.arange(self.count, self.count + count)
            self.layers[id(layer)] = layer
            self.count += count
        return self.filters[id(layer)]

    def unite(self, a: np.ndarray, b: np.ndarray, reason: str) -> None:
        """Ties ids pairwise; an id tied to a fixed channel is frozen with `reason`."""
        a, b = (x.ravel() for x in np.broadcast_arrays(a, b))
        both = (a != FIXED) & (b != FIXED)
        self._pairs.append(np.stack([a[both], b[both]]))
        self.freeze(np.where(both, FIXED, np.maximum(a, b)), reason)

    def freeze(self, ids: np.ndarray, reason: str) -> None:
        """Forbids pruning of `ids`, with a reason that a person can read."""
        ids = np.unique(ids)
        ids = ids[ids != FIXED]
        if ids.size:
            self.frozen.append((ids, reason))

    def claim(self, layer: Any, variable: Any, axis: int, ids: np.ndarray, role: Role) -> None:
        """Notes whose filter each position of `variable` along `axis` is.

        A variable claimed before, in another call of the same layer, ties both calls' ids.
        """
        if variable is None:
            return
        key = id(variable), axis
        if key in self._claimed:
            reason = f"layer '{layer.name}' is shared and also reads channels that cannot go"
            self.unite(self._claimed[key], ids, reason)
            return
        self._claimed[key] = ids
        self.slices.append(Slices(layer, variable, axis, ids, role))

    def width(self, layer: Any, key: str, ids: np.ndarray, position: int | None = None):
        """Notes that `config[key]` (or `config[key][position]`) counts the filters `ids`.

        A number noted before, in another call of the same layer, ties both calls' ids.
        """
        for other in self.widths:
            if other.layer is layer and (other.key, other.position) == (key, position):
                reason = f"layer '{layer.name}' is shared and also shapes channels that cannot go"
                self.unite(other.ids, ids, reason)
                return
        self.widths.append(Width(layer, key, ids, position))

    def fold(self, layer, kernel, axis: int, output_axis: int, ids, dead, exact: bool) -> None:
        """Lets `layer`'s bias take up its dead inputs' constants, or freezes those inputs."""
        if not np.any(dead[ids != FIXED]):
            return
        once = self.call_counts[id(layer)] <= 1
        if exact and once and layer.bias is not None:
            self.folds.append(Fold(layer, kernel, axis, output_axis, ids, dead))
        else:
            self.freeze(
                ids[dead != 0],
                f"emits a constant when pruned, which '{layer.name}' cannot take up exactly",
            )

    def follow(self, origin: Any, norm: Any) -> None:
        """Notes that the normalization `norm` scales the filters of layer `origin`."""
        if origin is not None:
            self.norms.setdefault(id(origin), []).append(norm)

    def vector(self, x: Channels, axis: int, layer: Any) -> tuple[np.ndarray, np.ndarray]:
        """Ids and dead values of `x` along `axis`; freezes what changes along other axes."""
        elsewhere = [i for i in x.varying_axes() if i != axis % len(x.shape)]
        if elsewhere:
            self.freeze(x.ids, f"'{layer.name}' mixes positions that hold different filters")
            x = fixed(x.shape)
        full = x.expanded((axis,))
        return full.ids.reshape(-1), full.dead.reshape(-1)

    def components(self) -> np.ndarray:
        """The class of each id: ids with one number live or die together."""
        a, b = np.concatenate(self._pairs, axis=1) if self._pairs else np.empty((2, 0), int)
        matrix = coo_array((np.ones(len(a)), (a, b)), shape=(self.count, self.count))
        return connected_components(matrix, directed=False)[1]


def trace(model: Any) -> Trace:
    """Walks the graph of `model` once, each layer's rule in turn.

    Args:
        model: a built Sequential or Functional model of either Keras.

    Returns:
        The `Trace` with every id, slice and tie.

    Raises:
        UnsupportedError: the model is subclassed or was never built.
    """
    calls = list(flavors.calls(model))
    walk = Trace(Counter(id(call.layer) for call in calls))
    for call in calls:
        results = _apply_rule(walk, call)
        walk.tensors.update(zip(map(id, call.outputs), results, strict=True))
    _freeze_outputs(walk, model)
    return walk


def _freeze_outputs(walk: Trace, model: Any) -> None:
    others, walk.frozen = walk.frozen, []
    for output in flavors.outputs(model):
        walk.freeze(walk.tensors[id(output)].ids, "is a model output")
    walk.frozen += others  # behind, because the first reason is the one shown


def _apply_rule(walk: Trace, call: flavors.Call) -> Iterable[Channels]:
    if flavors.is_input_layer(call.layer):
        return [fixed(tuple(x.shape[1:])) for x in call.outputs]
    mask = call.kwargs.get("mask")
    if flavors.is_symbolic(mask):  # which steps of a sequence count, no input of a rule
        walk.freeze(walk.tensors[id(mask)].ids, f"is the mask of '{call.layer.name}'")
    inputs = [walk.tensors[id(x)] for x in call.inputs if x is not mask]
    rule = registry.rule_for(call.layer)
    if rule is None:
        return freeze_all(walk, call, inputs, registry.no_rule_reason(call.layer))
    return tree.flatten(rule(walk, call, *inputs))


def freeze_all(walk: Trace, call: flavors.Call, inputs, reason: str) -> list[Channels]:
    """Freezes every filter that enters `call`; its outputs hold none."""
    for x in inputs:
        walk.freeze(x.ids, reason)
    return [fixed(tuple(x.shape[1:])) for x in call.outputs]
