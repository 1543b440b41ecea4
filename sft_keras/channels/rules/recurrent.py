"""Recurrent layers: a unit is a filter, with its block of columns in every gate."""

from typing import Any

import numpy as np
from keras import tree

from sft_keras import flavors
from sft_keras.channels.notes import Role
from sft_keras.channels.registry import builtin_rule
from sft_keras.channels.rules.activation import applied
from sft_keras.channels.tensor import Channels, along, fixed
from sft_keras.channels.trace import Trace, freeze_all

CELLS = ("SimpleRNNCell", "LSTMCell", "GRUCell")


@builtin_rule("SimpleRNN", "LSTM", "GRU")
def recurrent(walk: Trace, call: flavors.Call, *inputs: Channels) -> list[Channels]:
    """SimpleRNN, LSTM and GRU; its filters are its units."""
    layer = call.layer
    sequence, starts = sources(walk, call, inputs)
    units = claim_cell(walk, layer, layer.cell, *walk.vector(sequence, -1, layer))
    walk.width(layer, "units", units)
    return emitted(walk, call, [units] * _state_count(layer.cell), starts)


@builtin_rule("RNN")
def over_cells(walk: Trace, call: flavors.Call, *inputs: Channels) -> list[Channels]:
    """RNN over a cell, or over a stack of cells each of which reads the one before."""
    layer = call.layer
    stack = flavors.parts(layer.cell).get("cells", [])
    cells = stack or [layer.cell]
    if reason := _obstacle(layer, cells):
        return freeze_all(walk, call, inputs, reason)
    sequence, starts = sources(walk, call, inputs)
    read, dead = walk.vector(sequence, -1, layer)
    states: list[np.ndarray] = []
    for i, cell in enumerate(cells):
        read = claim_cell(walk, layer, cell, read, dead, part=str(i) if stack else "")
        dead = np.zeros(len(read))
        walk.width(cell, "units", read)
        states += [read] * _state_count(cell)
    return emitted(walk, call, states, starts)


def _obstacle(layer: Any, cells: list) -> str:
    """Why nothing can be pruned in or before an RNN over these cells, or an empty string."""
    enters = f"enters '{layer.name}' (RNN)"
    for cell in cells:
        name, kind = getattr(cell, "name", "its cell"), type(cell).__name__
        if kind not in CELLS or type(cell) is not getattr(flavors.library(layer).layers, kind):
            return f"{enters}, whose cell '{name}' ({kind}) has no channel rule"
    if getattr(layer.cell, "reverse_state_order", False):
        return f"{enters}, whose cells have their states in reverse order"
    return ""


def _state_count(cell: Any) -> int:
    return len(tree.flatten(cell.state_size))


def sources(walk: Trace, call: flavors.Call, inputs) -> tuple[Channels, list[Channels]]:
    """The channels of a recurrent layer's sequence and initial states."""
    channels = by_tensor(walk, call, inputs)
    sequence, starts, _ = flavors.sequence_arguments(call)
    given = [channels.get(id(x)) or fixed(tuple(x.shape[1:])) for x in (sequence, *starts)]
    return given[0], given[1:]


def by_tensor(walk: Trace, call: flavors.Call, inputs) -> dict[int, Channels]:
    """The channels of the inputs of `call`, by the tensor's id; freezes what is its mask."""
    read = [x for x in call.inputs if x is not call.kwargs.get("mask")]
    channels = dict(zip(map(id, read), inputs, strict=True))
    for tensor in flavors.sequence_arguments(call).others:
        if id(tensor) in channels:
            walk.freeze(channels[id(tensor)].ids, f"is the mask of '{call.layer.name}'")
    return channels


def claim_cell(
    walk: Trace,
    layer: Any,
    cell: Any,
    read: np.ndarray,
    dead: np.ndarray,
    exact: bool = True,
    part: str = "",
) -> np.ndarray:
    """Claims a cell's kernels (…, input, gates·units), (…, units, gates·units) and bias.

    A pruned unit has all its columns and biases at zero. Its candidate is then f(0) = 0, and its
    state, which starts at zero, stays there.

    Args:
        walk: takes the notes.
        layer: the layer that the cell is in.
        cell: the cell, dense or convolutional.
        read: whose filter each channel of the input is.
        dead: the constant that each emits when pruned.
        exact: whether the bias can take up such constants.
        part: which of the layer's cells it is, if it has several.

    Returns:
        The ids of the cell's units.
    """
    axis = len(cell.kernel.shape) - 2
    units = walk.new_filters(layer, cell.recurrent_kernel.shape[axis], part)
    columns = np.tile(units, cell.kernel.shape[-1] // len(units))
    # GRU with reset_after has a bias of the input beside one of the state.
    place = (0,) if cell.bias is not None and len(cell.bias.shape) > 1 else ()
    walk.fold(layer, cell.kernel, axis, axis + 1, read, dead, exact, part=cell, place=place)
    for kernel, ids in ((cell.kernel, read), (cell.recurrent_kernel, units)):
        walk.claim(layer, kernel, axis, ids, Role.CUT)
        walk.claim(layer, kernel, axis + 1, columns, Role.FILTER)
    if cell.bias is not None:
        walk.claim(layer, cell.bias, len(cell.bias.shape) - 1, columns, Role.PARAMETER)
    _freeze_moving(walk, layer, cell, units)
    return units


def _freeze_moving(walk: Trace, layer: Any, cell: Any, units: np.ndarray) -> None:
    """Freezes units whose state would leave zero, or whose gates mix them."""
    idle = along(0, units, (len(units),))
    if hasattr(cell, "recurrent_activation"):
        applied(walk, layer, cell.recurrent_activation, idle)
    candidate = applied(walk, layer, cell.activation, idle)
    name = getattr(cell.activation, "__name__", type(cell.activation).__name__)
    reason = f"has a state other than zero when pruned, as activation '{name}' of '{layer.name}'"
    walk.freeze(units[candidate.dead != 0], f"{reason} is not zero at zero")


def emitted(
    walk: Trace,
    call: flavors.Call,
    states: list[np.ndarray],
    starts: list[Channels],
    axis: int = -1,
) -> list[Channels]:
    """The output of a recurrent layer, and its last states if it returns them.

    Args:
        walk: takes the notes.
        call: the layer's call.
        states: the ids of the units that each state holds; the last ones are the output's too.
        starts: the channels of the initial states, none where they are zero.
        axis: the axis of the units in every output and state, from the last.
    """
    layer = call.layer
    for units, start in zip(states, starts, strict=bool(starts)):
        ids, dead = walk.vector(start, axis, layer)
        walk.unite(units, ids, f"has an initial state in '{layer.name}' that cannot go")
        walk.freeze(ids[dead != 0], f"is an initial state of '{layer.name}', not zero when pruned")
    for units, variable in zip(states, flavors.states(layer), strict=False):
        walk.claim(layer, variable, len(variable.shape) + axis, units, Role.PARAMETER)
    # No origin: a normalization behind scales the output, but not what the units read themselves.
    held = zip(call.outputs, [states[-1], *states], strict=False)
    return [along(axis, units, tuple(tensor.shape[1:])) for tensor, units in held]
