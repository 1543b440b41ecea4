"""What a model was compiled with."""

from typing import Any

from keras import tree

from sft_keras.flavors.arrays import to_numpy
from sft_keras.flavors.graphs import output_structure
from sft_keras.flavors.kinds import is_tf_keras, library
from sft_keras.flavors.tracing import as_graph


def is_compiled(model: Any) -> bool:
    """Whether `compile` was called."""
    return model._is_compiled if is_tf_keras(model) else model.compiled  # tf_keras: no public one


def is_built(optimizer: Any) -> bool:
    """Whether an optimizer has its slot variables."""
    if is_tf_keras(optimizer):
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        return getattr(optimizer, "_built", False)  # no public one; some get it only when built
    return optimizer.built


def compile_arguments(model: Any) -> dict:
    """What `compile` was called with, with copies of the optimizer and of metric objects.

    Returns:
        Keyword arguments for `compile`; the optimizer keeps its hyper-parameters, not its state.
    """
    # Neither Keras gives back the objects; the public get_compile_config fails on plain functions.
    given = dict(model._get_compile_args() if is_tf_keras(model) else model._compile_config.config)
    if is_tf_keras(model):
        given["jit_compile"] = model.jit_compile
        given["run_eagerly"] = model._run_eagerly  # the public one is true for dynamic layers too
        # A variable, of several values under a strategy.
        given["steps_per_execution"] = int(to_numpy(model._steps_per_execution))
    given["optimizer"] = fresh(model.optimizer)
    for key in ("metrics", "weighted_metrics"):
        given[key] = tree.map_structure(
            lambda x: fresh(x) if isinstance(x, library(model).metrics.Metric) else x, given[key]
        )
    return given


def fresh(thing: Any) -> Any:
    """A copy, without state, of a layer, optimizer or metric."""
    return type(thing).from_config(thing.get_config())


def loss_config(loss: Any) -> dict:
    """The constructor arguments of a loss object, with its function's: Huber forgets `delta`."""
    return {**loss.get_config(), **getattr(loss, "_fn_kwargs", {})}


def output_losses(model: Any) -> list:
    """The loss that a compiled model was given for each output, flat; None where it has none."""
    loss, view = compile_arguments(model)["loss"], as_graph(model)
    structure = output_structure(view)
    if isinstance(loss, dict):
        by_key = isinstance(structure, dict) and loss.keys() <= structure.keys()
        return [loss.get(name) for name in (sorted(structure) if by_key else view.output_names)]
    return [*loss] if isinstance(loss, list | tuple) else [loss] * len(tree.flatten(structure))


def trains_by_its_loss(model: Any) -> bool:
    """Whether `fit` minimizes what `compute_loss` gives: a `train_step` of the user's may not."""
    return type(model).train_step is library(model).Model.train_step
