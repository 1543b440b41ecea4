"""What a `fit` that was broken off leaves on a model, taken off by the next one."""

import functools
from collections.abc import Callable
from typing import Any


def before_next_fit(model: Any, take_off: Callable[[], None]) -> Callable[[], None]:
    """Calls `take_off` when `fit` of a model is called again.

    Keras tells callbacks nothing of an exception, so that what they attached stays.

    Returns:
        A function that calls it off.
    """
    if "fit" not in vars(model):
        model.fit = _with_waiting(model.fit)
    waiting = model.fit.waiting
    waiting.append(take_off)

    def call_off() -> None:
        if take_off in waiting:
            waiting.remove(take_off)
            if not waiting:
                del model.fit  # back to that of its class

    return call_off


def _with_waiting(plain: Callable) -> Callable:
    waiting: list[Callable[[], None]] = []

    @functools.wraps(plain)
    def fit(*args: Any, **kwargs: Any) -> Any:
        for take_off in [*waiting]:
            take_off()
        return plain(*args, **kwargs)

    fit.waiting = waiting  # type: ignore[attr-defined]
    return fit
