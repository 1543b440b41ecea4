"""The cells of recurrent layers as plain layers, which have int8 kernels."""

import abc
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tf_keras import layers


class Shared:
    """Layers by name and arguments, each made when first asked for."""

    def __init__(self) -> None:
        self._made: dict[tuple, Any] = {}

    def __call__(self, name: str, kind: Callable, *args: Any, **kwargs: Any) -> Any:
        """The layer of that name, made with these arguments."""
        key = name, repr((args, kwargs))
        if key not in self._made:
            self._made[key] = kind(*args, name=name, **kwargs)
        return self._made[key]


class Cell(abc.ABC):
    """The layers that stand in for a cell: for each gate one over inputs and one over the state.

    All steps share them, as they share the cell, so that a gate has one kernel and one range.

    Args:
        cell: a built tf_keras cell.
        name: what the names of the layers begin with.
        shared: where the layers are.
    """

    gates: tuple[str, ...]
    """Names of the gates, in the order of the cell's kernel."""

    def __init__(self, cell: Any, name: str, shared: Shared):
        self.cell = cell
        self._name, self._shared = name, shared
        kernel, recurrent, *bias = cell.get_weights()
        sides = self.biases(*(np.split(b, len(self.gates), -1) for b in bias))
        self._weights = [
            [[k] if b is None else [k, b] for k, b in zip(kernels, biases, strict=True)]
            for kernels, biases in zip(map(self._by_gate, (kernel, recurrent)), sides, strict=True)
        ]

    def _by_gate(self, kernel: np.ndarray) -> list[np.ndarray]:
        return np.split(kernel, len(self.gates), -1)

    def biases(self, bias: list | None = None) -> tuple[list, list]:
        """The gates' biases over inputs and over the state, None where there is none."""
        none = [None] * len(self.gates)
        return bias or none, none

    def inputs(self, sequence: Any) -> list[list]:
        """For each step of a sequence: each gate's part of what comes in."""
        whole = self.parts(sequence)
        return [[self.at(i, x, x.shape[2:]) for x in whole] for i in range(sequence.shape[1])]

    def parts(self, x: Any) -> list:
        """Each gate's part of what comes in at one step, or at all of them."""
        return [self.project(i, "input", x) for i in range(len(self.gates))]

    def at(self, step: int, rows: Any, shape: Sequence[int]) -> Any:
        """One step of that shape from a sequence of rows."""
        crop = (step, rows.shape[1] - 1 - step)
        cut = self.shared(f"step_{step}", layers.Cropping1D, crop)(rows)
        return self.shared("flat", layers.Reshape, tuple(shape))(cut)

    @abc.abstractmethod
    def step(self, parts: list, states: list) -> list:
        """The states after a step; the first of them is the output.

        Args:
            parts: each gate's part of what comes in.
            states: those before the step; none at the first, where they are zero.
        """

    def gate(self, number: int, parts: list, state: Any) -> Any:
        """A gate's value; `state` is None where it is zero."""
        total = parts[number]
        if state is not None:
            total = self.sum(self.gates[number], total, self.project(number, "state", state))
        return self.activate(number, total)

    def activate(self, number: int, x: Any) -> Any:
        """A gate's activation."""
        name = self.gates[number]
        is_candidate = name == "candidate"
        function = self.cell.activation if is_candidate else self.cell.recurrent_activation
        return self.shared(name, layers.Activation, function)(x)

    def sum(self, name: str, *parts: Any) -> Any:
        """The sum of two tensors."""
        return self.shared(f"{name}_sum", layers.Add)(list(parts))

    def product(self, name: str, *parts: Any) -> Any:
        """The product of two tensors."""
        return self.shared(f"{name}_product", layers.Multiply)(list(parts))

    def project(self, number: int, side: str, x: Any) -> Any:
        """What a gate's kernel makes of inputs or of a state."""
        name = f"{self.gates[number]}_{side}"
        weights = self._weights[("input", "state").index(side)][number]
        layer = self.projection(name, side, weights)
        is_new = not layer.built
        y = layer(x)
        if is_new:
            layer.set_weights(weights)
        return y

    def projection(self, name: str, side: str, weights: list[np.ndarray]) -> Any:
        """The layer of a gate's kernel."""
        del side
        units = weights[0].shape[-1]
        trainable = self.cell.trainable
        return self.shared(
            name, layers.Dense, units, use_bias=len(weights) == 2, trainable=trainable
        )

    def shared(self, name: str, kind: Callable, *args: Any, **kwargs: Any) -> Any:
        """The layer of that name."""
        return self._shared(f"{self._name}_{name}", kind, *args, **kwargs)


class Simple(Cell):
    """h' = f(Wx + Uh + b)."""

    gates = ("candidate",)

    def step(self, parts: list, states: list) -> list:
        """The new output."""
        return [self.gate(0, parts, *states or [None])]


class LongShortTerm(Cell):
    """c' = f·c + i·g, h' = o·tanh(c')."""

    gates = ("in", "forget", "candidate", "out")

    def step(self, parts: list, states: list) -> list:
        """The new output and the new carry."""
        hidden, carry = states or (None, None)
        let_in = self.gate(0, parts, hidden)
        carried = self.product("in", let_in, self.gate(2, parts, hidden))
        if carry is not None:
            kept = self.product("forget", self.gate(1, parts, hidden), carry)
            carried = self.sum("carry", kept, carried)
        shown = self.shared("carry", layers.Activation, self.cell.activation)(carried)
        return [self.product("out", self.gate(3, parts, hidden), shown), carried]


class ConvLongShortTerm(LongShortTerm):
    """The same, by convolutions."""

    def inputs(self, sequence: Any) -> list[list]:
        """No convolution takes a whole sequence of images, so each step by itself."""
        steps, *shape = sequence.shape[1:]
        # TFLite Micro slices no more than four axes.
        rows = self.shared("rows", layers.Reshape, (steps, math.prod(shape)))(sequence)
        return [self.parts(self.at(i, rows, shape)) for i in range(steps)]

    def projection(self, name: str, side: str, weights: list[np.ndarray]) -> Any:
        """The convolution of a gate; that of states keeps their size."""
        kernel = weights[0]
        more: dict[str, Any] = {"padding": "same", "trainable": self.cell.trainable}
        if side == "input":
            keys = ("strides", "padding", "dilation_rate")
            more |= {key: getattr(self.cell, key) for key in keys}
        kind = (layers.Conv1D, layers.Conv2D, layers.Conv3D)[kernel.ndim - 3]
        bias = len(weights) == 2
        return self.shared(name, kind, kernel.shape[-1], kernel.shape[:-2], use_bias=bias, **more)


class GatedResetAfter(Cell):
    """h' = g + z·(h - g), the reset gate after the candidate's kernel."""

    gates = ("update", "reset", "candidate")

    def biases(self, bias: list | None = None) -> tuple[list, list]:
        """Both biases as one, but for the candidate, whose second one is under the reset gate."""
        if bias is None:
            return super().biases()
        *both, (first, second) = bias
        return [*(b.sum(0) for b in both), first], [None, None, second]

    def step(self, parts: list, states: list) -> list:
        """The new output."""
        hidden = states[0] if states else None
        candidate = self.candidate(parts, self.gate(1, parts, hidden), hidden)
        update = self.gate(0, parts, hidden)
        if hidden is None:
            kept = self.product("update", update, candidate)
            return [self.shared("first", layers.Subtract)([candidate, kept])]
        away = self.shared("away", layers.Subtract)([hidden, candidate])
        return [self.sum("hidden", candidate, self.product("update", update, away))]

    def candidate(self, parts: list, reset: Any, hidden: Any) -> Any:
        """What the state would be with an open update gate."""
        total = parts[2]
        if hidden is not None:
            remembered = self.product("reset", reset, self.project(2, "state", hidden))
            total = self.sum("candidate", total, remembered)
        elif (bias := self._weights[1][2][1:]) and np.any(bias):
            scale = bias[0].tolist()
            total = self.sum("first", total, self.shared("bias", layers.Rescaling, scale)(reset))
        return self.activate(2, total)


class GatedResetBefore(GatedResetAfter):
    """The same, the reset gate before the candidate's kernel."""

    def biases(self, bias: list | None = None) -> tuple[list, list]:
        """One bias."""
        return Cell.biases(self, bias)

    def candidate(self, parts: list, reset: Any, hidden: Any) -> Any:
        """What the state would be with an open update gate."""
        state = None if hidden is None else self.product("reset", reset, hidden)
        return self.gate(2, parts, state)


KINDS: dict[str, Callable] = {
    "SimpleRNNCell": Simple,
    "LSTMCell": LongShortTerm,
    "ConvLSTMCell": ConvLongShortTerm,
    "GRUCell": lambda cell, *args: _gated(cell)(cell, *args),
}
"""What stands in for a tf_keras cell, by its class' name."""


def _gated(cell: Any) -> type[Cell]:
    return GatedResetAfter if cell.reset_after else GatedResetBefore
