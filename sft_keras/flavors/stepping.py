"""The compiled steps of `fit`, where a backend keeps what it has read once."""

import functools
from typing import Any

import keras

from sft_keras.flavors.kinds import is_tf_keras


class Steps:
    """Lets the steps of a model see other values of λ and masks than when they were traced.

    TensorFlow and PyTorch read both in every step. JAX takes variables that are not the model's
    for constants, so that each phase has steps of its own there.

    Args:
        model: the model in training.
    """

    def __init__(self, model: Any):
        self._model = model
        self._traces = keras.backend.backend() == "jax" and not is_tf_keras(model)
        self._made: dict[tuple, Any] = {}

    def use(self, kind: str, key: Any) -> None:
        """Takes the step that was traced under a key, or lets a new one be traced.

        Args:
            kind: `"train"` or `"test"`.
            key: one for each set of values.
        """
        if not self._traces:
            return
        if (kind, key) not in self._made:
            self._made[kind, key] = self._new(kind)
        setattr(self._model, f"{kind}_function", self._made[kind, key])

    def _new(self, kind: str) -> Any:
        # JAX takes the step of one model for the same function however often it is compiled.
        name = f"{kind}_step"
        step = functools.partial(getattr(type(self._model), name), self._model)
        setattr(self._model, name, step)
        getattr(self._model, f"make_{kind}_function")(force=True)
        delattr(self._model, name)
        return getattr(self._model, f"{kind}_function")

    def forget(self) -> None:
        """Lets all steps be traced anew."""
        self._made = {}
