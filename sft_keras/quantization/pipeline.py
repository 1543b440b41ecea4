"""`quantize`: the public function, and the list of what stands in its way."""

from typing import Any

import tf_keras
from absl import logging

from sft_keras import flavors
from sft_keras.distillation import teach
from sft_keras.quantization import compiling, int8
from sft_keras.quantization.passes import PASSES
from sft_keras.quantization.pixels import pixel_inputs
from sft_keras.quantization.port import port
from sft_keras.quantization.problem import Problem, require_none


def quantize(model: Any, teacher: Any = None) -> tf_keras.Model:
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

    Returns:
        A functional tf_keras model, compiled like `model` with a fresh optimizer at the current
        learning rate; not compiled if `model` was not.

    Raises:
        UnsupportedError: something has no int8 form; the message lists all such layers, each with
            the way out; or there is a teacher and one of the models is not compiled.
        ArgumentError: the teacher does not fit the model.

    Example:
        >>> qat = sft_keras.quantize(model)
        >>> qat.fit(train, epochs=3, validation_data=val)
        >>> sft_keras.convert(qat).save("model.tflite")
    """
    found: list[Problem] = []
    rewritten, settings = _prepare(model, found)
    require_none(found, model.name)
    qat = int8.apply(rewritten, pixel_inputs(model))
    if settings:
        qat.compile(**settings)
    if teacher is not None:
        teach(qat, teacher)
    logging.info("Quantized '%s': %d layers round as int8 does.", model.name, len(qat.layers))
    return qat


def problems(model: Any) -> list[Problem]:
    """Everything that keeps a model from being quantized, found without training it.

    Args:
        model: as in `quantize`.

    Returns:
        One `Problem` with `layer`, `reason` and `way_out` for each; empty if `quantize` works.

    Raises:
        UnsupportedError: the model is subclassed or was never built, so it cannot be read.

    Example:
        >>> for problem in sft_keras.quantization.problems(model):
        ...     print(problem)
    """
    found: list[Problem] = []
    _prepare(model, found)
    return found


def _prepare(model: Any, found: list[Problem]) -> tuple[tf_keras.Model, dict]:
    """The rewritten port of a model and its compile settings; problems go to `found`."""
    flavors.require_graph(model)
    settings = compiling.settings(model, found)
    rewritten = port(model, found)
    for rewrite in PASSES:
        rewritten = rewrite(rewritten)
    found += int8.problems(rewritten)
    return rewritten, settings
