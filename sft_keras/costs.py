"""What a network costs: parameters, multiply-accumulates, bytes and activations, per layer."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from sft_keras import flavors
from sft_keras.macs import macs


@dataclass(frozen=True)
class LayerCost:
    """The cost of one layer.

    Attributes:
        name: the layer's name; of one in a nested model `model/layer`.
        kind: its class.
        params: number of weights, trainable or not.
        macs: multiply-accumulates of one sample, over all calls of the layer.
        activations: elements of its outputs, one sample.
    """

    name: str
    kind: str
    params: int
    macs: int
    activations: int


@dataclass(frozen=True)
class Cost:
    """The cost of a model; print it as a table.

    Attributes:
        layers: one `LayerCost` a layer, in graph order.
        bytes: size of the weights in memory, in bytes.
        peak_activations: elements alive at once at the worst moment, one sample: everything
            that is still to be read, and the output being written.
    """

    layers: tuple[LayerCost, ...]
    bytes: int
    peak_activations: int

    @property
    def params(self) -> int:
        """Number of weights."""
        return sum(layer.params for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one sample."""
        return sum(layer.macs for layer in self.layers)

    def to_dict(self) -> dict:
        """The table as plain data."""
        return {
            "params": self.params,
            "macs": self.macs,
            "bytes": self.bytes,
            "peak_activations": self.peak_activations,
            "layers": [vars(layer) for layer in self.layers],
        }

    def __str__(self) -> str:
        width = max([5, *(len(layer.name) for layer in self.layers)])
        head = f"{'layer':<{width}}  {'params':>12}  {'MACs':>14}  {'activations':>12}"
        rows = [
            f"{x.name:<{width}}  {x.params:>12,}  {x.macs:>14,}  {x.activations:>12,}"
            for x in self.layers
        ]
        total = f"{'total':<{width}}  {self.params:>12,}  {self.macs:>14,}"
        return "\n".join([head, *rows, f"{total}  {self.peak_activations:>12,} (peak)"])


def cost(model: Any) -> Cost:
    """Counts what a model costs at batch 1.

    One multiply-accumulate is counted once. Convolutions, dense and recurrent layers, attention and
    matrix products count; normalizations, activations, poolings and merges do not, as is usual.
    Layers of classes that are not known count with their parameters alone.

    Args:
        model: a built model of Keras 3 or tf_keras; a subclassed one is traced into a graph.

    Returns:
        A `Cost` with `.params`, `.macs`, `.bytes`, `.peak_activations` and `.layers`.

    Raises:
        UnsupportedError: the model was never built, or its graph cannot be traced.

    Example:
        >>> cost = sft_keras.cost(model)
        >>> cost.macs, cost.params
        (12501632, 78666)
    """
    model = flavors.as_graph(model)
    calls, variables = list(flavors.calls(model)), _once(flavors.weights(model), set())
    size = sum(int(np.prod(w.shape)) * _itemsize(w) for w in variables)
    return Cost(tuple(_layer_costs(calls, set())), size, _peak_activations(model, calls))


def _once(variables: Iterable[Any], seen: set[int]) -> list[Any]:
    """The variables that were not seen before, which they are from now on."""
    new = list({id(v): v for v in variables if id(v) not in seen}.values())
    seen.update(map(id, new))
    return new


def _layer_costs(
    calls: list[flavors.Call], seen: set[int], prefix: str = "", times: int = 1
) -> Iterator[LayerCost]:
    """One `LayerCost` a layer; those inside a nested model under `model/layer`.

    The weights of a layer that nested models share count where they are `seen` first.
    """
    by_layer: dict[int, list[flavors.Call]] = {}
    for call in calls:
        by_layer.setdefault(id(call.layer), []).append(call)
    for of_layer in by_layer.values():
        layer, name = of_layer[0].layer, prefix + of_layer[0].layer.name
        if flavors.is_graph(layer):
            inner = list(flavors.calls(layer))
            yield from _layer_costs(inner, seen, f"{name}/", times * len(of_layer))
        else:
            variables = _once(getattr(layer, "weights", []), seen)
            yield _layer_cost(name, of_layer, times, variables)


def _layer_cost(
    name: str, calls: list[flavors.Call], times: int, variables: list[Any]
) -> LayerCost:
    layer = calls[0].layer
    return LayerCost(
        name=name,
        kind=type(layer).__name__,
        params=sum(int(np.prod(w.shape)) for w in variables),
        macs=times * sum(macs(call) for call in calls),
        activations=times * sum(_elements(x) for call in calls for x in call.outputs),
    )


def _elements(tensor: Any) -> int:
    return math.prod(size or 1 for size in tensor.shape[1:])


def _itemsize(variable: Any) -> int:
    name = getattr(variable.dtype, "name", variable.dtype)
    return 2 if name == "bfloat16" else np.dtype(name).itemsize


def _peak_activations(model: Any, calls: Iterable[flavors.Call]) -> int:
    """The most elements alive at once when the calls run in graph order."""
    calls = list(calls)
    last_read = {id(x): i for i, call in enumerate(calls) for x in call.inputs}
    last_read |= {id(x): len(calls) for x in flavors.outputs(model)}
    alive: dict[int, int] = {}
    peak = 0
    for i, call in enumerate(calls):
        if flavors.is_graph(call.layer):
            # Its inputs are alive out here.
            inner = [c for c in flavors.calls(call.layer) if not flavors.is_input_layer(c.layer)]
            peak = max(peak, sum(alive.values()) + _peak_activations(call.layer, inner))
        alive |= {id(x): _elements(x) for x in call.outputs}
        peak = max(peak, sum(alive.values()))
        alive = {key: size for key, size in alive.items() if last_read.get(key, -1) > i}
    return peak
