"""A Keras model taken apart: the output of every layer, nested models in place of themselves."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
from keras import tree

from sft_keras import flavors

SINGLE_RESULT = ("FusedBatchNormV3",)  # what else it gives is for training


@dataclasses.dataclass(frozen=True, eq=False)
class LayerOutput:
    """One output of one call of a layer or operator.

    Attributes:
        name: what tables call it: `block/conv` within model `block`, `conv (2)` for the second
            call, `split:1` for the second output.
        path: names of the models it is nested in, and of the layer.
        layer: the layer or operator.
        shape: without the batch axis.
        inputs: the outputs it is computed from.
    """

    name: str
    path: tuple[str, ...]
    layer: Any
    shape: tuple[int | None, ...]
    inputs: tuple["LayerOutput", ...]


class LayerOutputs:
    """All outputs of the layers of a model, in the order of the graph.

    Args:
        model: a built Sequential or Functional model of either Keras.

    Attributes:
        model: the same.
        all: one `LayerOutput` each; the inputs are among them.
        inputs: those that are the model's inputs, in its order.
        outputs: those that are the model's outputs, in its order.

    Raises:
        UnsupportedError: the graph of the model cannot be read.
    """

    def __init__(self, model: Any):
        flavors.require_graph(model)
        self.model = model
        self._part = _Part(model, {}, (), Counter())
        self.all = list(self._part.found())
        self.inputs = [self._part.made[id(x)] for x in flavors.inputs(model)]
        self.outputs = [self._part.made[id(x)] for x in flavors.outputs(model)]

    def values(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the layers give.

        Args:
            inputs: one array an input of the model, in its order, shape `(samples, ...)`.

        Returns:
            One array for each of `all`, shape `(samples, ...)`.
        """
        return list(self._part.values(inputs))

    def operations(self) -> dict[str, LayerOutput]:
        """Which output each TensorFlow operation of the model's trace computes.

        Returns:
            By the operation's name, as `convert` writes it into the file. Empty where the model
            does not run on TensorFlow: its file was converted from another model.
        """
        if not flavors.is_tf_keras(self.model) and keras.backend.backend() != "tensorflow":
            return {}
        found: dict[str, LayerOutput] = {}
        for name, output in self._part.operations():
            found.setdefault(name, output)  # those behind it pass it on, as Dropout does
        return found


class _Part:
    """A model, or one inside another, as it is called once.

    Args:
        model: the model.
        made: the outputs known before, by the id of the model's symbolic tensors.
        path: names of the models that it is in, its own last; empty for the outermost.
        turns: how often each path has been called so far.
    """

    def __init__(self, model: Any, made: dict, path: tuple, turns: Counter):
        self.made: dict[int, LayerOutput] = made
        self._model = model
        self._view = flavors.with_all_outputs(model)
        self._steps = [
            (call, self._step(call, (*path, call.layer.name), turns))
            for call in flavors.calls(model)
        ]

    def _step(self, call: flavors.Call, path: tuple, turns: Counter):
        """What a call gives: a `_Part`, or a list of outputs."""
        if id(call.outputs[0]) in self.made:
            return []  # the input of a nested model is a tensor of the model around
        inputs = tuple(self.made[id(x)] for x in call.inputs)
        if _is_nested(call.layer):
            outside = dict(zip(map(id, flavors.inputs(call.layer)), inputs, strict=True))
            part = _Part(call.layer, outside, path, turns)
            given = [part.made[id(x)] for x in flavors.outputs(call.layer)]
            self.made.update(zip(map(id, call.outputs), given, strict=True))
            return part
        turns[path] += 1
        outputs = [
            LayerOutput(
                _label(path, turns[path], position),
                path,
                call.layer,
                tuple(x.shape[1:]),
                inputs,
            )
            for position, x in enumerate(call.outputs)
        ]
        self.made.update(zip(map(id, call.outputs), outputs, strict=True))
        return outputs

    def found(self) -> Iterator[LayerOutput]:
        """The outputs of all layers, in the order of the graph."""
        for _, step in self._steps:
            yield from step.found() if isinstance(step, _Part) else step

    def values(self, inputs: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        """The values of what `found` gives."""
        value_of = dict(zip(map(id, flavors.inputs(self._model)), inputs, strict=True))
        structure = flavors.input_structure(self._model)
        given = tree.map_structure(lambda x: _as_input(value_of[id(x)], x), structure)
        made = iter(tree.flatten(self._view(given, training=False)))
        for call, step in self._steps:
            arrays = [np.asarray(flavors.to_numpy(next(made))) for _ in call.outputs]
            value_of.update(zip(map(id, call.outputs), arrays, strict=True))
            if isinstance(step, _Part):
                yield from step.values([value_of[id(x)] for x in call.inputs])
            elif step:
                yield from arrays

    def operations(self, called_as: str | None = None) -> Iterator[tuple[str, LayerOutput]]:
        """The operations that compute what `found` gives.

        Args:
            called_as: in the trace of the model around, the operation of the first output.
        """
        traced = _traced(self._model)
        scope, behind = "", 0
        if called_as is not None:
            # Within its own scope a model's operations are called alike wherever it is called.
            whole = traced[id(flavors.outputs(self._model)[0])].op.name
            first = whole.partition("/")[2]
            if not first or not called_as.endswith(f"/{first}"):
                return
            scope, behind = called_as.removesuffix(first), len(whole) - len(first)
        for call, step in self._steps:
            if isinstance(step, _Part):
                name = traced[id(call.outputs[0])].op.name
                yield from step.operations(scope + name[behind:])
            elif step:
                for x, output in zip(call.outputs, step, strict=True):
                    for name in _operations(traced[id(x)], output.layer):
                        yield scope + name[behind:], output


def _is_nested(layer: Any) -> bool:
    return not flavors.is_operator(layer) and flavors.is_model(layer) and flavors.is_graph(layer)


def _label(path: tuple[str, ...], turn: int, position: int) -> str:
    again = f" ({turn})" if turn > 1 else ""
    return "/".join(path) + (f":{position}" if position else "") + again


def _as_input(value: np.ndarray, symbolic: Any) -> np.ndarray:
    # A dtype is a string in Keras 3 and an object with a name in tf_keras.
    return np.asarray(value, getattr(symbolic.dtype, "name", symbolic.dtype))


def _traced(model: Any) -> dict[int, Any]:
    """What computes each tensor of a model's graph in its trace, by the symbolic tensor's id."""
    from sft_keras.tflite import export  # imports TensorFlow

    tensors = [x for call in flavors.calls(model) for x in call.outputs]
    # The model's own outputs come first, so that the layers are called in the same order.
    outputs = [*flavors.outputs(model), *tensors]
    structure = flavors.input_structure(model)
    view = flavors.library(model).Model(structure, outputs, name=model.name)
    trace = export.trace(view)
    # A traced function returns the entries of a dictionary sorted by key.
    traced = dict(zip(sorted(trace.outputs), trace.function.outputs, strict=True))
    origins = [_origin(traced[name]) for name in trace.outputs[-len(tensors) :]]
    return dict(zip(map(id, tensors), origins, strict=True))


def _origin(tensor: Any) -> Any:
    """The traced tensor that a tensor is but a rounded or plain copy of."""
    while tensor.op.type.startswith(("FakeQuant", "Identity")):
        tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
    return tensor


def _operations(tensor: Any, layer: Any) -> list[str]:
    """The operations that a traced output of a layer may be called after in a file."""
    operation = tensor.op
    # The file numbers the results of one operation in a way of its own.
    if len(operation.outputs) > 1 and operation.type not in SINGLE_RESULT:
        return []
    # The converter drops the addition of zeros.
    bias = getattr(layer, "bias", None)
    is_sum = operation.type in ("BiasAdd", "Add", "AddV2")
    if is_sum and bias is not None and not flavors.to_numpy(bias).any():
        return [operation.name, operation.inputs[0].op.name]
    return [operation.name]
