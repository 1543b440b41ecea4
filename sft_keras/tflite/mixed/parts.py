"""Splits a model into one model for each dtype that its layers are to compute in."""

import dataclasses
from collections.abc import Callable
from typing import Any

from keras import tree

from sft_keras import flavors
from sft_keras.errors import UnsupportedError


@dataclasses.dataclass
class Part:
    """The layers of a model that share a dtype, as a model of their own.

    Attributes:
        dtype: what they compute in.
        model: functional model with the very layers.
        inputs: the tensors of the whole model that `model` takes, in its order.
        outputs: the tensors of the whole model that `model` makes, in its order.
    """

    dtype: str
    model: Any
    inputs: list
    outputs: list


def split(model: Any, dtype_of: Callable[[Any], str]) -> list[Part]:
    """Splits a model.

    Args:
        model: a functional or sequential model of either Keras.
        dtype_of: takes a layer, returns its dtype.

    Returns:
        A part for each dtype. What one makes another takes, or is an output of the whole.

    Raises:
        UnsupportedError: what one part makes for another carries a mask.

    Example:
        >>> split(model, lambda layer: "float32" if layer.name == "stem" else "int8")
    """
    calls = [c for c in flavors.calls(model) if not flavors.is_input_layer(c.layer)]
    maker = {id(x): dtype_of(call.layer) for call in calls for x in call.outputs}
    taken = {id(x) for x in flavors.outputs(model)}
    for call in calls:
        own = dtype_of(call.layer)
        others = [x for x in call.inputs if maker.get(id(x)) != own]
        taken |= {id(x) for x in others}
        for x in filter(flavors.has_mask, others):
            raise _masked(flavors.producer(x), maker.get(id(x)), call.layer, own)
    return [
        _part(model, dtype, [c for c in calls if dtype_of(c.layer) == dtype], taken)
        for dtype in dict.fromkeys(maker.values())
    ]


def _masked(source: Any, dtype: str | None, layer: Any, other: str) -> UnsupportedError:
    return UnsupportedError(
        f"'{source.name}' is to compute in {dtype} and hands a mask on to '{layer.name}' in "
        f"{other}, which a file loses; give both the same dtype, or leave the mask out."
    )


def _part(model: Any, dtype: str, calls: list[flavors.Call], taken: set[int]) -> Part:
    library = flavors.library(model)
    new: dict[int, Any] = {}
    inputs: dict[int, Any] = {}

    def inside(x):
        if not flavors.is_symbolic(x):
            return x
        if id(x) not in new:
            name = f"{flavors.producer(x).name}_to_{dtype}_{len(inputs)}"
            options = {"batch_size": x.shape[0], "dtype": flavors.dtype_name(x)}
            new[id(x)] = library.Input(tuple(x.shape[1:]), name=name, **options)
            inputs[id(x)] = x
        return new[id(x)]

    made = []
    for call in calls:
        args, kwargs = tree.map_structure(inside, (call.args, call.kwargs))
        outputs = tree.flatten(call.layer(*args, **kwargs))
        new.update(zip(map(id, call.outputs), outputs, strict=True))
        made += [x for x in call.outputs if id(x) in taken]
    ends = [new[key] for key in inputs], [new[id(x)] for x in made]
    # A name of its own would count the models made before, and be in the file.
    part = library.Model(*ends, name=f"{model.name}_{dtype}")
    return Part(dtype, part, list(inputs.values()), made)
