"""Times the stages of `sft_keras.shrink` as it runs."""

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from unittest import mock

SHRINK = importlib.import_module("sft_keras.shrinking.shrink")
STAGES = {"ChannelGroups": "analysis", "prove_equal": "proof"}


@contextlib.contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Notes the seconds of `shrink`'s analysis and proof, and of the rest, the rebuild.

    Yields:
        A dictionary that is filled when the block ends: `analysis`, `rebuild` and `proof`.
    """
    seconds = dict.fromkeys(("analysis", "rebuild", "proof"), 0.0)
    with contextlib.ExitStack() as stack:
        for name, stage in STAGES.items():
            function = _timed(getattr(SHRINK, name), seconds, stage)
            stack.enter_context(mock.patch.object(SHRINK, name, function))
        begin = time.perf_counter()
        yield seconds
        seconds["rebuild"] = time.perf_counter() - begin - sum(seconds.values())


def _timed(function: Callable, seconds: dict[str, float], stage: str) -> Callable:
    def timed_function(*args, **kwargs):
        begin = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[stage] += time.perf_counter() - begin

    return timed_function
