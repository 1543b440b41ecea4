"""When to prune, and how the pruning ratio grows meanwhile."""

import math
import numbers
from dataclasses import asdict, dataclass

import keras

from sft_keras.errors import ArgumentError


@keras.saving.register_keras_serializable("sft_keras")
@dataclass(frozen=True)
class Phases:
    """How the epochs of `fit` are divided, and when training has converged.

    Args:
        soft_share: share of the epochs in cycles of a prune and a fine-tune phase, 0 to 1; one
            cycle at least. The rest is the final phase. At 0 the filters are pruned at once,
            before the first epoch.
        prune_epochs: length of each prune phase.
        fine_tune_epochs: length of each fine-tune phase.
        patience: epochs without a better `monitor` in the final phase after which training ends;
            `None` to use all epochs.
        monitor: logged value to watch, smaller is better; the training loss where it is missing.

    Raises:
        ArgumentError: an argument is out of range.

    Example:
        >>> phases = sft_keras.schedules.Phases(soft_share=0.3, prune_epochs=2)
        >>> sft_keras.SoftFilterPrune(phases=phases)
    """

    soft_share: float = 0.25
    prune_epochs: int = 1
    fine_tune_epochs: int = 1
    patience: int | None = 10
    monitor: str = "val_loss"

    def __post_init__(self):
        share = self.soft_share
        if not (isinstance(share, numbers.Real) and 0 <= share <= 1):
            raise ArgumentError(f"soft_share is {share!r}; take a number from 0 to 1.")
        counts = {"prune_epochs": 1, "fine_tune_epochs": 0, "patience": 1}
        if self.patience is None:
            del counts["patience"]
        for name, low in counts.items():
            value = getattr(self, name)
            if not (isinstance(value, numbers.Integral) and value >= low):
                raise ArgumentError(f"{name} is {value!r}; take a whole number of {low} or more.")
            object.__setattr__(self, name, int(value))  # JSON takes no numbers of NumPy
        object.__setattr__(self, "soft_share", float(share))

    def get_config(self) -> dict:
        """Constructor arguments."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict) -> "Phases":
        """The inverse of `get_config`."""
        return cls(**config)


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
        if not power > 0:
            raise ArgumentError(f"Polynomial needs a positive power, got {power}.")
        self.power = float(power)

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
        self.knee = float(knee)

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
