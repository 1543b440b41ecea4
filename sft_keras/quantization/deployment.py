"""What a plain model is rewritten to before it is converted, so that the file runs on devices."""

from collections.abc import Iterator
from typing import Any

from absl import logging

from sft_keras import flavors
from sft_keras.quantization import limits
from sft_keras.quantization.passes import DEPLOYED, unroll_recurrent
from sft_keras.quantization.port import port
from sft_keras.quantization.problem import Problem

OTHERS = ("float16", "bfloat16", "float64")


def deployable(model: Any, fused: bool = True) -> Any:
    """A model that computes the same in a way that the converter and small runtimes take.

    Keras 3 writes some layers (LSTM, LayerNormalization, Embedding) in operations that the
    converter crashes on or leaves in float; those of tf_keras come out whole. Recurrent layers
    without an operator of their own are unrolled.

    Args:
        model: a plain model of either Keras.
        fused: whether an LSTM may be one operator.

    Returns:
        An equal tf_keras model, or `model` itself where it cannot be ported.
    """
    problems: list[Problem] = []
    ported = port(model, problems)
    if problems:
        names = ", ".join(f"'{problem.layer}'" for problem in problems)
        logging.info("Converting '%s' as it is, for its %s.", model.name, names)
        return model
    for rewrite in DEPLOYED if fused else (unroll_recurrent, *DEPLOYED):
        ported = rewrite(ported)
    return ported


def candidates(model: Any, calibrated: bool) -> Iterator[Any]:
    """Equal models to convert, one after the other until the converter takes one.

    Args:
        model: a built model of either Keras.
        calibrated: whether it will be quantized by samples.
    """
    recurrent = is_recurrent(model)
    # The port computes in float32, where the converter takes no numbers of mixed precision.
    best = deployable(model) if calibrated or recurrent or _is_mixed(model) else model
    yield best
    if recurrent and best is not model:
        yield deployable(model, fused=False)
    if best is not model:
        yield model


def _is_mixed(model: Any) -> bool:
    return any(getattr(layer, "compute_dtype", None) in OTHERS for layer in limits.layers(model))


def is_recurrent(model: Any) -> bool:
    """Whether a model, or one nested in it, has recurrent layers."""
    return any(
        is_recurrent(call.layer)
        if flavors.is_model(call.layer)
        else flavors.is_recurrent(call.layer)
        for call in flavors.calls(model)
    )
