"""Writes a Keras model as a SavedModel with batch 1 and readable names, for the converter."""

import dataclasses
import keyword
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf
from keras import tree

# No public name has it; the converter itself calls it.
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from sft_keras import flavors

SIGNATURE = "serving_default"
CONTROL_FLOW = {
    *("While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"),
    *("PartitionedCall", "StatefulPartitionedCall"),
}
MOST_BYTES = 1_800_000_000  # of constants: a graph cannot have more than 2 GB


@dataclasses.dataclass(frozen=True)
class Trace:
    """A model traced with batch 1.

    Attributes:
        function: the traced function; takes the inputs by name and returns a dict of outputs.
        variables: what the trace reads.
        inputs: names of the inputs, in the model's order.
        outputs: names of the outputs, in the model's order.
    """

    function: Any
    variables: list
    inputs: list[str]
    outputs: list[str]

    @property
    def has_fake_quant(self) -> bool:
        """Whether the model brings its own quantization ranges, as quantize() gives it."""
        operations = self.function.graph.get_operations()
        return any(operation.type.startswith("FakeQuant") for operation in operations)

    def save(self, folder: Path) -> None:
        """Writes the trace as a SavedModel with the one signature `serving_default`."""
        module, function = tf.Module(), self.function
        if self._can_be_frozen():
            function = self._frozen()
        else:
            module.variables_of_trace = self.variables
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, str(folder), {SIGNATURE: function}, options)

    def _can_be_frozen(self) -> bool:
        """Whether constants may stand for the variables: not in loops and calls, as of an LSTM."""
        kinds = {operation.type for operation in self.function.graph.get_operations()}
        sizes = [v.dtype.size * v.shape.num_elements() for v in self.variables]
        return not kinds & CONTROL_FLOW and sum(sizes) < MOST_BYTES

    def _frozen(self) -> Any:
        """The function with constants for variables, which take longer to save than to convert."""
        frozen = convert_variables_to_constants_v2(self.function, lower_control_flow=False)
        names = sorted(self.outputs)  # the order that TensorFlow flattens a dict in

        def serve(*inputs):
            return dict(zip(names, frozen(*inputs), strict=True))

        specs = [
            tf.TensorSpec(x.shape, x.dtype, name)
            for x, name in zip(frozen.inputs, self.inputs, strict=True)
        ]
        return tf.function(serve, autograph=False).get_concrete_function(*specs)


def trace(model: Any) -> Trace:
    """Traces `model` for inference on one sample.

    Args:
        model: a built Keras 3 (on the TensorFlow backend) or tf_keras model, with fixed input
            sizes.

    Returns:
        A `Trace`.

    Example:
        >>> trace(model).inputs
        ['image']
    """
    ins, outs = flavors.inputs(model), flavors.outputs(model)
    in_names = readable(flavors.producer(tensor).name for tensor in ins)
    out_names = readable(flavors.producer(tensor).name for tensor in outs)
    specs = [
        tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype, name)
        for tensor, name in zip(ins, in_names, strict=True)
    ]
    function = tf.function(_serve(model, out_names)).get_concrete_function(*specs)
    variables = model.variables
    if not flavors.is_tf_keras(model):
        variables = [variable.value for variable in variables]  # tf.Variable within Keras 3's
    return Trace(function, variables, in_names, out_names)


def _serve(model: Any, out_names: Sequence[str]) -> Callable:
    def serve(*inputs):
        value_of = dict(zip(map(id, flavors.inputs(model)), inputs, strict=True))
        structure = flavors.input_structure(model)
        outputs = model(tree.map_structure(lambda t: value_of[id(t)], structure), training=False)
        if flavors.is_tf_keras(model):
            outputs = flavors.plain_dicts(outputs)
        return dict(zip(out_names, tree.flatten(outputs), strict=True))

    return serve


def readable(names: Iterable[str]) -> list[str]:
    """Names as a signature may have them: identifiers, each once, without TFMOT's prefix."""
    result: list[str] = []
    for name in names:
        plain = re.sub(r"[^0-9A-Za-z_]", "_", name.removeprefix("quant_")).lstrip("_") or "tensor"
        if keyword.iskeyword(plain) or plain == "self":  # TensorFlow makes arguments of them
            plain += "_"
        unique, number = plain, 1
        while unique in result:
            unique, number = f"{plain}_{number}", number + 1
        result.append(unique)
    return result
