"""Which layers have an int8 form, and what is quantized in each."""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras
from keras import tree
from tf_keras import layers

from sft_keras import flavors
from sft_keras.quantization import limits
from sft_keras.quantization.graph import rewrite, single_readers
from sft_keras.quantization.problem import Problem


class Form(NamedTuple):
    """The int8 form of a layer.

    Args:
        kernels: attribute names of its kernels, each with the number of last axes that number the
            output channels (each has a range of its own; 0: one range for all).
        output: whether its output has a range of its own, rather than its input's or a fixed one.
        fuses: whether the int8 kernel applies a ReLU behind it itself.
    """

    kernels: dict[str, int] = {}  # noqa: RUF012 - never changed
    output: bool = True
    fuses: bool = False


MOVES = Form(output=False)
"""Only moves or drops numbers: the output has the input's range."""

FIXED = Form(output=False)
"""The output's range is fixed by the function: 0..1 or -1..1."""

FORMS = {
    layers.Conv2D: Form({"kernel": 1}, fuses=True),
    layers.DepthwiseConv2D: Form({"depthwise_kernel": 2}, fuses=True),
    layers.Conv2DTranspose: Form({"kernel": 0}),
    layers.Dense: Form({"kernel": 0}, fuses=True),
    **dict.fromkeys((layers.Add, layers.Subtract, layers.Multiply), Form(fuses=True)),
    **dict.fromkeys((layers.Maximum, layers.Minimum, layers.Concatenate), Form()),
    **dict.fromkeys((layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D), Form()),
    **dict.fromkeys((layers.AveragePooling2D, layers.MaxPooling2D, layers.UpSampling2D), MOVES),
    **dict.fromkeys((layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D), MOVES),
    **dict.fromkeys((layers.ZeroPadding1D, layers.ZeroPadding2D), MOVES),
    **dict.fromkeys((layers.Cropping1D, layers.Cropping2D, layers.Cropping3D), MOVES),
    **dict.fromkeys((layers.Flatten, layers.Reshape, layers.Permute, layers.Identity), MOVES),
    **dict.fromkeys((layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D), MOVES),
    **dict.fromkeys((layers.GaussianNoise, layers.GaussianDropout, layers.AlphaDropout), MOVES),
    layers.ActivityRegularization: MOVES,
    **dict.fromkeys((layers.RandomBrightness, layers.RandomContrast, layers.RandomFlip), MOVES),
    **dict.fromkeys((layers.RandomRotation, layers.RandomTranslation, layers.RandomZoom), MOVES),
    layers.LeakyReLU: Form(),
    layers.Softmax: FIXED,
}

ACTIVATIONS = {
    **dict.fromkeys(("relu", "relu6", "leaky_relu", "swish", "silu"), Form()),
    **dict.fromkeys(("sigmoid", "tanh", "softmax"), FIXED),
    "linear": MOVES,
}

WAYS_OUT = {
    "BatchNormalization": "let it normalize the last axis",
    "Normalization": "let it normalize the last axis",
    "ReLU": "use max_value=6 or none, and no threshold",
    "PReLU": "use LeakyReLU or ReLU, or convert the float model with representative_data=",
    "Activation": f"use one of {', '.join(ACTIVATIONS)}",
}
OTHER_WAY_OUT = (
    "convert the float model with representative_data=, or replace it by convolutions, Dense, "
    "pooling, merges and ReLU"
)


def problems(model: tf_keras.Model, floats: Collection[str] = ()) -> list[Problem]:
    """The layers of a rewritten model that have no int8 form, but for those that stay `floats`."""
    found = dict.fromkeys(
        call.layer
        for call in flavors.calls(model)
        if not flavors.is_input_layer(call.layer) and form_of(call.layer) is None
    )
    return [
        *(_problem(layer) for layer in found if layer.name not in floats),
        *map(_masking_problem, dict.fromkeys(_masking(model, floats))),
    ]


def _masking(model: tf_keras.Model, floats: Collection[str]) -> Iterator[Any]:
    """The layers left float that hand a mask on to one that is not."""
    for call in flavors.calls(model):
        if call.layer.name not in floats:
            yield from (flavors.producer(x) for x in call.inputs if flavors.has_mask(x))


def _masking_problem(layer: Any) -> Problem:
    reason = f"is a {type(layer).__name__} whose mask no int8 layer reads"
    return Problem(layer.name, reason, "leave the padding out, or what reads the mask float too")


def _problem(layer: Any) -> Problem:
    if limit := limits.problem_of(layer):
        return limit
    kind = type(layer).__name__
    function = f" '{layer.activation.__name__}'" if kind == "Activation" else ""
    way_out = WAYS_OUT.get(kind, OTHER_WAY_OUT)
    what = f"a {kind}{function}"
    if flavors.is_operator(layer):
        what = f"the operator '{flavors.operator_name(layer)}'"
    return Problem(layer.name, f"is {what} that has no int8 form", way_out)


def form_of(layer: Any) -> Form | None:
    """The int8 form of a layer, None if it has none."""
    if limits.problem_of(layer):
        return None
    if isinstance(layer, layers.Activation):
        return ACTIVATIONS.get(getattr(layer.activation, "__name__", ""))
    if isinstance(layer, layers.ReLU):
        plain = layer.max_value in (None, 6) and not layer.negative_slope and not layer.threshold
        return Form() if plain else None
    return FORMS.get(type(layer))


def apply(
    model: tf_keras.Model, pixels: Collection[str] = (), floats: Collection[str] = ()
) -> tf_keras.Model:
    """Wraps every layer of a rewritten model so that it computes as its int8 form will.

    Args:
        model: functional tf_keras model without `problems`.
        pixels: names of inputs that take bytes.
        floats: names of layers that stay as they are.

    Returns:
        A new tf_keras model with the layers of `model` inside, not compiled.
    """
    # Here TFMOT is needed for the first time; importing it takes seconds.
    from sft_keras.quantization.tfmot import PIXELS, wrap

    left_to_reader = _left_to_reader(model, floats)
    wrapped: dict[int, Any] = {}

    def once(key, layer, kernels, output, inputs):
        if id(key) not in wrapped:
            shapes = tree.map_structure(lambda x: x.shape, inputs)
            wrapped[id(key)] = wrap(layer, kernels, output, shapes)
        return wrapped[id(key)]

    def quantized_input(x):
        if not flavors.is_symbolic(x):
            return x
        producer = flavors.producer(x)
        if not flavors.is_input_layer(producer) and producer.name not in floats:
            return x
        if "float" not in x.dtype.name:
            return x  # tokens, which are looked up
        output = PIXELS if producer.name in pixels else True
        name = f"{flavors.scope_name(producer.name)}_int8"
        return once(x, layers.Activation("linear", name=name), {}, output, x)(x)

    # The wrappers hold nothing that autograph has to convert, and it takes most of the time.
    @tf.autograph.experimental.do_not_convert
    def call(layer, *args, **kwargs):
        if layer.name in floats:
            return layer(*args, **kwargs)
        form = form_of(layer) or Form()
        args, kwargs = tree.map_structure(quantized_input, (args, kwargs))
        output = form.output and layer not in left_to_reader
        return once(layer, layer, form.kernels, output, args[0])(*args, **kwargs)

    return rewrite(model, call)


def _left_to_reader(model: tf_keras.Model, floats: Collection[str]) -> set:
    """Layers whose output is quantized behind the ReLU or Concatenate that alone reads it."""
    return {
        layer
        for layer, reader in single_readers(model).items()
        if reader.name not in floats
        and (
            (_fuses(layer) and _is_relu(reader))
            or ((_fuses(layer) or _is_relu(layer)) and isinstance(reader, layers.Concatenate))
        )
    }


def _fuses(layer: Any) -> bool:
    form = form_of(layer)
    return form is not None and form.fuses


def _is_relu(layer: Any) -> bool:
    function = getattr(layer, "activation", None)
    return isinstance(layer, layers.ReLU) or getattr(function, "__name__", "") in ("relu", "relu6")
