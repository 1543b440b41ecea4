"""`shrink`: the public function."""

from typing import Any

import numpy as np
from absl import logging

from sft_keras import flavors
from sft_keras.channels import ChannelGroups
from sft_keras.channels.mask import masked, read_mask, require_filters_left
from sft_keras.cloning import assign, clone
from sft_keras.errors import UnsupportedError
from sft_keras.plans import Plan, mask_of_plan
from sft_keras.shrinking.cut import Cuts
from sft_keras.shrinking.optimizer import compile_like
from sft_keras.shrinking.proof import prove_equal


def shrink(model: Any, plan: Plan | None = None) -> Any:
    """Removes filters of a model, and proves that its outputs stay those of the masked model.

    Without a plan a filter goes when everything that it owns, in all layers of its channel group,
    is exactly zero: kernel, bias, and γ and β of the normalizations behind. `SoftFilterPrune`
    leaves a model so. With a plan the filters it names go, whatever their weights; the outputs are
    those that `sft_keras.mask(model, plan)` would leave.

    Layer names, dtype policies, compile settings and the optimizer's state stay; the penalties and
    masks of `sft_keras`, if layers were made with any, do not, nor does a subclass with its own
    `train_step`: what comes back is a plain model.

    Args:
        model: a built model of Keras 3 or tf_keras; it is not changed. A subclassed model comes
            back functional.
        plan: which filters to remove; by default those that are zero.

    Returns:
        A new plain model of the same flavor with fewer filters, independent of `sft_keras`.

    Raises:
        UnsupportedError: the model cannot be read, was never built, holds NaN, or has a loss of
            its own by `add_loss`.
        ArgumentError: the plan does not fit the model.
        ShrinkError: a layer would be left empty, or the proof failed.

    Example:
        >>> model.fit(train, epochs=30, callbacks=[sft_keras.SoftFilterPrune()])
        >>> small = sft_keras.shrink(model)
        >>> small.save("small.keras")
    """
    groups = ChannelGroups(model)
    require_finite(groups.model)
    if flavors.has_loss_of_its_own(groups.model):  # which a new model would lack
        raise UnsupportedError(
            f"Model '{model.name}' has a loss or metric of its own, by add_loss() or add_metric(); "
            "shrink a model without, made by Model(model.inputs, model.outputs), and give its loss "
            "to compile()."
        )
    if plan is not None:
        pruned = mask_of_plan(groups, plan)
        with masked(groups, pruned):
            return _without(groups, pruned, model)
    pruned = read_mask(groups)
    require_filters_left(groups, pruned)
    if not pruned.any():
        logging.warning("No filter of model '%s' is zero: shrink only copies it.", model.name)
    return _without(groups, pruned, model)


def _without(groups: ChannelGroups, mask: np.ndarray, model: Any) -> Any:
    """The shrunk model, from one whose masked filters are zero."""
    cuts = Cuts(groups, mask)
    small = clone(groups.model, cuts.config, cuts.arguments)
    assign(small, map(cuts.value, flavors.variables(groups.model)), groups.model)
    difference = prove_equal(groups, small, mask, cuts)
    compile_like(model, groups.model, small, cuts)
    logging.info(
        "Shrunk '%s' by %d filters; outputs agree to %.1e.", model.name, mask.sum(), difference
    )
    return small


def require_finite(model: Any) -> None:
    """Refuses a model with NaN or infinite weights.

    Raises:
        UnsupportedError: names the first such layer.
    """
    for layer in model.layers:
        for weights in layer.get_weights():
            if weights.dtype.kind not in "iubOSU" and not np.isfinite(weights).all():
                raise UnsupportedError(
                    f"Layer '{layer.name}' has NaN or infinite weights; "
                    "train the model again with a lower learning rate."
                )
