"""Proof that a rewritten model computes what it did before."""

import functools
from collections.abc import Callable
from typing import Any

import tf_keras
from keras import tree

from sft_keras.cloning import in_precision
from sft_keras.errors import UnsupportedError
from sft_keras.shrinking import proof


def proven(rewrite: Callable) -> Callable:
    """Makes a pass prove, each time it runs, that its model gives the same outputs as before."""

    @functools.wraps(rewrite)
    def checked(model: tf_keras.Model) -> tf_keras.Model:
        rewritten = rewrite(model)
        difference = _difference(model, rewritten)
        if difference > proof.FLOAT32_TOLERANCE:
            # Reordered sums of a deep network differ by more than this in float32 alone.
            exact = _difference(*(in_precision("float64", m) for m in (model, rewritten)))
            _require(exact, proof.FLOAT64_TOLERANCE, rewrite.__name__, model.name)
        return rewritten

    return checked


def require_equal(model: Any, port: tf_keras.Model, step: str = "to_tf_keras") -> None:
    """Compares a model with its port on random input.

    Args:
        model: a model of either Keras.
        port: what is to compute the same.
        step: what made one of the other, for the message.

    Raises:
        UnsupportedError: the outputs differ by more than 1e-5 of their scale.
    """
    difference = _difference(_in_float32(model), port)
    if difference > proof.FLOAT32_TOLERANCE:
        # As in `proven`, but weights that were computed anew are rounded to float32.
        difference = _difference(*(in_precision("float64", m) for m in (model, port)))
    _require(difference, proof.FLOAT32_TOLERANCE, step, model.name)


def _in_float32(model: Any) -> Any:
    policies = {getattr(layer, "compute_dtype", "float32") for layer in model.layers}
    if not policies & {"float16", "bfloat16", "float64"}:
        return model

    return in_precision("float32", model)


def _require(difference: float, tolerance: float, step: str, name: str) -> None:
    if not difference <= tolerance:
        raise UnsupportedError(
            f"Step '{step}' changed the outputs of model '{name}' by {difference:.1e} of their "
            "scale; report this as a bug, and build the model of plainer layers until it is mended."
        )


def _difference(model: Any, other: Any) -> float:
    inputs = proof.random_inputs(model)
    with proof.states_kept(model, other):
        expected, got = (proof.outputs(m, inputs) for m in (model, other))
    return proof.relative_difference(expected, got) if tree.flatten(expected) else 0.0
