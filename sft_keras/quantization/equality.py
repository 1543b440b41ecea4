"""Proof that a rewritten model computes what it did before."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tf_keras
from keras import tree

from sft_keras import flavors
from sft_keras.cloning import in_precision
from sft_keras.errors import UnsupportedError
from sft_keras.shrinking import proof

ROUNDINGS = 2
"""How many roundings of all weights a rewrite may cost: folds of whole networks cost up to 0.4, an
epsilon of BatchNormalization that is 0.001 off costs more than 80."""

MOST = 1e-3
"""What no amount of rounding excuses."""

LEAST = 1e-9
"""What one rounding of all weights makes at least of outputs that are not saturated: float32 rounds
to 1e-7 of a number."""


def proven(rewrite: Callable) -> Callable:
    """Makes a pass prove, each time it runs, that its model gives the same outputs as before."""

    @functools.wraps(rewrite)
    def checked(model: tf_keras.Model) -> tf_keras.Model:
        rewritten = rewrite(model)
        if rewritten is not model:
            require_equal(model, rewritten, rewrite.__name__)
        return rewritten

    return checked


def require_equal(model: Any, port: tf_keras.Model, step: str = "to_tf_keras") -> None:
    """Compares a model with another that is to compute the same, on normal noise and random bytes.

    A deep network makes more than 1e-5 of the rounding of float32 alone. Such a one is compared
    in float64, where only the numbers differ that were rounded to float32 when they were stored:
    by no more than twice what as small a change of all its weights makes of its outputs. Input of
    another kind than a network was made for tells nothing if it makes chaos of any rounding, or
    nothing at all behind a softmax that is too sure: then the other input decides.

    Args:
        model: a model of either Keras.
        port: what is to compute the same.
        step: what made one of the other, for the message.

    Raises:
        UnsupportedError: the outputs differ by more, or a layer's config leaves something out.
    """
    samples = [proof.random_inputs(model, kind=kind) for kind in ("noise", "bytes")]
    plain = _in_float32(model)
    if all(_difference(plain, port, x) <= proof.FLOAT32_TOLERANCE for x in samples):
        return
    proof.require_faithful_copy(model)
    exact, other = (in_precision("float64", m) for m in (model, port))
    differences = [_difference(exact, other, x) for x in samples]
    allowed = [proof.FLOAT64_TOLERANCE] * len(samples)
    if max(differences) > proof.FLOAT64_TOLERANCE:
        nudged = _nudged(model)
        roundings = [_difference(exact, nudged, x) for x in samples]
        told = [i for i, r in enumerate(roundings) if LEAST <= r <= MOST / ROUNDINGS] or [0]
        differences = [differences[i] for i in told]
        allowed = [min(ROUNDINGS * roundings[i], MOST) for i in told]
    excess = [d for d, most in zip(differences, allowed, strict=True) if not d <= most]
    if excess:
        raise UnsupportedError(
            f"Step '{step}' changed the outputs of model '{model.name}' by {max(excess):.1e} of "
            "their scale; report this as a bug, and build the model of plainer layers until it is "
            "mended."
        )


def _nudged(model: Any) -> Any:
    """The model in float64 with each weight changed by one rounding to float32, up or down."""
    rng = np.random.default_rng(0)

    def nudge(value: np.ndarray) -> np.ndarray:
        signs = rng.choice([-1.0, 1.0], value.shape)
        small = np.finfo("float32").eps * signs
        return value * (1 + small) if value.dtype.kind == "f" else value

    values = [nudge(flavors.to_numpy(w)) for w in flavors.variables(model)]
    return in_precision("float64", model, values)


def _in_float32(model: Any) -> Any:
    policies = {getattr(layer, "compute_dtype", "float32") for layer in model.layers}
    if not policies & {"float16", "bfloat16", "float64"}:
        return model

    return in_precision("float32", model)


def _difference(model: Any, other: Any, inputs: Any) -> float:
    with proof.states_kept(model, other):
        expected, got = (proof.outputs(m, inputs) for m in (model, other))
    return proof.relative_difference(expected, got) if tree.flatten(expected) else 0.0
