"""Ports a model to tf_keras, the only Keras that TFMOT takes."""

import inspect
import itertools
from collections import OrderedDict
from typing import Any

import tf_keras
from keras import tree

from sft_keras import flavors
from sft_keras.quantization import equality
from sft_keras.quantization.lineage import Lineage
from sft_keras.quantization.port_layer import port_layer
from sft_keras.quantization.port_operator import port_operator
from sft_keras.quantization.problem import Problem, Unportable, require_none


def to_tf_keras(model: Any) -> tf_keras.Model:
    """Ports a model to tf_keras: same graph, weights, layer names and outputs.

    Nested models are flattened into the graph, and operators such as `x + y` become layers.

    Args:
        model: a built Sequential or Functional model of Keras 3 or tf_keras; it is not changed.

    Returns:
        A functional tf_keras model in float32, not compiled.

    Raises:
        UnsupportedError: layers have no counterpart in tf_keras (all of them are named), or the
            outputs differ on random input by more than 1e-5 of their scale.

    Example:
        >>> port = sft_keras.quantization.to_tf_keras(keras.applications.MobileNetV2())
    """
    problems: list[Problem] = []
    ported = port(model, problems)
    require_none(problems, model.name)
    return ported


def port(
    model: Any, problems: list[Problem], names: dict[int, str] | None = None
) -> tf_keras.Model:
    """Ports what it can of a model.

    Args:
        model: as in `to_tf_keras`.
        problems: what cannot be ported is added here.
        names: the name of each layer's port is added here, by the layer's id.

    Returns:
        A functional tf_keras model, proven equal if all could be ported. Otherwise the graph ends
        before what could not and starts again behind it, so that all else can be looked at.
    """
    flavors.require_tensorflow("Porting to tf_keras")
    flavors.require_graph(model)
    reserved = {call.layer.name for call in flavors.calls(model)}
    walk = _Walk(problems, reserved, {} if names is None else names)
    problems += _unordered(model)
    inputs = [_input(x) for x in flavors.inputs(model)]
    outputs = walk.outputs(model, inputs)
    if problems:
        ends = [*outputs, *walk.dead_ends]
        return tf_keras.Model([*inputs, *walk.stand_ins], ends, name=model.name)
    structures = flavors.input_structure(model), flavors.output_structure(model)
    ported = tf_keras.Model(
        *map(tree.pack_sequence_as, structures, (inputs, outputs)), name=model.name
    )
    equality.require_equal(model, ported)
    return ported


def _input(x: Any) -> Any:
    name = flavors.producer(x).name
    dtype = flavors.dtype_name(x)
    # Pixels that come as uint8 are quantized like any other numbers; tokens stay what they are.
    dtype = dtype if dtype in ("int32", "int64", "bool") else "float32"
    return tf_keras.Input(tuple(x.shape[1:]), batch_size=x.shape[0], name=name, dtype=dtype)


def _unordered(model: Any) -> list[Problem]:
    """Ends that Keras 3 has in the order of an OrderedDict, and TensorFlow by their names."""
    ends = {"inputs": flavors.input_structure(model), "outputs": flavors.output_structure(model)}
    return [
        Problem(model.name, f"has its {name} in an OrderedDict", "take a plain dict")
        for name, structure in ends.items()
        if isinstance(structure, OrderedDict) and [*structure] != sorted(structure)
    ]


class _Walk:
    """Rebuilds a graph call by call, nested models in place."""

    def __init__(self, problems: list[Problem], reserved: set[str], names: dict[int, str]):
        self.stand_ins: list[Any] = []
        self.dead_ends: list[Any] = []
        self._problems = problems
        self._reserved = reserved
        self._taken: set[str] = set()
        self._names = names
        self._layers: dict[int, Any] = {}
        self._lineage = Lineage()

    def outputs(self, model: Any, inputs: list) -> list:
        """Applies the graph of `model` to tf_keras tensors; returns its outputs, flat."""
        made = self._run(model, inputs, ())
        for i, x in enumerate(flavors.outputs(model)):
            if len(made) > 1 and flavors.is_model(producer := flavors.producer(x)):
                # Of several outputs losses and targets are given by the nested models' names.
                name = self._unique(producer.name, ())
                made[i] = tf_keras.layers.Activation("linear", name=name)(made[i])
        self._lineage.name_apart()
        return made

    def _run(
        self, model: Any, inputs: list, outer: tuple[str, ...], mode: bool | None = None
    ) -> list:
        new = dict(zip(map(id, flavors.inputs(model)), inputs, strict=True))
        for call in _read_calls(model):
            args, kwargs = tree.map_structure(
                lambda x: new[id(x)] if flavors.is_symbolic(x) else x, (call.args, call.kwargs)
            )
            made = self._apply(call, args, _in_mode(mode, call, kwargs), outer)
            if not flavors.is_model(call.layer):
                name = self._names.get(id(call.layer), call.layer.name)
                path = "/".join((*outer, call.layer.name))
                self._lineage.follow((args, kwargs), made, name, path)
            new.update(zip(map(id, call.outputs), tree.flatten(made), strict=True))
        return [new[id(x)] for x in flavors.outputs(model)]

    def _apply(self, call: flavors.Call, args: tuple, kwargs: dict, outer: tuple[str, ...]) -> Any:
        if flavors.is_model(call.layer):
            inputs = _nested_inputs(call.layer, args, kwargs)
            return self._run(call.layer, inputs, (*outer, call.layer.name), kwargs.get("training"))
        try:
            if flavors.is_operator(call.layer):
                name = self._unique(call.layer.name.replace(".", "_").lstrip("_"), outer)
                return port_operator(call._replace(args=args, kwargs=kwargs), call, name)
            _require_no_constant_states(call)
            made = self._layer(call.layer, outer)(args, kwargs)
            _require_masks(call, made)
            return made
        except Unportable as e:
            problem = Problem(call.layer.name, e.reason, e.way_out)
            if problem not in self._problems:
                self._problems.append(problem)
        self.dead_ends += [x for x in tree.flatten((args, kwargs)) if flavors.is_symbolic(x)]
        return [self._stand_in(x) for x in call.outputs]

    def _layer(self, layer: Any, outer: tuple[str, ...]) -> Any:
        if id(layer) not in self._layers:
            name = self._names[id(layer)] = self._unique(layer.name, outer)
            self._layers[id(layer)] = port_layer(layer, name, self._inner)
        return self._layers[id(layer)]

    def _inner(self, model: Any) -> tf_keras.Model:
        """The port of a model inside a wrapper, which cannot be flattened."""
        found: list[Problem] = []
        ported = port(model, found)
        if found:
            raise Unportable(f"has a model inside, where {found[0]}", "call the model itself")
        return ported

    def _unique(self, name: str, outer: tuple[str, ...]) -> str:
        """A nested layer's own name where it is free, else the name behind its model's."""
        prefix = "".join(f"{flavors.scope_name(model)}_" for model in outer)
        name = flavors.scope_name(name)
        own = {name} if not prefix else set()
        for number in itertools.count(1):
            if name not in self._taken | (self._reserved - own):
                self._taken.add(name)
                return name
            name = f"{prefix}{name}" if number == 1 and prefix else f"{name}_{number}"
        raise AssertionError

    def _stand_in(self, x: Any) -> Any:
        batch_size = x.shape[0] if len(x.shape) else None
        self.stand_ins.append(tf_keras.Input(tuple(x.shape[1:]), batch_size=batch_size))
        return self.stand_ins[-1]


def _in_mode(mode: bool | None, call: flavors.Call, kwargs: dict) -> dict:
    """The keywords of a call in a model that was called with `training=mode`.

    In Keras 3 the mode of the outermost call goes for all, whatever the others were given.
    """
    own = flavors.is_tf_keras(call.layer) and kwargs.get("training") is None
    if mode is None or not own or "training" not in inspect.signature(call.layer.call).parameters:
        return kwargs
    return {**kwargs, "training": mode}


def _nested_inputs(model: Any, args: tuple, kwargs: dict) -> list:
    """What a nested model is called with, in the order of its inputs."""
    (given,) = (*args, *kwargs.values())[:1]
    if isinstance(given, dict) and not isinstance(flavors.input_structure(model), dict):
        return [given[flavors.producer(x).name] for x in flavors.inputs(model)]
    return [x for x in tree.flatten(given) if flavors.is_symbolic(x)]


def _require_no_constant_states(call: flavors.Call) -> None:
    """Refuses states of one sample, which tf_keras does not repeat for the others."""
    states = [x for x in tree.flatten((call.args, call.kwargs)) if flavors.is_array(x)]
    if states and flavors.is_recurrent(call.layer):
        kind = type(call.layer).__name__
        raise Unportable(f"is a {kind} with a constant state", "make the state an Input")


def _require_masks(call: flavors.Call, made: Any) -> None:
    """Refuses what hands on a mask in one Keras only, which random inputs may not show."""
    if [*map(flavors.has_mask, call.outputs)] != [*map(flavors.has_mask, tree.flatten(made))]:
        raise Unportable(
            f"is a {type(call.layer).__name__} on a masked tensor, whose mask tf_keras treats "
            "otherwise",
            "mask behind it",
        )


def _read_calls(model: Any) -> list[flavors.Call]:
    """The calls whose outputs are read, with what they were given.

    Keras 3 lists beside them the operators that make masks, which tf_keras layers make themselves.
    """
    read, kept = {id(x) for x in flavors.outputs(model)}, []
    for call in reversed(list(flavors.calls(model))):
        if not flavors.is_input_layer(call.layer) and any(id(x) in read for x in call.outputs):
            args, kwargs = flavors.given(call)
            kept.append(call._replace(args=args, kwargs=kwargs))
            read |= {id(x) for x in kept[-1].inputs}
    return kept[::-1]
