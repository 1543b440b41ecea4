"""How the pruning ratio grows over the prune phases."""

import math

import keras

from sft_keras.errors import ArgumentError


class RatioSchedule:
    """Maps the progress of the prune phases, 0 to 1, to the share of the final pruning ratio.

    Subclasses implement `__call__`, and `get_config` where they have arguments.
    """

    def __call__(self, progress: float) -> float:
        """The share, 0 to 1, of the final ratio at `progress`, 0 to 1."""
        raise TypeError(f"{type(self).__name__} does not say how the ratio grows")

    def get_config(self) -> dict:
        """Constructor arguments."""
        return {}

    @classmethod
    def from_config(cls, config: dict) -> "RatioSchedule":
        """The inverse of `get_config`."""
        return cls(**config)


@keras.saving.register_keras_serializable("sft_keras")
class Constant(RatioSchedule):
    """The final ratio from the start, as in soft filter pruning (He et al., IJCAI 2018)."""

    def __call__(self, progress: float) -> float:
        """See `RatioSchedule`."""
        return 1.0


@keras.saving.register_keras_serializable("sft_keras")
class Polynomial(RatioSchedule):
    """1 − (1 − progress)^power (Zhu & Gupta, 2017): fast first, slow near the end.

    Args:
        power: positive exponent; 1 grows evenly.
    """

    def __init__(self, power: float = 3.0):
        if power <= 0:
            raise ArgumentError(f"Polynomial needs a positive power, got {power}.")
        self.power = power

    def __call__(self, progress: float) -> float:
        """See `RatioSchedule`."""
        return 1.0 - (1.0 - progress) ** self.power

    def get_config(self) -> dict:
        """Constructor arguments."""
        return {"power": self.power}


@keras.saving.register_keras_serializable("sft_keras")
class Asymptotic(RatioSchedule):
    """An exponential that has three quarters at `knee` (ASFP, He et al., 2019).

    Args:
        knee: the progress, 0 to 1, by which three quarters of the ratio are reached.
    """

    def __init__(self, knee: float = 0.125):
        if not 0 < knee < 1:
            raise ArgumentError(f"Asymptotic needs a knee between 0 and 1, got {knee}.")
        self.knee = knee

    def __call__(self, progress: float) -> float:
        """See `RatioSchedule`."""
        rate = math.log(4.0) / self.knee
        return -math.expm1(-rate * progress) / -math.expm1(-rate)

    def get_config(self) -> dict:
        """Constructor arguments."""
        return {"knee": self.knee}


_BY_NAME = {
    "constant": Constant,
    "linear": lambda: Polynomial(1.0),
    "polynomial": Polynomial,
    "asymptotic": Asymptotic,
}


def get(identifier: "str | RatioSchedule") -> RatioSchedule:
    """A schedule by name, or the schedule itself.

    Raises:
        ArgumentError: no schedule has that name.
    """
    if isinstance(identifier, RatioSchedule):
        return identifier
    if identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    names = ", ".join(repr(name) for name in _BY_NAME)
    raise ArgumentError(
        f"Unknown ratio schedule {identifier!r}; take {names} or a RatioSchedule object."
    )
