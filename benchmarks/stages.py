"""Times the stages of `sft_keras.shrink` as it runs."""

import contextlib
import importlib
import time
from collections.abc import Callable, Iterator
from unittest import mock

SHRINK = importlib.import_module("sft_keras.shrinking.shrink")
PROOF = importlib.import_module("sft_keras.shrinking.proof")
STAGES = [
    (SHRINK, "ChannelGroups", "analysis"),
    (SHRINK, "clone", "layers"),
    (SHRINK, "prove_equal", "proof"),
    (PROOF, "outputs", "forward"),
]


@contextlib.contextmanager
def timed(clock: Callable[[], float] = time.perf_counter) -> Iterator[dict[str, float]]:
    """Notes the seconds of `shrink`'s analysis and proof, and of the rest, the rebuild.

    Args:
        clock: gives seconds, those of the wall or of the processor.

    Yields:
        A dictionary that is filled when the block ends: `analysis`, `rebuild` and `proof`; of the
        rebuild `layers`, the making of new Keras layers; of the proof `forward`, running models.
    """
    seconds = dict.fromkeys((stage for _, _, stage in STAGES), 0.0)
    with contextlib.ExitStack() as stack:
        for module, name, stage in STAGES:
            function = _timed(getattr(module, name), clock, seconds, stage)
            stack.enter_context(mock.patch.object(module, name, function))
        begin = clock()
        yield seconds
        total = clock() - begin
        seconds["rebuild"] = total - seconds["analysis"] - seconds["proof"]


def _timed(function: Callable, clock: Callable, seconds: dict, stage: str) -> Callable:
    def timed_function(*args, **kwargs):
        begin = clock()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[stage] += clock() - begin

    return timed_function
