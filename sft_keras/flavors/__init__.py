"""Keras 3 and tf_keras behind one small interface.

Every private attribute of either Keras that the package reads is read in this folder, each with
its reason; `tests/test_flavors.py` notices when one changes.
"""

from sft_keras.flavors.arrays import ops, to_numpy, to_tensor
from sft_keras.flavors.attaching import (
    attach_constraint,
    attach_loss,
    attach_penalty,
    is_trained,
    regularizer,
)
from sft_keras.flavors.attention import Projections, projections
from sft_keras.flavors.backing_up import backup
from sft_keras.flavors.callback import Callback
from sft_keras.flavors.checkpointing import attach_state, attached_to
from sft_keras.flavors.compiling import (
    averages_weights,
    compile_arguments,
    fresh,
    is_built,
    is_compiled,
    leave_out_of_weight_decay,
    loss_config,
    output_losses,
    trains_by_its_loss,
)
from sft_keras.flavors.distilling import attach_own_losses, student
from sft_keras.flavors.given import given, has_mask, mask
from sft_keras.flavors.graphs import (
    Call,
    calls,
    graph,
    input_structure,
    inputs,
    is_graph,
    open_inputs,
    output_structure,
    outputs,
    plain_dicts,
    producing_call,
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
    require_tensorflow,
)
from sft_keras.flavors.leaving import before_next_fit
from sft_keras.flavors.naming import rename, scope_name
from sft_keras.flavors.operators import (
    arguments,
    arguments_in,
    config,
    consumers,
    dtype_name,
    is_array,
    is_variable,
    run,
    with_arguments,
)
from sft_keras.flavors.recurrent import (
    SequenceArguments,
    directions_may_differ,
    is_recurrent,
    may_skip_steps,
    output_shape,
    sequence_arguments,
    states,
    variables,
)
from sft_keras.flavors.sampling import random_inputs
from sft_keras.flavors.stepping import Steps
from sft_keras.flavors.tracing import as_graph
from sft_keras.flavors.wrapping import assemble, parts

__all__ = [
    "Call",
    "Callback",
    "Projections",
    "SequenceArguments",
    "Steps",
    "argument",
    "arguments",
    "arguments_in",
    "as_graph",
    "assemble",
    "attach_constraint",
    "attach_loss",
    "attach_own_losses",
    "attach_penalty",
    "attach_state",
    "attached_to",
    "averages_weights",
    "backup",
    "before_next_fit",
    "calls",
    "compile_arguments",
    "config",
    "consumers",
    "directions_may_differ",
    "dtype_name",
    "fresh",
    "given",
    "graph",
    "has_mask",
    "input_structure",
    "inputs",
    "is_array",
    "is_built",
    "is_compiled",
    "is_graph",
    "is_input_layer",
    "is_model",
    "is_operator",
    "is_recurrent",
    "is_symbolic",
    "is_tf_keras",
    "is_trained",
    "is_variable",
    "leave_out_of_weight_decay",
    "library",
    "loss_config",
    "mask",
    "may_skip_steps",
    "open_inputs",
    "operator_name",
    "ops",
    "output_losses",
    "output_shape",
    "output_structure",
    "outputs",
    "parts",
    "plain_dicts",
    "producer",
    "producing_call",
    "projections",
    "random_inputs",
    "rebuild",
    "regularizer",
    "rename",
    "require_graph",
    "require_tensorflow",
    "run",
    "scope_name",
    "sequence_arguments",
    "states",
    "student",
    "to_numpy",
    "to_tensor",
    "trains_by_its_loss",
    "variables",
    "weights",
    "with_all_outputs",
    "with_arguments",
]
