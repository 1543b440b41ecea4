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
    """Compares a model with another that is to compute the same, on random input.

    A deep network makes more than 1e-5 of the rounding of float32 alone. Such a one is compared
    in float64, where only the numbers differ that were rounded to float32 when they were stored:
    by no more than twice what as small a change of all its weights makes of its outputs. A model
    of images may be chaotic on normal noise, which is nothing like them: it is then compared on
    random bytes.

    Args:
        model: a model of either Keras.
        port: what is to compute the same.
        step: what made one of the other, for the message.

    Raises:
        UnsupportedError: the outputs differ by more.
    """
    noise = proof.random_inputs(model)
    if _difference(_in_float32(model), port, noise) <= proof.FLOAT32_TOLERANCE:
        return
    exact, other = (in_precision("float64", m) for m in (model, port))
    difference, tolerance = _difference(exact, other, noise), proof.FLOAT64_TOLERANCE
    if difference > tolerance:
        nudged = _nudged(model)
        tolerance = ROUNDINGS * _difference(exact, nudged, noise)
        if tolerance > MOST:
            pixels = proof.random_inputs(model, bytes_=True)
            difference = _difference(exact, other, pixels)
            tolerance = min(ROUNDINGS * _difference(exact, nudged, pixels), MOST)
    if not difference <= tolerance:
        raise UnsupportedError(
            f"Step '{step}' changed the outputs of model '{model.name}' by {difference:.1e} of "
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
