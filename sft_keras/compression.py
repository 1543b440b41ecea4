"""`compress`: the whole chain in one call."""

import dataclasses
from typing import Any

from absl import logging

from sft_keras import flavors
from sft_keras.backups import Backup, data_settings, fingerprint
from sft_keras.callbacks import SoftFilterPrune
from sft_keras.cloning import compiled_copy
from sft_keras.distillation import Distill
from sft_keras.labels import require_labels
from sft_keras.quantization import problems, quantize
from sft_keras.quantization.problem import require_none
from sft_keras.shrinking import shrink
from sft_keras.tflite import LiteModel, Verification, convert, verify
from sft_keras.training import fit


@dataclasses.dataclass(frozen=True)
class Compression:
    """What every stage of `compress` made.

    Attributes:
        pruned: the model with its weakest filters at zero.
        shrunk: the same outputs without these filters.
        quantized: the `tf_keras.Model` of `shrunk`, trained with fake quantization.
        lite: the int8 file.
        verification: accuracy and parity of `lite` on every installed runtime.
        history: what the epochs of pruning logged, by name, one number an epoch.
    """

    pruned: Any
    shrunk: Any
    quantized: Any
    lite: LiteModel
    verification: Verification
    history: dict[str, list[float]]


def compress(
    model: Any,
    train: Any,
    val: Any,
    *,
    epochs: int = 30,
    qat_epochs: int = 5,
    prune: SoftFilterPrune | None = None,
    distill: bool = False,
    backup: Backup | None = None,
    verbose: int | str = "auto",
) -> Compression:
    """Prunes, shrinks, quantizes, converts and verifies a trained classifier.

    Both trainings let the learning rate fall, as `training.fit` does.

    Args:
        model: a trained, compiled model of Keras 3 or tf_keras; it is not changed.
        train: training data, whatever `fit` takes; arrays as a tuple `(x, y)`.
        val: held-out data, the same.
        epochs: epochs of pruning and fine-tuning.
        qat_epochs: epochs of quantization-aware training.
        prune: how to prune; `SoftFilterPrune()` by default.
        distill: whether `model` teaches in both trainings; see `Distill`.
        backup: where to save every epoch of both trainings; a call with the same model, data and
            arguments goes on from there. The order in which `fit` shuffles arrays starts anew.
            Other arrays are refused; of other data it is noticed only where a `tf.data.Dataset`
            has batches of another shape, type or number, or where the kind of data is another.
        verbose: as for `fit`.

    Returns:
        A `Compression` with the model of each stage, the int8 file and its verification.

    Raises:
        DataError: `train` or `val` has no labels, and the model's loss compares with them.
        UnsupportedError: the model is not compiled, has no prunable filter, or holds what cannot
            be quantized.
        FileError: what `backup` holds is of another model, other data or other arguments, or it
            is damaged.
        GateError: the converted file is not wholly int8.

    Example:
        >>> result = sft_keras.compress(model, train, val)
        >>> result.lite.save("model.tflite")
        >>> print(result.verification)
    """
    flavors.require_tensorflow("compress()")
    require_none(problems(model), model.name)
    require_labels(model, train=train, val=val)
    prune = prune or SoftFilterPrune()
    pruned = compiled_copy(model)
    logging.info("Pruning '%s' for %d epochs.", model.name, epochs)
    saved, common = None, {"distill": distill}
    if backup:  # else no config is needed, which a criterion may not have
        common |= {"train": data_settings(train), "val": data_settings(val)}
        settings = {"model": fingerprint(model), "epochs": epochs, **common, **prune.get_config()}
        saved = backup.training("prune", settings)
    callbacks = [prune, *([Distill(model)] if distill else [])]
    history = fit(pruned, train, val, epochs, callbacks=callbacks, backup=saved, verbose=verbose)
    shrunk = shrink(pruned)
    quantized = quantize(shrunk, teacher=model if distill else None)
    logging.info("Quantization-aware training for %d epochs.", qat_epochs)
    if backup:
        settings = {"model": fingerprint(shrunk), "qat_epochs": qat_epochs, **common}
        saved = backup.training("quantize", settings)
    fit(quantized, train, val, qat_epochs, backup=saved, verbose=verbose)
    logging.info("Converting to int8.")
    lite = convert(quantized)
    logging.info("Verifying on every installed runtime.")
    return Compression(pruned, shrunk, quantized, lite, verify(lite, val), history)
