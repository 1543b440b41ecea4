"""What the exports for microcontrollers and for phones share: checks, names, templates."""

import math
import re
from collections.abc import Sequence

import jinja2
import numpy as np

from sft_keras.errors import ArgumentError, UnsupportedError
from sft_keras.tflite.lite_model import LiteModel

LARGEST = 1 << 31  # bytes; sizes and places in an array are numbers of 32 bits


def require_identifier(name: str) -> None:
    """Refuses a name that files and code cannot begin with.

    Raises:
        ArgumentError: says what a name may hold.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ArgumentError(
            f"name is {name!r}; give an identifier of small letters, digits and underscores."
        )


def require_labels(lite: LiteModel, labels: Sequence[str] | None) -> None:
    """Refuses labels that do not stand for the numbers of the file's one output.

    Raises:
        ArgumentError: there are several outputs, more or fewer labels than numbers, or a label is
            not a line of text.
    """
    if labels is None:
        return
    if len(lite.outputs) != 1:
        raise ArgumentError(
            f"{lite.name} has {len(lite.outputs)} outputs; labels are for a file with one."
        )
    (output,) = lite.outputs
    numbers = output.shape[-1] if output.shape else 1
    if numbers != len(labels):
        raise ArgumentError(
            f"There are {len(labels)} labels, but output '{output.name}' has {numbers} "
            "numbers; give one label each."
        )
    for number, label in enumerate(labels):
        if not isinstance(label, str) or not label.strip() or label.splitlines() != [label]:
            raise ArgumentError(f"Label {number} is {label!r}; give one line of text each.")
        require_unicode(f"Label {number}", label)


def require_unicode(what: str, text: str) -> None:
    """Refuses a text with what Python makes of bytes that are no UTF-8.

    Raises:
        ArgumentError: names the text.
    """
    if any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise ArgumentError(f"{what} is {text!r}, which is no Unicode; give it in UTF-8.")


def require_sizes(lite: LiteModel) -> None:
    """Refuses inputs and outputs that no array of C++ or Kotlin can have the size of.

    Raises:
        UnsupportedError: one is empty, larger than 2 GiB, or of a size known only when it runs.
    """
    for details in (*lite.inputs, *lite.outputs):
        if -1 in details.shape:
            raise UnsupportedError(
                f"'{details.name}' of {lite.name} has the dynamic shape {list(details.shape)}; "
                "convert with sft_keras.convert, which fixes the batch at 1, and give the Keras "
                "model's Input fixed sizes."
            )
        if not 0 < math.prod(details.shape) * np.dtype(details.dtype).itemsize < LARGEST:
            raise UnsupportedError(
                f"'{details.name}' of {lite.name} has shape {list(details.shape)}, which no array "
                "on a device can have; give the Keras model's Input other sizes."
            )


def title(name: str) -> str:
    """A name in the style of classes: `FlowerNet` for `flower_net`."""
    return "".join(part.title() for part in re.split(r"\W|_", name))


def float_literal(value: float) -> str:
    """A number as C, C++ and Kotlin write one of 32 bits: `0.1f`."""
    text = np.format_float_scientific(np.float32(value), unique=True, trim="0")
    return f"{text}f"


def comment(text: str) -> str:
    """A file's text as it may stand in a comment of C++ or Kotlin: one line, which cannot end it.

    A star and a slash would end or begin a comment, a backslash join it with the next line.
    """
    printable = "".join(char if char.isprintable() else "?" for char in text)
    return re.sub(r"\*(?=/)|/(?=\*)", r"\g<0> ", printable).replace("\\", "?")


def environment(package: str) -> jinja2.Environment:
    """The templates in a package's folder `templates`, where every name must have a value."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters.update(comment=comment, literal=float_literal)
    return made
