"""Carries compile settings from a model of either Keras to a tf_keras one."""

import inspect
from typing import Any

import tf_keras
from absl import logging
from keras import tree

from sft_keras import flavors
from sft_keras.quantization.arguments import arguments
from sft_keras.quantization.problem import Problem, Unportable

# Strings that tf_keras resolves by the shape of the output.
BY_SHAPE = {"accuracy", "acc", "crossentropy", "ce"}

REDUCTIONS = {
    "sum_over_batch_size": "sum_over_batch_size",
    "mean": "sum_over_batch_size",
    "sum": "sum",
    "none": "none",
    None: "none",
    "auto": "auto",  # of tf_keras alone
}
"""What tf_keras calls the reductions of Keras 3."""


def settings(model: Any, problems: list[Problem]) -> dict:
    """The arguments of `compile` that make a tf_keras model train like `model`.

    Args:
        model: model of either Keras.
        problems: what tf_keras has no counterpart of is added here.

    Returns:
        Keyword arguments, empty if the model was never compiled. The optimizer is a fresh one with
        the same hyper-parameters and the current learning rate.
    """
    if not flavors.is_compiled(model):
        return {}
    given = flavors.compile_arguments(model)
    ported = {key: given.get(key) for key in ("loss_weights", "run_eagerly", "steps_per_execution")}
    ports = {
        "optimizer": lambda _: _optimizer(model.optimizer),
        "loss": lambda x: _all(_named(tf_keras.losses), x),
        "metrics": lambda x: _all(_named(tf_keras.metrics), x),
        "weighted_metrics": lambda x: _all(_named(tf_keras.metrics), x),
    }
    for key, port in ports.items():
        try:
            ported[key] = port(given.get(key))
        except Unportable as e:
            problems.append(Problem(f"compile({key}=...)", e.reason, e.way_out))
    return ported


def _optimizer(optimizer: Any) -> Any:
    if optimizer is None:
        return None
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # that of LossScaleOptimizer
    config = optimizer.get_config()
    config.pop("is_legacy_optimizer", None)  # which tf_keras notes of its class
    if "learning_rate" in config:
        config["learning_rate"] = _current_rate(optimizer)
    fresh = _like(tf_keras.optimizers, optimizer, config)
    for key in sorted(config.keys() - arguments(type(fresh))):
        if config[key] is not None:
            kind = type(fresh).__name__
            logging.warning("tf_keras' %s has no %s=%r: trained without.", kind, key, config[key])
    flavors.leave_out_of_weight_decay(fresh, optimizer)
    return fresh


def _current_rate(optimizer: Any) -> float:
    """The learning rate now, or a tenth of the first where a schedule has run out."""
    rate = optimizer.learning_rate
    if isinstance(rate, tf_keras.optimizers.schedules.LearningRateSchedule):
        rate = rate(optimizer.iterations)  # Legacy optimizers give the schedule itself.
    schedule = optimizer.get_config()["learning_rate"]
    if float(rate) > 0 or not isinstance(schedule, dict):
        return float(rate)
    saving = flavors.library(optimizer).saving
    tenth = float(saving.deserialize_keras_object(schedule)(0)) / 10
    logging.warning("The learning rate schedule has run out at 0: quantized at %g.", tenth)
    return tenth


def _all(port: Any, structure: Any) -> Any:
    return tree.map_structure(port, structure)


def _named(module: Any) -> Any:
    """The port of a loss or metric: a string, an object, a function of Keras or of the user."""

    def port(value: Any) -> Any:
        if value is None or (isinstance(value, str) and value in BY_SHAPE):
            return value
        if isinstance(value, str):
            return _known(module, value)
        if inspect.isfunction(value):
            return _known(module, value.__name__) if flavors.is_of_keras(value) else value
        if not hasattr(value, "get_config"):  # a method, a partial, an object that can be called
            return value
        return _like(module, value, flavors.loss_config(value))

    return port


def _known(module: Any, name: str) -> str:
    try:
        module.get(name)
    except ValueError as e:
        raise _missing(name) from e
    return name


def _like(module: Any, thing: Any, config: dict) -> Any:
    """A fresh object of the tf_keras class with the same name as that of `thing`."""
    kind = type(thing).__name__
    new_class = getattr(module, kind, None)
    if new_class is None or not flavors.is_of_keras(type(thing)):
        raise _missing(kind)
    known = arguments(new_class)
    if module is tf_keras.losses and "reduction" in config:
        config = {**config, "reduction": _reduction(kind, config["reduction"])}
    return new_class.from_config({key: value for key, value in config.items() if key in known})


def _reduction(kind: str, reduction: Any) -> str:
    if reduction not in REDUCTIONS:
        reason = f"is a {kind} with reduction={reduction!r}, which tf_keras has not"
        raise Unportable(reason, f"use one of {', '.join(map(repr, REDUCTIONS))}")
    return REDUCTIONS[reduction]


def _missing(name: str) -> Unportable:
    return Unportable(
        f"is '{name}', which tf_keras has not",
        "compile with one that both have, or quantize the model uncompiled and compile the result",
    )
