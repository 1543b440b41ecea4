"""Parts of a tensor, each by an operator of its own."""

from typing import Any

import numpy as np
import tf_keras

from sft_keras import flavors
from sft_keras.quantization.equality import proven
from sft_keras.quantization.graph import rewrite


@proven
def slice_splits(model: tf_keras.Model) -> tf_keras.Model:
    """Turns a split or an unstacking into slices where some of its parts are not read.

    The converter leaves an operator with an output that nothing reads in float, in about half of
    its runs.
    """
    read = {id(x) for call in flavors.calls(model) for x in call.inputs}
    read.update(id(x) for x in flavors.outputs(model))
    keys, first = {}, {}
    for split in filter(lambda call: _is_split(call.layer), flavors.calls(model)):
        is_read = [id(x) in read for x in split.outputs]
        if not all(is_read):
            keys[split.layer], first[split.layer] = _keys(split), is_read.index(True)

    def call(layer, *args, **kwargs):
        x = next(x for x in (*args, *kwargs.values()) if flavors.is_symbolic(x))
        parts = [x[key] for key in keys[layer]]
        for i, part in enumerate(parts):
            # What makes the output keeps the name.
            name = layer.name if i == first[layer] else f"{layer.name}_part_{i}"
            flavors.rename(flavors.producer(part), name)
        return parts

    return rewrite(model, call, lambda layer: layer in keys)


def _is_split(layer: Any) -> bool:
    return flavors.is_operator(layer) and flavors.operator_name(layer) in ("split", "unstack")


def _keys(call: flavors.Call) -> list[tuple]:
    """The slice that each part is."""
    rank = len(call.inputs[0].shape)
    axis = flavors.arguments(call)["axis"] % rank
    before = (slice(None),) * axis
    if flavors.operator_name(call.layer) == "unstack":
        return [(*before, i) for i in range(len(call.outputs))]
    ends = np.cumsum([part.shape[axis] for part in call.outputs]).tolist()
    return [(*before, slice(*ends_of)) for ends_of in zip([0, *ends], ends, strict=False)]
