"""`quantize`: the public function, and the list of what stands in its way."""

from collections.abc import Mapping
from typing import Any

import tf_keras
from absl import logging

from sft_keras import flavors
from sft_keras.distillation import teach
from sft_keras.errors import ArgumentError
from sft_keras.quantization import compiling, int8, limits
from sft_keras.quantization.layer_dtypes import by_path, of_rewritten
from sft_keras.quantization.passes import PASSES
from sft_keras.quantization.pixels import pixel_inputs
from sft_keras.quantization.port import port
from sft_keras.quantization.problem import Problem, require_none

OF_CELLS = (
    *("dropout", "recurrent_dropout"),
    *(
        f"{weights}_{kind}"
        for kind in ("regularizer", "constraint")
        for weights in ("kernel", "recurrent", "bias")
    ),
)
"""What layers that are called at every step cannot have as the cell has it."""


def quantize(
    model: Any, teacher: Any = None, layer_dtypes: Mapping[str, str] | None = None
) -> tf_keras.Model:
    """Makes a model ready for quantization-aware training with TFMOT.

    The model is ported to tf_keras and rewritten into an equal one whose every layer has an int8
    form (BatchNormalization is folded, for one), in steps that each prove that the outputs stay
    the same. TFMOT's wrappers then round kernels and activations as the int8 file will. The
    ranges of the activations come from the data: train for at least some batches before
    converting, and expect nothing of the model's outputs before that.

    Args:
        model: a built Sequential or Functional model of Keras 3 or tf_keras; it is not changed.
        teacher: a model that helps to train the result, as in `Distill`: the one before pruning.
            It is not saved with the result: a loaded one trains without, or with `Distill`.
        layer_dtypes: layers to leave alone, as `{"head": "float32"}`, by name or pattern. They stay
            float in the file, which then passes the gate with exactly those.

    Returns:
        A functional tf_keras model, compiled like `model` with a fresh optimizer at the current
        learning rate; not compiled if `model` was not.

    Raises:
        UnsupportedError: something has no int8 form; the message lists all such layers, each with
            the way out; or there is a teacher and one of the models is not compiled.
        ArgumentError: the teacher does not fit the model, or `layer_dtypes` names a layer that
            there is not.

    Example:
        >>> qat = sft_keras.quantize(model)
        >>> qat.fit(train, epochs=3, validation_data=val)
        >>> sft_keras.convert(qat).save("model.tflite")
    """
    found: list[Problem] = []
    rewritten, settings, floats = _prepare(model, found, layer_dtypes or {})
    require_none(found, model.name)
    qat = int8.apply(rewritten, pixel_inputs(model), floats)
    _say_what_cells_lose(model, rewritten)
    if settings:
        qat.compile(**settings)
    if teacher is not None:
        teach(qat, teacher)
    logging.info("Quantized '%s': %d layers round as int8 does.", model.name, len(qat.layers))
    return qat


def _say_what_cells_lose(model: Any, rewritten: tf_keras.Model) -> None:
    """Names what acts in the training of a recurrent layer and not in that of its gates' layers."""
    whole = {layer.name for layer in limits.layers(rewritten) if hasattr(layer, "cell")}
    for layer in limits.layers(model):
        cell = getattr(layer, "cell", None)
        cells = getattr(cell, "cells", [cell])
        lost = [name for name in OF_CELLS if any(getattr(x, name, None) for x in cells)]
        if lost and layer.name not in whole:
            logging.warning("Layer '%s' has %s: trained without.", layer.name, ", ".join(lost))


def problems(model: Any, layer_dtypes: Mapping[str, str] | None = None) -> list[Problem]:
    """Everything that keeps a model from being quantized, found without training it.

    Args:
        model: as in `quantize`.
        layer_dtypes: likewise.

    Returns:
        One `Problem` with `layer`, `reason` and `way_out` for each; empty if `quantize` works.

    Raises:
        UnsupportedError: the model is subclassed or was never built, so it cannot be read.

    Example:
        >>> for problem in sft_keras.quantization.problems(model):
        ...     print(problem)
    """
    found: list[Problem] = []
    _prepare(model, found, layer_dtypes or {})
    return found


def _prepare(
    model: Any, found: list[Problem], layer_dtypes: Mapping[str, str]
) -> tuple[tf_keras.Model, dict, set[str]]:
    """The rewritten port of a model, its compile settings, and which layers are to stay float.

    Problems go to `found`.
    """
    flavors.require_tensorflow("quantize()")
    flavors.require_graph(model)
    chosen = by_path(model, layer_dtypes)
    if "int16x8" in chosen.values():
        raise ArgumentError(
            "quantize() leaves layers float32; for int16x8 give layer_dtypes to convert(), with "
            "representative_data=."
        )
    found += [
        Problem(name, f"is an Input of the dynamic shape {shape}", "give it fixed sizes")
        for name, shape in flavors.open_inputs(model).items()
    ]
    if flavors.has_loss_of_its_own(model):
        reason = "has a loss or metric of its own, by add_loss() or add_metric()"
        way_out = "take Model(model.inputs, model.outputs), and give its loss to compile()"
        found.append(Problem(model.name, reason, way_out))
    settings = compiling.settings(model, found)
    rewritten = port(model, found)
    for rewrite in PASSES:
        rewritten = rewrite(rewritten)
    dtypes = of_rewritten(rewritten, model, chosen)
    floats = {name for name, dtype in dtypes.items() if dtype == "float32"}
    layers = {call.layer for call in flavors.calls(rewritten)}
    rest = [x for x in layers if x.name not in floats and not flavors.is_input_layer(x)]
    if floats and not found and not rest:
        raise ArgumentError(
            f"layer_dtypes leaves every layer of model '{model.name}' float32; give it fewer, or "
            "convert the model itself with dtype='float32'."
        )
    found += int8.problems(rewritten, floats)
    return rewritten, settings, floats
