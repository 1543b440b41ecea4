"""What devices can run: one data file a target, with its source and date."""

import functools
import json
from importlib import resources

from sft_keras.errors import UnsupportedError


@functools.cache
def operators(target: str) -> dict[str, str]:
    """The operators that a target runs.

    Args:
        target: name of a data file beside this module, such as `"tflm"`.

    Returns:
        The builtin operators' names in the schema, each with the target's own name for it.

    Raises:
        UnsupportedError: nobody knows the target.

    Example:
        >>> targets.operators("tflm")["PADV2"]
        'AddPadV2'
    """
    if target not in names():
        raise UnsupportedError(f"Target '{target}' is unknown; choose one of {', '.join(names())}.")
    text = resources.files(__name__).joinpath(f"{target}.json").read_text(encoding="utf-8")
    return json.loads(text)["operators"]


def names() -> list[str]:
    """The targets there are data files for."""
    entries = (entry.name for entry in resources.files(__name__).iterdir())
    return sorted(name.removesuffix(".json") for name in entries if name.endswith(".json"))
