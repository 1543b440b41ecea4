"""Messages of the Python functions, as one who types commands needs them."""

import re

FLAGS = (
    (r"sft_keras\.(quantize|convert)\([a-z]*\)", r"`sft-keras \1`"),
    (r"\brepresentative_data=", "--dataset="),
    (r"--overwrite \(overwrite=True\)|\boverwrite=True", "--overwrite"),
    (r"\b((?:input_|output_)?dtype|target)='([\w.-]+)'", r"--\1=\2"),
)
"""What to look for, and the command or flag that does the same."""


def for_commands(message: str) -> str:
    """A message with commands and flags where it names functions and their arguments.

    Example:
        >>> for_commands("Convert with dtype='int8', or give representative_data=.")
        'Convert with --dtype=int8, or give --dataset=.'
    """
    for pattern, flag in FLAGS:
        message = re.sub(pattern, flag, message)
    return message
