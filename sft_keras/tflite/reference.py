"""Which runtimes compute a file wrongly, so that no other is compared with them.

What stands here was measured on LiteRT 2.3 and tflite-runtime 2.14: each of these is off by more
than the outputs' standard deviation, where LiteRT's default kernels and TFLite Micro agree with
exact arithmetic.
"""

from collections.abc import Callable, Mapping

from sft_keras.tflite.schema import File, Operator


def wrong_runtimes(file: File) -> dict[str, tuple[str, ...]]:
    """The operators of a file that a runtime computes wrongly, each with these runtimes.

    Args:
        file: what `schema.read` gave.

    Example:
        >>> reference.wrong_runtimes(lite.file)
        {'SUM': ('litert-ref', 'tflite-runtime-ref')}
    """
    found: dict[str, set[str]] = {}
    for operator in file.operators:
        rule = WRONG.get(operator.name)
        if rule and (names := rule(operator)):
            found.setdefault(operator.name, set()).update(names)
    return {name: tuple(sorted(found[name])) for name in sorted(found)}


def is_sound(runtime: str, file: File) -> bool:
    """Whether none of a file's operators is known to be computed wrongly by a runtime."""
    return all(runtime not in names for names in wrong_runtimes(file).values())


def _of_a_sum(operator: Operator) -> tuple[str, ...]:
    is_integer = any(x.dtype.startswith("int") for x in operator.outputs)
    return ("litert-ref", "tflite-runtime-ref") if is_integer else ()


def _of_a_dense(operator: Operator) -> tuple[str, ...]:
    """With a scale for each output they take the second axis of a sequence for the units."""
    is_sequence = any(len(x.shape) > 2 for x in operator.outputs)
    if not is_sequence or all(x.scales.size < 2 for x in operator.inputs[1:2]):
        return ()
    # The fast kernels hand what is in int16 with a bias to the reference kernels.
    handed_on = operator.inputs[0].dtype == "int16" and len(operator.inputs) > 2
    return ("tflite-runtime-ref", *(["tflite-runtime"] if handed_on else []))


WRONG: Mapping[str, Callable[[Operator], tuple[str, ...]]] = {
    "FULLY_CONNECTED": _of_a_dense,
    "SUM": _of_a_sum,
}
