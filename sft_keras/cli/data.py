"""The dataset that the flags name, in the shape that the model takes."""

import argparse
from typing import Any

import keras

from sft_keras import datasets, flavors
from sft_keras.errors import DataError, UnsupportedError
from sft_keras.tflite import LiteModel
from sft_keras.training import require_compiled

CLASS_LOSS = "sparse_categorical_crossentropy"
COLOR_MODES = {1: "grayscale", 3: "rgb", 4: "rgba"}


def load(args: argparse.Namespace, model: Any | None = None) -> datasets.Dataset:
    """Loads `--dataset` and seeds every random generator with `--seed`.

    Args:
        args: parsed flags of `arguments.add_dataset`, and `image_size` where a command has it.
        model: the Keras model or `LiteModel` that will be fed; images are resized to its input.

    Raises:
        DataError: the data cannot be read, or does not fit the model.
        UnsupportedError: the model has several inputs, or its output has no axis of classes.
    """
    keras.utils.set_random_seed(args.seed)
    given = {"batch_size": args.batch_size, "seed": args.seed}
    if model is None:
        return datasets.load(args.dataset, image_size=args.image_size, **given)
    shape, outputs = _shapes(model)
    data = datasets.load(args.dataset, **_image_options(shape), **given)
    _require_fit(data, shape, outputs, _named(model))
    return data


def load_to_train(args: argparse.Namespace, model: Any | None = None) -> datasets.Dataset:
    """Loads as `load` does, for a model that `fit` will train on the data.

    Raises:
        DataError: the data cannot be read, or does not fit the model.
        UnsupportedError: the model is not compiled, or not for labels that are class numbers.
    """
    data = load(args, model)
    if model is not None:
        _require_class_numbers(model)
    return data


def _require_class_numbers(model):
    require_compiled(model)
    losses = flavors.output_losses(model)
    if len(losses) > 1:
        raise UnsupportedError(
            f"Model '{model.name}' has {len(losses)} outputs and a dataset has labels for one; "
            "use the Python functions for such a model."
        )
    loss = losses[0]
    name = loss if isinstance(loss, str) else getattr(loss, "__name__", type(loss).__name__)
    if name.replace("_", "").lower() != CLASS_LOSS.replace("_", ""):
        has = "no loss" if loss is None else f"the loss {name}"
        raise UnsupportedError(
            f"Model '{model.name}' has {has} and a dataset's labels are class numbers; compile it "
            f"with {CLASS_LOSS} and save it again."
        )


def _named(model):
    # A file's name is its path, and has quotes already.
    return model.name if isinstance(model, LiteModel) else f"'{model.name}'"


def _shapes(model):
    """The shape of one sample, and the number of outputs."""
    if isinstance(model, LiteModel):
        inputs, outputs = model.inputs, model.outputs
    else:
        inputs, outputs = flavors.inputs(model), flavors.outputs(model)
    if len(inputs) != 1:
        raise UnsupportedError(
            f"Model {_named(model)} has {len(inputs)} inputs and a dataset feeds one; "
            "use the Python functions for such a model."
        )
    if len(outputs[0].shape) < 2:
        raise UnsupportedError(
            f"Model {_named(model)} puts out single numbers, and a dataset's classes need one "
            "each; use the Python functions for such a model."
        )
    return tuple(inputs[0].shape[1:]), outputs[0].shape[-1]


def _image_options(shape):
    if len(shape) == 3 and None not in shape and shape[2] in COLOR_MODES:
        return {"image_size": shape[:2], "color_mode": COLOR_MODES[shape[2]]}
    return {}


def _require_fit(data, shape, outputs, name):
    any_size = (None, -1)  # Keras' and TFLite's marks of an axis of any length
    fits = len(shape) == len(data.input_shape) and all(
        wanted in (*any_size, given) for wanted, given in zip(shape, data.input_shape, strict=True)
    )
    if not fits:
        raise DataError(
            f"The dataset's samples have shape {data.input_shape} and model {name} takes {shape}; "
            "give another dataset."
        )
    if data.num_classes > outputs:
        raise DataError(
            f"The dataset has {data.num_classes} classes and model {name} has {outputs} outputs; "
            "give another dataset."
        )
