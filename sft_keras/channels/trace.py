"""The walk: carries channel ids through a network and notes what belongs to each id."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from keras import tree

from sft_keras import flavors
from sft_keras.channels import registry
from sft_keras.channels.components import components
from sft_keras.channels.notes import Fold, Need, Producer, Rewrite, Role, Scale, Slices, Width
from sft_keras.channels.tensor import FIXED, Channels, fixed


class Trace:
    """Everything the rules note while the walk goes from inputs to outputs.

    Attributes:
        tensors: the `Channels` of every tensor of the model's own graph, by the tensor's id.
    """

    def __init__(self, call_counts: Counter | None = None):
        self.count = 0
        self.call_counts = call_counts or Counter()
        self.prefix = ""
        self.slices: list[Slices] = []
        self.widths: list[Width] = []
        self.folds: list[Fold] = []
        self.scales: list[Scale] = []
        self.rewrites: list[Rewrite] = []
        self.needs: list[Need] = []
        self.grids: list[Channels] = []
        self.producers: dict[tuple[int, str], Producer] = {}
        self.frozen: list[tuple[np.ndarray, str]] = []
        self.tensors: dict[int, Channels] = {}
        self.norms: dict[int, list] = {}
        self._pairs: list[np.ndarray] = []
        self._claimed: dict[tuple[int, int], np.ndarray] = {}
        self._widths: dict[tuple, np.ndarray] = {}
        self._rewritten: dict[int, np.ndarray] = {}
        self._nested: dict[int, dict[int, Channels]] = {}
        self._names: dict[int, str] = {}

    def new_filters(self, layer: Any, count: int, part: str = "") -> np.ndarray:
        """Fresh ids for a layer's filters; a layer called again gets the ids it had.

        Args:
            layer: the layer that owns them.
            count: how many.
            part: what they are, for a layer with several independent sets of filters.
        """
        key = id(layer), part
        if key not in self.producers:
            name = self.name(layer) + (f"/{part}" if part else "")
            ids = np.arange(self.count, self.count + count)
            self.producers[key] = Producer(name, layer, ids)
            self.count += count
        return self.producers[key].ids

    def name(self, layer: Any) -> str:
        """What `layer` is called in reports: `model/layer` in a nested model."""
        return self._names.get(id(layer), self.prefix + layer.name)

    def rename(self, layer: Any, name: str) -> None:
        """Calls a layer inside another layer by `name` in reports."""
        self._names[id(layer)] = name

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
        """Notes whose filter each position of `variable` along `axis` is; -1 is the last axis.

        A variable claimed before, in another call of the same layer, ties both calls' ids.
        """
        if variable is None:
            return
        axis = range(len(variable.shape))[axis]
        key = id(variable), axis
        if key in self._claimed:
            reason = f"layer '{layer.name}' is shared and also reads channels that cannot go"
            self.unite(self._claimed[key], ids, reason)
            return
        self._claimed[key] = ids
        self.slices.append(Slices(layer, variable, axis, ids, role))

    def width(self, layer: Any, path: str | tuple, ids: np.ndarray) -> None:
        """Notes that the number at `path` in the config of `layer` counts the filters `ids`.

        A number noted before, in another call of the same layer, ties both calls' ids.
        """
        path = path if isinstance(path, tuple) else (path,)
        key = (id(layer), *path)
        if key in self._widths:
            reason = f"layer '{layer.name}' is shared and also shapes channels that cannot go"
            self.unite(self._widths[key], ids, reason)
            return
        self._widths[key] = ids
        self.widths.append(Width(layer, path, ids))

    def rewrite(self, call: flavors.Call, ids: np.ndarray, change: Callable) -> None:
        """Notes how the arguments of an operator's call change with the filters that stay.

        Another call of the same operator ties both calls' ids.

        Args:
            call: the call of an operator.
            ids: the filters that the arguments depend on.
            change: takes a function from ids to a boolean array, true where they stay; returns
                the changed arguments by name, as in `flavors.arguments`.
        """
        before = self._rewritten.setdefault(id(call.layer), ids)
        if before.shape == ids.shape:
            reason = f"operator '{call.layer.name}' is shared and also takes channels that stay"
            self.unite(before, ids, reason)
        else:
            for each in (before, ids):
                self.freeze(each, f"operator '{call.layer.name}' is shared by unlike tensors")
        self.rewrites.append(Rewrite(call, ids, change))

    def need(self, layer: Any, ids: np.ndarray) -> None:
        """Notes that one of `ids` must stay, or what `layer` makes of them would be empty."""
        found = np.unique(ids)
        if found.size == 1:
            self.freeze(found, f"is all that '{layer.name}' leaves of a tensor")
        elif FIXED not in found:
            self.needs.append(Need(self.name(layer), found))

    def scale(self, variable: Any, ids: np.ndarray) -> None:
        """Notes that `variable` is multiplied by the root of the share of `ids` that stays."""
        if variable is not None:
            self.scales.append(Scale(variable, ids))

    def fold(
        self, layer, kernel, axis: int, output_axes, ids, dead, exact: bool, part=None, place=()
    ):
        """Lets a bias take up the constants of dead inputs, or freezes those inputs.

        Args:
            layer: the layer that reads them.
            kernel: the kernel that reads them.
            axis: the kernel's axis along which they are read.
            output_axes: the kernel's axis, or axes, that the bias has too.
            ids: whose filter each position along `axis` is.
            dead: the constant that each emits when pruned.
            exact: whether the bias can take up constants at all.
            part: the part of `layer` that has the bias, if not the layer itself.
            place: the index of the part of the bias that takes them up, if not all of it.
        """
        if not np.any(dead[ids != FIXED]):
            return
        bias = (part or layer).bias
        exact = exact and bool(np.isfinite(dead[ids != FIXED]).all())
        if exact and self.call_counts[id(layer)] <= 1 and bias is not None:
            axes = tuple(np.ravel(output_axes).tolist())
            self.folds.append(Fold(kernel, bias, axis, axes, ids, dead, place))
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
        """Ids and dead values of `x` along `axis`; ties, or freezes, what changes along others."""
        axis = axis % len(x.shape)
        elsewhere = [i for i in x.varying_axes() if i != axis]
        if elsewhere and axis in x.varying_axes():
            x = self.tied(x, axis, f"shares a channel of '{layer.name}' with one that cannot go")
        elif elsewhere:
            self.freeze(x.ids, f"'{layer.name}' mixes positions that hold different filters")
            x = fixed(x.shape)
        full = x.expanded((axis,))
        return full.ids.reshape(-1), full.dead.reshape(-1)

    def tied(self, x: Channels, axis: int, reason: str) -> Channels:
        """`x` with the filters at each position of `axis` tied into one."""
        others = tuple(i for i in range(x.ids.ndim) if i != axis)
        ids = x.ids.max(axis=others, keepdims=True)
        dead = np.max(np.where(x.ids == FIXED, -np.inf, x.dead), axis=others, keepdims=True)
        self.unite(ids, x.ids, reason)
        self.freeze(x.ids[(x.ids != FIXED) & (x.dead != dead)], "emits several constants")
        return x.with_(ids=ids, dead=np.where(ids == FIXED, 0.0, dead))

    def components(self) -> np.ndarray:
        """The class of each id: ids with one number live or die together."""
        a, b = np.concatenate(self._pairs, axis=1) if self._pairs else np.empty((2, 0), int)
        return components(a, b, self.count)


def trace(model: Any) -> Trace:
    """Walks the graph of `model` once, each layer's rule in turn.

    Args:
        model: a built Sequential or Functional model of either Keras.

    Returns:
        The `Trace` with every id, slice and tie.

    Raises:
        UnsupportedError: the model is subclassed or was never built.
    """
    walk = Trace(_call_counts(model))
    walk.tensors = _walk_graph(walk, model, [fixed(sample_shape(x)) for x in flavors.inputs(model)])
    _freeze_outputs(walk, model)
    _tie_grids(walk)
    return walk


def _tie_grids(walk: Trace) -> None:
    """Lets the filters of each tensor go along one axis only, or what stays is no array.

    A rule may have tied them already, as a convolution does along all axes but its channels'; if
    none has, they may go along the axis that leaves most of them their own.
    """
    classes = walk.components() if walk.grids else np.empty(0, int)
    for x in walk.grids:
        found = np.append(classes, FIXED)[x.ids]
        free = [i for i in x.varying_axes() if np.any(found != np.take(found, [0], i))]
        if len(free) > 1:
            axis = max(free, key=lambda i: (_distinct(found, i), i))
            walk.tied(x, axis, "is lined up in a tensor with channels that cannot go")
            classes = walk.components()


def _distinct(classes: np.ndarray, axis: int) -> int:
    """How many positions of an axis differ in what they hold."""
    others = tuple(i for i in range(classes.ndim) if i != axis)
    return len(np.unique(classes.max(axis=others)))


def _call_counts(model: Any) -> Counter:
    """How often each layer is called; one in a model or wrapper as often as this is."""
    counts: Counter = Counter()
    for call in flavors.calls(model):
        counts.update(_calls_by(call.layer))
    return counts


def _calls_by(layer: Any) -> Counter:
    """How often one call of `layer` calls each layer, itself included."""
    counts = Counter({id(layer): 1})
    if flavors.is_graph(layer):
        counts.update(_call_counts(layer))
    for part in tree.flatten(flavors.parts(layer)):
        counts.update(_calls_by(part))
    return counts


def _walk_graph(walk: Trace, model: Any, inputs: Iterable[Channels]) -> dict[int, Channels]:
    """The channels of every tensor in the graph of `model`, by the tensor's id."""
    tensors = dict(zip(map(id, flavors.inputs(model)), inputs, strict=True))
    for call in flavors.calls(model):
        if not flavors.is_input_layer(call.layer):
            results = _apply_rule(walk, call, tensors)
            tensors.update(zip(map(id, call.outputs), results, strict=True))
    return tensors


def _walk_nested(walk: Trace, call: flavors.Call, inputs: list[Channels]) -> list[Channels]:
    """The walk through a model inside the model; every call of it must be cut alike."""
    model = call.layer
    _note_input_widths(walk, model, inputs)
    outer, walk.prefix = walk.prefix, f"{walk.name(model)}/"
    tensors = _walk_graph(walk, model, inputs)
    walk.prefix = outer
    first = walk._nested.setdefault(id(model), tensors)
    reason = f"is in '{model.name}', which is shared and also gets channels that cannot go"
    for key in tensors if first is not tensors else ():
        walk.unite(first[key].ids, tensors[key].ids, reason)
    return [tensors[id(x)] for x in flavors.outputs(model)]


def _note_input_widths(walk: Trace, model: Any, inputs: list[Channels]) -> None:
    for tensor, x in zip(flavors.inputs(model), inputs, strict=True):
        layer = flavors.producer(tensor)
        key = next(k for k in ("batch_shape", "batch_input_shape") if k in layer.get_config())
        for axis in x.varying_axes():
            ids, _ = walk.vector(x, axis, layer)
            walk.width(layer, (key, axis + 1), ids)


def _freeze_outputs(walk: Trace, model: Any) -> None:
    others, walk.frozen = walk.frozen, []
    for output in flavors.outputs(model):
        walk.freeze(walk.tensors[id(output)].ids, "is a model output")
    walk.frozen += others  # behind, because the first reason is the one shown


def _apply_rule(walk: Trace, call: flavors.Call, tensors: dict) -> Iterable[Channels]:
    mask = call.kwargs.get("mask")
    if flavors.is_symbolic(mask):  # which steps of a sequence count, no input of a rule
        walk.freeze(tensors[id(mask)].ids, f"is the mask of '{call.layer.name}'")
    inputs = [tensors[id(x)] for x in call.inputs if x is not mask]
    return apply_rule(walk, call, inputs)


def apply_rule(walk: Trace, call: flavors.Call, inputs: list[Channels]) -> list[Channels]:
    """The channels of the outputs of `call`, by the rule of its layer.

    Args:
        walk: takes the notes.
        call: the call; of its outputs only the shapes are read.
        inputs: the channels of the call's symbolic inputs, in order.
    """
    if flavors.is_graph(call.layer):
        return _walk_nested(walk, call, inputs)
    rule = registry.rule_for(call.layer)
    if rule is None:
        return freeze_all(walk, call, inputs, registry.no_rule_reason(call.layer))
    outputs = tree.flatten(rule(walk, call, *inputs))
    walk.grids += [y for y in outputs if len(y.varying_axes()) > 1]
    return outputs


def freeze_all(walk: Trace, call: flavors.Call, inputs, reason: str) -> list[Channels]:
    """Freezes every filter that enters `call`; its outputs hold none."""
    for x in inputs:
        walk.freeze(x.ids, reason)
    return [fixed(sample_shape(x)) for x in call.outputs]


def sample_shape(tensor: Any) -> tuple:
    """The shape of a tensor without batch; none where TensorFlow cannot tell the rank."""
    return tuple(tensor.shape[1:]) if getattr(tensor.shape, "rank", 0) is not None else ()
