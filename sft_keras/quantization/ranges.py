"""Whether the ranges of a quantized model have seen data."""

from typing import Any

from sft_keras import flavors
from sft_keras.errors import UnsupportedError


def require_trained(model: Any) -> None:
    """Refuses a model from `quantize` that was not trained: its ranges would be arbitrary.

    Raises:
        UnsupportedError: a range has seen no batch.
    """
    for call in flavors.calls(model):
        # By name, for importing TFMOT takes seconds.
        if type(call.layer).__name__ == "Int8Wrapper" and not _has_seen_data(call.layer):
            raise UnsupportedError(
                f"Layer '{call.layer.name}' of model '{model.name}' has a range that saw no data; "
                "call fit() on the quantized model for some batches first."
            )


def _has_seen_data(wrapper: Any) -> bool:
    steps = [w for w in wrapper.weights if w.name.partition(":")[0].endswith("output_steps")]
    return all(float(w) > 0 for w in steps)
