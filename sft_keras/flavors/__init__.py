"""Keras 3 and tf_keras behind one small interface.

Every private attribute of either Keras that the package reads is read in this folder, each with
its reason; `tests/test_flavors.py` notices when one changes.
"""

from sft_keras.flavors.arrays import to_numpy, to_tensor
from sft_keras.flavors.attaching import attach_constraint, attach_penalty
from sft_keras.flavors.attention import Projections, projections
from sft_keras.flavors.compiling import compile_arguments, fresh, is_built, is_compiled, loss_config
from sft_keras.flavors.graphs import (
    Call,
    calls,
    graph,
    input_structure,
    inputs,
    is_graph,
    output_structure,
    outputs,
    rebuild,
    require_graph,
    weights,
    with_all_outputs,
)
from sft_keras.flavors.kinds import (
    argument,
    is_input_layer,
    is_model,
    is_operator,
    is_symbolic,
    is_tf_keras,
    library,
    operator_name,
    producer,
)
from sft_keras.flavors.operators import arguments, consumers, is_array, run, with_arguments
from sft_keras.flavors.sampling import random_inputs
from sft_keras.flavors.tracing import as_graph

__all__ = [
    "Call",
    "Projections",
    "argument",
    "arguments",
    "as_graph",
    "attach_constraint",
    "attach_penalty",
    "calls",
    "compile_arguments",
    "consumers",
    "fresh",
    "graph",
    "input_structure",
    "inputs",
    "is_array",
    "is_built",
    "is_compiled",
    "is_graph",
    "is_input_layer",
    "is_model",
    "is_operator",
    "is_symbolic",
    "is_tf_keras",
    "library",
    "loss_config",
    "operator_name",
    "output_structure",
    "outputs",
    "producer",
    "projections",
    "random_inputs",
    "rebuild",
    "require_graph",
    "run",
    "to_numpy",
    "to_tensor",
    "weights",
    "with_all_outputs",
    "with_arguments",
]
