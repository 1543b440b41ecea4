"""The parser of one command, which names a misspelt flag rather than the one that is missing."""

import difflib
from typing import Any

from absl.flags import argparse_flags


class CommandParser(argparse_flags.ArgumentParser):
    """As absl's, but what nobody knows is said before what is missing because of it."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Keeps what was given, for `error`."""
        self._given = [*(args or ())]
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> None:
        """Exits with a message about the flags that nobody knows, or else with this one."""
        known = [*self._option_string_actions]
        flags = [text.partition("=")[0] for text in self._given if text.startswith("--")]
        unknown = [flag for flag in flags if flag not in ("--", *known)]
        if unknown:
            close = difflib.get_close_matches(unknown[0], known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            message = f"unrecognized arguments: {' '.join(unknown)}{hint}"
        super().error(message)
