"""What a model was compiled with."""

from typing import Any

from absl import logging
from keras import tree

from sft_keras.flavors.arrays import to_numpy
from sft_keras.flavors.graphs import output_structure
from sft_keras.flavors.kinds import is_tf_keras, library
from sft_keras.flavors.tracing import as_graph


def is_compiled(model: Any) -> bool:
    """Whether `compile` was called."""
    return model._is_compiled if is_tf_keras(model) else model.compiled  # tf_keras: no public one


def has_loss_of_its_own(model: Any) -> bool:
    """Whether `add_loss` or `add_metric` was called on a model, not in a layer of it."""
    added = {"AddLoss", "AddMetric"} & {type(layer).__name__ for layer in model.layers}
    return bool(added) or len(model.losses) > sum(len(layer.losses) for layer in model.layers)


def is_built(optimizer: Any) -> bool:
    """Whether an optimizer has its slot variables."""
    if is_tf_keras(optimizer):
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        return getattr(optimizer, "_built", False)  # no public one; some get it only when built
    return optimizer.built


def is_legacy(optimizer: Any) -> bool:
    """Whether an optimizer is of the kind that tf_keras had before it listed its variables."""
    if not is_tf_keras(optimizer):
        return False
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return isinstance(optimizer, library(optimizer).optimizers.legacy.Optimizer)


def unlisted_variables(optimizer: Any) -> list:
    """What an optimizer knows of the past beside its `variables`: tf_keras' Nadam, a product."""
    product = getattr(getattr(optimizer, "inner_optimizer", optimizer), "_u_product", None)
    listed = product is None or any(product is x for x in optimizer.variables)
    return [] if listed else [product]


def averages_weights(optimizer: Any) -> bool:
    """Whether the weights become moving averages of themselves at the end of `fit`."""
    # The wrapper of mixed precision has a `use_ema` of its own, and Keras 3 does not pass it on.
    return bool(getattr(getattr(optimizer, "inner_optimizer", optimizer), "use_ema", False))


def compile_arguments(model: Any) -> dict:
    """What `compile` was called with, with copies of the optimizer and of metric objects.

    Metrics that cannot be made anew from their config are left out, which is said in the log.

    Returns:
        Keyword arguments for `compile`; the optimizer keeps its hyper-parameters, not its state.
    """
    given = _given(model)
    given["optimizer"] = fresh(model.optimizer)
    leave_out_of_weight_decay(given["optimizer"], model.optimizer)
    for key in ("metrics", "weighted_metrics"):
        metrics = tree.map_structure(_fresh_metric, given[key])
        given[key] = metrics if is_tf_keras(model) else _without_none(metrics)
    return given


def _given(model: Any) -> dict:
    """What `compile` was called with, the same objects."""
    # Neither Keras gives back the objects; the public get_compile_config fails on plain functions.
    given = dict(model._get_compile_args() if is_tf_keras(model) else model._compile_config.config)
    if is_tf_keras(model):
        given["jit_compile"] = model.jit_compile
        given["run_eagerly"] = model._run_eagerly  # the public one is true for dynamic layers too
        # A variable, of several values under a strategy.
        given["steps_per_execution"] = int(to_numpy(model._steps_per_execution))
    return given


def _fresh_metric(metric: Any) -> Any:
    """A copy without state, or None where the config is not enough; names and functions stay."""
    if not isinstance(metric, library(metric).metrics.Metric):
        return metric
    try:
        return fresh(metric)
    except Exception:  # a user's class may raise anything
        logging.warning(
            "Metric '%s' cannot be made anew from its config: left out; give its class a "
            "get_config() that holds all arguments.",
            metric.name,
        )
        return None


def _without_none(metrics: Any, inner: bool = False) -> Any:
    """The same metrics without None, which Keras 3 takes for none; outputs keep their places."""
    if isinstance(metrics, dict):
        return {name: _without_none(x, True) for name, x in metrics.items()}
    if isinstance(metrics, list | tuple):
        parts = [_without_none(x, True) for x in metrics]
        return [x for x in parts if x != []] if inner else parts
    return [] if inner and metrics is None else metrics


def leave_out_of_weight_decay(new: Any, old: Any) -> None:
    """Calls `exclude_from_weight_decay` as it was called for `old`, of which no config tells."""
    new, old = (getattr(x, "inner_optimizer", x) for x in (new, old))
    # Neither Keras tells it publicly. Names are kept as they are by one, as a pattern by the other.
    pattern = getattr(old, "_exclude_from_weight_decay_pattern", None)
    names = [pattern.pattern] if pattern else getattr(old, "_exclude_from_weight_decay_names", [])
    if names:
        new.exclude_from_weight_decay(var_names=names)
    if getattr(old, "_exclude_from_weight_decay", None):  # ids of the old model's variables
        logging.warning(
            "Optimizer %s leaves a list of variables out of weight decay, which a copy of it "
            "does not: call exclude_from_weight_decay(var_names=...) for it instead.",
            type(old).__name__,
        )


def fresh(thing: Any) -> Any:
    """A copy, without state, of a layer, optimizer or metric."""
    return type(thing).from_config(thing.get_config())


def loss_config(loss: Any) -> dict:
    """The constructor arguments of a loss object, with its function's: Huber forgets `delta`."""
    return {**loss.get_config(), **getattr(loss, "_fn_kwargs", {})}


def output_losses(model: Any) -> list:
    """The loss that a compiled model was given for each output, flat; None where it has none."""
    loss, view = _given(model)["loss"], as_graph(model)
    structure = output_structure(view)
    if isinstance(loss, dict):
        by_key = isinstance(structure, dict) and loss.keys() <= structure.keys()
        return [loss.get(name) for name in (sorted(structure) if by_key else view.output_names)]
    return [*loss] if isinstance(loss, list | tuple) else [loss] * len(tree.flatten(structure))


def trains_by_its_loss(model: Any) -> bool:
    """Whether `fit` minimizes what `compute_loss` gives: a `train_step` of the user's may not."""
    return type(model).train_step is library(model).Model.train_step
