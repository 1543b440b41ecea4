"""EinsumDense: the axis that its kernel adds to the output holds its filters."""

import numpy as np

from sft_keras import equations, flavors
from sft_keras.channels.notes import Role
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.rules.activation import activated
from sft_keras.channels.tensor import FIXED, Channels, along, fixed
from sft_keras.channels.trace import Trace, freeze_all
from sft_keras.equations import Equation


@builtin_rule("EinsumDense")
def einsum_dense(walk: Trace, call: flavors.Call, x: Channels) -> Channels:
    """EinsumDense: as Dense where its kernel adds one axis, as a depthwise layer where none."""
    layer = call.layer
    equation = equations.parse(layer.equation, layer.bias_axes, len(x.shape) + 1)
    if not equation.is_per_sample:
        reason = f"enters '{layer.name}' (EinsumDense), which mixes samples or takes a diagonal"
        return freeze_all(walk, call, [x], reason)[0]
    new = [name for name in equation.kernel if name not in equation.inputs]
    varying = [equation.inputs[axis + 1] for axis in x.varying_axes()]
    if not new and len(varying) == 1 and varying[0] in equation.scaled:
        ids, _ = walk.vector(x, equation.inputs.index(varying[0]) - 1, layer)
        return _produced(walk, call, equation, varying[0], ids)
    _read(walk, call, x, equation)
    if len(new) == 1:
        filters = walk.new_filters(layer, layer.kernel.shape[equation.kernel.index(new[0])])
        return _produced(walk, call, equation, new[0], filters, origin=layer)
    for name in new:
        size = layer.kernel.shape[equation.kernel.index(name)]
        reason = f"is one of several axes that '{layer.name}' (EinsumDense) adds"
        walk.freeze(walk.new_filters(layer, size, name), reason)
    return fixed(tuple(call.outputs[0].shape[1:]))


def _read(walk: Trace, call: flavors.Call, x: Channels, equation: Equation) -> None:
    """Claims the kernel's axes that are summed over; filters may lie along one of them."""
    layer = call.layer
    varying = [equation.inputs[axis + 1] for axis in x.varying_axes()]
    if not equation.summed or not set(varying) <= set(equation.summed):
        walk.freeze(x.ids, f"enters '{layer.name}' (EinsumDense) along an axis it does not sum")
        x = fixed(x.shape)
    main = next(iter([*varying, *reversed(equation.summed)]), "")
    for name in equation.summed:
        axis = equation.kernel.index(name)
        ids, dead = np.full(layer.kernel.shape[axis], FIXED), np.zeros(layer.kernel.shape[axis])
        if name == main:
            ids, dead = walk.vector(x, equation.inputs.index(name) - 1, layer)
        # The image of a constant input changes along just those axes that the kernel keeps.
        exact = equation.bias_fits_kernel
        output_axes = [equation.kernel.index(n) for n in equation.bias if n != "1"] if exact else []
        walk.fold(layer, layer.kernel, axis, output_axes, ids, dead, exact)
        walk.claim(layer, layer.kernel, axis, ids, Role.CUT)


def _produced(
    walk: Trace, call: flavors.Call, equation: Equation, name: str, ids: np.ndarray, origin=None
) -> Channels:
    """The output, whose axis `name` and that of the kernel belong to `ids`."""
    layer = call.layer
    walk.claim(layer, layer.kernel, equation.kernel.index(name), ids, Role.FILTER)
    if name in equation.bias:
        walk.claim(layer, layer.bias, equation.bias.index(name), ids, Role.PARAMETER)
    elif equation.bias:
        walk.freeze(ids, f"gets a bias from '{layer.name}' that all its filters share")
    walk.width(layer, ("output_shape", equation.place_in_output_shape(name)), ids)
    shape = tuple(call.outputs[0].shape[1:])
    axis = equation.outputs.index(name) - 1
    return activated(walk, layer, along(axis, ids, shape, origin=origin))
