"""`Distill`: lets a teacher help to train a model, and the term that it adds to the loss."""

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import tree

from sft_keras import flavors
from sft_keras.cloning import compiled_copy
from sft_keras.distillation.contents import Content, logits
from sft_keras.distillation.teachers import ported, require_teacher
from sft_keras.errors import ArgumentError

TEMPERATURE = 3.0
WEIGHT = 1.0


@keras.saving.register_keras_serializable("sft_keras")
class Distill(flavors.Callback):
    """Lets a teacher help to train a model: by default the model as it is when `fit` begins.

    `fit` minimizes L_ori + w·T²·KL(p ‖ q), where p = softmax(z_teacher / T) and
    q = softmax(z / T) are the softened outputs of the two: T² keeps the share of the second
    term whatever T is. An output's loss says what it holds, and so what z is: logits
    (`from_logits=True`), or the logarithm of probabilities; with a binary loss, of two classes.
    The outputs of all other losses are compared by w·MSE, those without a loss not at all.
    Penalties count as always, sample weights in both terms; validation shows L_ori.

    It works with and without `SoftFilterPrune`, in any order, and in `fit` of what `quantize`
    returned. `logs["loss"]` holds the teacher's term on Keras 3, not on tf_keras.

    Source: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.

    Args:
        teacher: a compiled model with the same inputs and outputs; it is not changed. None, or
            the model that is trained, for a copy of that taken when `fit` begins, which then is
            the attribute `teacher`. A Keras 3 teacher of a tf_keras model is ported.
        temperature: T, above 0; the higher, the more the wrong classes tell.
        weight: w, at least 0.

    Raises:
        ArgumentError: an argument is out of range, or the teacher does not fit the model.
        UnsupportedError: a model is not compiled or cannot be read, or has a `train_step` of its
            own.

    Example:
        >>> distill = sft_keras.Distill()
        >>> model.fit(x, y, epochs=30, callbacks=[sft_keras.SoftFilterPrune(), distill])
        >>> qat = sft_keras.quantize(sft_keras.shrink(model), teacher=distill.teacher)
    """

    def __init__(
        self, teacher: Any = None, *, temperature: float = TEMPERATURE, weight: float = WEIGHT
    ):
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ArgumentError(f"temperature is {temperature!r}; take a finite number above 0.")
        if not 0 <= weight < math.inf:
            raise ArgumentError(f"weight is {weight!r}; take a finite number of 0 or more.")
        self.teacher = teacher
        self.temperature = float(temperature)
        self.weight = float(weight)
        self._copy: Any = None  # of the model itself
        self._attached: list[Callable[[], None]] = []

    def get_config(self) -> dict:
        """Constructor arguments; a teacher has weights, which no config holds.

        Raises:
            ArgumentError: there is a teacher other than the copy of the model itself.
        """
        if self.teacher is not self._copy:
            raise ArgumentError(
                f"A config does not hold the weights of the teacher '{self.teacher.name}'; save it "
                "with teacher.save('teacher.keras') and make a new Distill(teacher)."
            )
        return {"temperature": self.temperature, "weight": self.weight}

    @classmethod
    def from_config(cls, config: dict) -> "Distill":
        """The inverse of `get_config`."""
        return cls(**config)

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Copies the model where it is its own teacher, and adds the teacher's term."""
        self.detach()  # from the model of a failed `fit`
        model = self.model
        if any(self.teacher is own for own in (None, self._copy, model)):
            self.teacher = self._copy = compiled_copy(model)
        term_off = teach(model, self.teacher, self.temperature, self.weight)
        self._attached = [
            term_off,
            flavors.before_next_fit(model, self.detach),
            lambda: model.make_train_function(force=True),
            lambda: model.make_test_function(force=True),
        ]
        model.make_train_function(force=True)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Takes the term off."""
        self.detach()

    def detach(self) -> None:
        """Takes the term off; where an exception ended `fit`, the next `fit` does."""
        for detach in self._attached:
            detach()
        self._attached = []


def teach(
    model: Any, teacher: Any, temperature: float = TEMPERATURE, weight: float = WEIGHT
) -> Callable[[], None]:
    """Adds a teacher's term to what `fit` of a model minimizes; see `Distill`.

    Returns:
        A function that takes it off again.

    Raises:
        ArgumentError: the teacher does not fit the model.
        UnsupportedError: a model is not compiled or cannot be read, or has a `train_step` of its
            own.
    """
    contents = require_teacher(model, teacher)
    teacher = ported(teacher, model)
    compare = _comparison(model, temperature)

    def term(x: Any, y_pred: Any, sample_weight: Any) -> Any:
        pairs = [*zip(*map(tree.flatten, (teacher(x, training=False), y_pred)), strict=True)]
        weights = tree.flatten(sample_weight)  # one for all outputs, or one for each
        weights = weights * len(pairs) if len(weights) == 1 else weights
        each = zip(contents, pairs, weights, strict=True)
        return weight * sum(compare(*given) for given in each if given[0][1].family)

    return flavors.attach_loss(model, term)


def _comparison(model: Any, temperature: float) -> Callable:
    """A function of the contents and values of an output, of teacher and model: how they differ."""
    losses, ops = flavors.library(model).losses, flavors.ops(model)
    divergence, distance = losses.KLDivergence(), losses.MeanSquaredError()

    def compare(contents: tuple[Content, Content], values: tuple, sample_weight: Any) -> Any:
        target, output = values
        target = ops.stop_gradient(target)
        if not contents[1].is_distribution:
            return distance(target, output, sample_weight)
        p, q = (
            ops.softmax(logits(content, y, ops) / temperature)
            for content, y in zip(contents, (target, output), strict=True)
        )
        return temperature**2 * divergence(p, q, sample_weight)

    return compare
