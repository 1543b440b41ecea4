"""Which models can teach which."""

from typing import Any

from sft_keras import flavors
from sft_keras.distillation.contents import Content, contents
from sft_keras.errors import ArgumentError, UnsupportedError
from sft_keras.training import require_compiled


def require_teacher(model: Any, teacher: Any) -> list[tuple[Content, Content]]:
    """Refuses a teacher that does not fit the model that it should teach.

    Returns:
        What each output holds, in the teacher and in the model.

    Raises:
        ArgumentError: their inputs or outputs differ.
        UnsupportedError: one is not compiled or cannot be read, or `model` has no loss or a
            `train_step` of its own.
    """
    for each in (teacher, model):
        require_compiled(each)
    if not flavors.trains_by_its_loss(model):
        raise UnsupportedError(
            f"Model '{model.name}' has a train_step of its own, which need not minimize a "
            "teacher's term; let it inherit that of keras.Model."
        )
    for what, found in (("inputs of shape", _inputs), ("outputs of shape", _outputs)):
        _require_equal(model, teacher, what, found(teacher), found(model))
    pairs = [*zip(contents(teacher), contents(model), strict=True)]
    families = [[c.family for c in pair] for pair in pairs if pair[1].family]
    if not families:
        raise UnsupportedError(
            f"Model '{model.name}' was compiled without a loss, which would say what its outputs "
            "hold; give its compile() one."
        )
    _require_equal(model, teacher, "losses for", *map(list, zip(*families, strict=True)))
    return pairs


def _inputs(model: Any) -> list[tuple]:
    return [tuple(x.shape[1:]) for x in flavors.inputs(flavors.as_graph(model))]


def _outputs(model: Any) -> list[tuple]:
    return [tuple(x.shape[1:]) for x in flavors.outputs(flavors.as_graph(model))]


def _require_equal(model: Any, teacher: Any, what: str, has: list, needs: list) -> None:
    if has != needs:
        has_text, needs_text = (", ".join(str(x) or "nothing" for x in y) for y in (has, needs))
        raise ArgumentError(
            f"Teacher '{teacher.name}' has {what} {has_text}, model '{model.name}' {needs_text}; "
            "take a teacher of the same task, such as the model before pruning."
        )


def ported(teacher: Any, model: Any) -> Any:
    """The teacher in the Keras of the model.

    Raises:
        ArgumentError: it is a tf_keras model and `model` is not.
        UnsupportedError: tf_keras lacks some of its layers.
    """
    if flavors.is_tf_keras(teacher) == flavors.is_tf_keras(model):
        return teacher
    if flavors.is_tf_keras(teacher):
        raise ArgumentError(
            f"Teacher '{teacher.name}' is a tf_keras model and '{model.name}' one of Keras 3; take "
            "a teacher of Keras 3."
        )
    # Importing TensorFlow and tf_keras takes seconds; Keras 3 may do without.
    from sft_keras.quantization.port import to_tf_keras

    return to_tf_keras(flavors.as_graph(teacher))
