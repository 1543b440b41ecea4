"""What a callback wants saved with a model's weights, and given back when they are loaded."""

import io
import sys
from collections.abc import Callable
from typing import Any, Protocol

import keras
import numpy as np

from sft_keras.flavors.kinds import is_tf_keras

ATTRIBUTE = "soft_pruning_state"


class Stateful(Protocol):
    """What `attach_state` takes."""

    def state(self) -> dict[str, np.ndarray]:
        """What to save now."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes what was saved."""


def attach_state(model: Any, owner: Stateful) -> Callable[[], None]:
    """Saves `owner.state()` with the weights of `model`, and calls `owner.restore` on loading.

    That reaches `BackupAndRestore`, `ModelCheckpoint` and `save_weights`. Files without a state
    load as before, and a model without an owner ignores the state in a file.

    Returns:
        A function that takes the owner off again.
    """
    setattr(model, ATTRIBUTE, (_tensorflow_state if is_tf_keras(model) else _KerasState)(owner))

    def detach():
        if attached_to(model) is owner:
            delattr(model, ATTRIBUTE)

    return detach


def attached_to(model: Any) -> Any:
    """The owner whose state is saved with `model`, or None."""
    holder = getattr(model, ATTRIBUTE, None)
    return holder.owner if holder is not None else None


class _KerasState(keras.losses.Loss):
    """Of the objects that Keras saves with a model, the one that is not counted as a part of it."""

    def __init__(self, owner: Stateful):
        super().__init__(name=ATTRIBUTE)
        self.owner = owner

    def save_own_variables(self, store: Any) -> None:
        for name, value in self.owner.state().items():
            store[name] = value

    def load_own_variables(self, store: Any) -> None:
        _give(self.owner, {name: np.asarray(store[name]) for name in store.keys()})  # noqa: SIM118


def _tensorflow_state(owner: Stateful) -> Any:
    """The same for the checkpoints of TensorFlow, which tf_keras writes."""

    python_state: Any = sys.modules["tensorflow"].train.experimental.PythonState

    class TensorFlowState(python_state):
        def serialize(self):
            buffer = io.BytesIO()
            np.savez(buffer, **self.owner.state())
            return buffer.getvalue()

        def deserialize(self, content):
            with np.load(io.BytesIO(content), allow_pickle=False) as state:
                _give(self.owner, dict(state))

    holder = TensorFlowState()
    holder.owner = owner
    return holder


def _give(owner: Stateful, state: dict[str, np.ndarray]) -> None:
    if state:
        owner.restore(state)
