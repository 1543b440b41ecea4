"""What the outputs of a model hold, told by its losses."""

from typing import Any, NamedTuple

from sft_keras import flavors

CLASSES, YES_OR_NO, NUMBERS = "classes", "yes or no", "numbers"
FAMILIES = {
    "categoricalcrossentropy": CLASSES,
    "sparsecategoricalcrossentropy": CLASSES,
    "categoricalfocalcrossentropy": CLASSES,
    "kldivergence": CLASSES,
    "binarycrossentropy": YES_OR_NO,
    "binaryfocalcrossentropy": YES_OR_NO,
}
SMALLEST = 1e-7  # what Keras' own losses clip probabilities to


class Content(NamedTuple):
    """What an output holds.

    Args:
        family: one exclusive class a sample, several independent ones, or other numbers; empty
            where nothing says.
        from_logits: whether as logits rather than as probabilities.
    """

    family: str
    from_logits: bool = False

    @property
    def is_distribution(self) -> bool:
        """Whether probabilities can be had from it."""
        return self.family in (CLASSES, YES_OR_NO)


def contents(model: Any) -> list[Content]:
    """What each output of a compiled model holds."""
    return [_content(loss) for loss in flavors.output_losses(model)]


def _content(loss: Any) -> Content:
    if loss is None:
        return Content("")
    by_name = isinstance(loss, str) or hasattr(loss, "__name__")
    name = getattr(loss, "__name__", type(loss).__name__) if not isinstance(loss, str) else loss
    family = FAMILIES.get(name.replace("_", "").lower(), NUMBERS)
    if by_name or family == NUMBERS:
        return Content(family)
    config = flavors.loss_config(loss)
    if family == CLASSES and config.get("axis", -1) != -1:
        return Content(NUMBERS)  # the softmax is taken over the last axis
    return Content(family, config.get("from_logits", False))


def logits(content: Content, y: Any, ops: Any) -> Any:
    """An output as numbers whose softmax over the last axis gives probabilities of classes."""
    y = ops.cast(y, "float32")
    if content.family == YES_OR_NO:
        y = ops.stack([y, ops.zeros_like(y) if content.from_logits else 1 - y], axis=-1)
    return y if content.from_logits else ops.log(ops.clip(y, SMALLEST, 1.0))
