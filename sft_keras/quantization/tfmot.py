"""TFMOT's wrapper, and the quantizers that it is used with. No other module touches TFMOT.

TFMOT's `quantize_apply` is not used: it finds `Conv2D`, `ReLU` and the like by patterns over layer
names, refuses what no pattern covers, and leaves out the kernel of a convolution before a ReLU.
"""

import contextlib
import os
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from sft_keras.quantization import trust
from sft_keras.quantization.graph import like
from sft_keras.quantization.pixels import HIGH, LOW

PIXELS = "pixels"


@contextlib.contextmanager
def _environment_kept():
    """Undoes what importing TFMOT does: TF_USE_LEGACY_KERAS=1, for the whole process."""
    before = os.environ.get("TF_USE_LEGACY_KERAS")
    # Whoever looks at `tf.keras` first settles which Keras it is; with the variable set, tf_keras.
    _ = tf.keras.layers
    yield
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
    if before is not None:
        os.environ["TF_USE_LEGACY_KERAS"] = before


with _environment_kept():
    import tensorflow_model_optimization as tfmot


@tf_keras.saving.register_keras_serializable("sft_keras")
class RecentRange(tfmot.quantization.keras.quantizers.Quantizer):
    """8-bit quantizer whose range is that of the data of late: it grows at once and shrinks slowly.

    TFMOT's own starts at ±6 and moves by 1/1000 a step: after the few hundred steps of a
    fine-tuning it still clips what is larger, and wastes codes on what is smaller. A mean of the
    batches' ranges is too narrow where a batch is small.
    """

    HORIZON = 3200.0  # samples in which a range that is too wide shrinks by two thirds

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict:
        """Makes the range's variables as weights of `layer`."""

        def weight(suffix, value):
            initializer = tf_keras.initializers.Constant(value)
            return layer.add_weight(f"{name}_{suffix}", initializer=initializer, trainable=False)

        return {"min": weight("min", -6.0), "max": weight("max", 6.0), "steps": weight("steps", 0)}

    def __call__(self, inputs: Any, training: bool, weights: dict, **kwargs: Any) -> Any:
        """Rounds `inputs` to the range; while training, moves the range first."""
        low, high = weights["min"], weights["max"]
        if training:
            samples = tf.cast(tf.shape(inputs)[0], low.dtype)
            is_first = tf.equal(weights["steps"].assign_add(1.0), 1.0)
            rate = tf.where(is_first, 1.0, tf.minimum(samples / self.HORIZON, 1.0))
            # Zero must be in the range: it is what borders are padded with.
            least = tf.minimum(tf.reduce_min(inputs), 0.0)
            most = tf.maximum(tf.reduce_max(inputs), 0.0)
            low = low.assign(tf.minimum(least, low + rate * (least - low)))
            high = high.assign(tf.maximum(most, high + rate * (most - high)))
        return tf.quantization.fake_quant_with_min_max_vars(inputs, low, high, num_bits=8)

    def get_config(self) -> dict:
        """Nothing to keep."""
        return {}


@tf_keras.saving.register_keras_serializable("sft_keras")
class ByteRange(tfmot.quantization.keras.quantizers.Quantizer):
    """8-bit quantizer of pixels: a step is 1, whatever the images that it is trained on."""

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict:
        """Makes no variables."""
        return {}

    def __call__(self, inputs: Any, training: bool, weights: dict, **kwargs: Any) -> Any:
        """Rounds `inputs` to bytes."""
        return tf.quantization.fake_quant_with_min_max_args(inputs, LOW, HIGH, num_bits=8)

    def get_config(self) -> dict:
        """Nothing to keep."""
        return {}


@tf_keras.saving.register_keras_serializable("sft_keras")
class SymmetricRange(tfmot.quantization.keras.quantizers.Quantizer):
    """8-bit quantizer of a kernel to ±max, for each output channel or for all together.

    TFMOT's own takes the last axis for the output channels, which for a depthwise kernel
    (height, width, channels, multiplier) leaves one range for all channels; and it only looks at
    the kernel while training. Here nothing is stored: the range is always that of the kernel.

    Args:
        channel_axes: how many of the last axes number the output channels; 0 for one range.
        unit: what the kernel is stored in.
    """

    # A bias is int32 in steps of (input step x kernel step): on a kernel of zeros, whose step would
    # be next to nothing, it would be cut off. What is 256 times smaller than the largest kernel
    # moves the output, whose range all channels share, by less than one step.
    SMALLEST_SHARE, SMALLEST = 1 / 256, 1e-4

    def __init__(self, channel_axes: int, unit: float = 1.0):
        self.channel_axes = channel_axes
        self.unit = unit

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict:
        """Makes no variables."""
        return {}

    def __call__(self, inputs: Any, training: bool, weights: dict, **kwargs: Any) -> Any:
        """Rounds a kernel of shape (..., *channels)."""
        options = {"num_bits": 8, "narrow_range": True}
        inputs, smallest = inputs * self.unit, self.SMALLEST * self.unit
        if not self.channel_axes:
            high = tf.maximum(tf.reduce_max(tf.abs(inputs)), smallest)
            return tf.quantization.fake_quant_with_min_max_vars(inputs, -high, high, **options)
        flat = tf.reshape(inputs, (*inputs.shape[: -self.channel_axes], -1))
        high = tf.reduce_max(tf.abs(flat), axis=list(range(len(flat.shape) - 1)))
        high = tf.maximum(high, tf.reduce_max(high) * self.SMALLEST_SHARE)
        high = tf.maximum(high, smallest)
        rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(
            flat, -high, high, **options
        )
        return tf.reshape(rounded, inputs.shape)

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {"channel_axes": self.channel_axes, "unit": self.unit}


@tf_keras.saving.register_keras_serializable("sft_keras")
class Int8Config(tfmot.quantization.keras.QuantizeConfig):
    """What TFMOT's wrapper quantizes in one layer.

    Args:
        kernels: for each kernel's attribute name, how many of its last axes number the output
            channels.
        output: whether the output is quantized here; `PIXELS` if it holds bytes.
        units: what each kernel is stored in, by attribute name.
    """

    def __init__(self, kernels: dict[str, int], output: bool | str, units: dict[str, float]):
        self.kernels = kernels
        self.output = output
        self.units = units

    def get_weights_and_quantizers(self, layer: Any) -> list:
        """The kernels of `layer`, each with its quantizer."""
        return [
            (getattr(layer, name), SymmetricRange(axes, self.units[name]))
            for name, axes in self.kernels.items()
        ]

    def set_quantize_weights(self, layer: Any, quantize_weights: list) -> None:
        """Puts the rounded kernels in place of the kernels."""
        for name, kernel in zip(self.kernels, quantize_weights, strict=True):
            setattr(layer, name, kernel)

    def get_activations_and_quantizers(self, layer: Any) -> list:
        """None: activations are layers of their own."""
        return []

    def set_quantize_activations(self, layer: Any, quantize_activations: list) -> None:
        """Takes back what `get_activations_and_quantizers` gave."""
        assert not quantize_activations

    def get_output_quantizers(self, layer: Any) -> list:
        """The output's quantizer, if it has one."""
        if self.output == PIXELS:
            return [ByteRange()]
        return [RecentRange()] if self.output else []

    def get_config(self) -> dict:
        """The constructor's arguments."""
        return {"kernels": self.kernels, "output": self.output, "units": self.units}


@tf_keras.saving.register_keras_serializable("sft_keras")
class Int8Wrapper(tfmot.quantization.keras.QuantizeWrapperV2):
    """TFMOT's wrapper, which trains the kernel of a frozen layer all the same."""

    @property
    def trainable_weights(self) -> list:
        """Those of the layer inside, unless it is frozen."""
        return super().trainable_weights if self.trainable else []

    @property
    def non_trainable_weights(self) -> list:
        """All that are not trainable."""
        frozen = [] if self.trainable else super().trainable_weights
        return self._dedup_weights(frozen + super().non_trainable_weights)


def wrap(
    layer: tf_keras.layers.Layer, kernels: dict[str, int], output: bool | str, input_shape: Any
):
    """The TFMOT wrapper around a copy of a layer that rounds its kernels and its output.

    Args:
        layer: tf_keras layer.
        kernels: see `Int8Config`.
        output: likewise.
        input_shape: shape, or list of shapes, of what it will be called on.

    Returns:
        A built layer of the same name, with the weights of `layer`.
    """
    # A wrapper tracks other variables when what it wraps is built already, and cannot be loaded.
    units = {name: _unit(getattr(layer, name).numpy()) for name in kernels}
    wrapper = Int8Wrapper(like(layer), Int8Config(kernels, output, units), name_prefix="")
    wrapper.build(input_shape)
    wrapper.layer.set_weights([w.numpy() / units.get(_own_name(w), 1.0) for w in layer.weights])
    return wrapper


USUAL = 16
"""How many times smaller or larger than a fresh kernel one may be to train as it is."""


def _unit(kernel: np.ndarray) -> float:
    """A number to divide a kernel by, so that an optimizer's steps suit it.

    A kernel that a Rescaling of pixels was folded into is some 255 times smaller than others; steps
    of the usual size would tear it apart.
    """
    size = float(np.std(kernel) * np.sqrt(kernel.size / kernel.shape[-1]))
    return size if size > 0 and not 1 / USUAL <= size <= USUAL else 1.0


def weights_inside(wrapper: Any, layer: tf_keras.layers.Layer) -> list[np.ndarray]:
    """The weights of the layer inside a wrapper, as they are before they are rounded.

    Args:
        wrapper: a layer of a quantization-aware model.
        layer: a layer like the one inside, for the order of its weights.

    Returns:
        The weights; empty if the two are not alike.
    """
    # Once called, the layer inside holds rounded kernels; only the wrapper has the variables.
    units = wrapper.quantize_config.units if isinstance(wrapper, Int8Wrapper) else {}
    found = {_own_name(w): w.numpy() * units.get(_own_name(w), 1.0) for w in wrapper.weights}
    names = [_own_name(variable) for variable in layer.weights]
    known = len(found) == len(wrapper.weights) and set(names) <= set(found)
    return [found[name] for name in names] if known else []


def _own_name(variable: Any) -> str:
    return variable.name.rpartition("/")[-1].partition(":")[0]


def load(path: str) -> tf_keras.Model:
    """Loads a model with TFMOT's layers in it, if it can run no code of its own."""
    with tfmot.quantization.keras.quantize_scope():
        trust.require_safe(path)
        return tf_keras.models.load_model(path)
