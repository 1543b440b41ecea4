"""What devices can run: one data file a target, with its source and date."""

import functools
import json
from importlib import resources

from sft_keras.errors import UnsupportedError


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
    return _read(target)["operators"]


def title(target: str) -> str:
    """What people call the target."""
    return _read(target)["title"]


def has_per_channel_dense(target: str) -> bool:
    """Whether every version of the target reads a FULLY_CONNECTED with a range for each output."""
    return _read(target)["per_channel_dense"]


@functools.cache
def _read(target: str) -> dict:
    if target not in names():
        raise UnsupportedError(f"Target '{target}' is unknown; choose one of {', '.join(names())}.")
    return json.loads(resources.files(__name__).joinpath(f"{target}.json").read_text("utf-8"))


def names() -> list[str]:
    """The targets there are data files for."""
    entries = (entry.name for entry in resources.files(__name__).iterdir())
    return sorted(name.removesuffix(".json") for name in entries if name.endswith(".json"))
