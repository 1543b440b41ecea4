"""SoftFilterPrune: soft filter L1 pruning inside `model.fit`."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from sft_keras import criteria, flavors, schedules
from sft_keras.channels import ChannelGroups
from sft_keras.channels.mask import apply_mask, read_mask
from sft_keras.errors import ArgumentError, FileError
from sft_keras.pruning import progress
from sft_keras.pruning.attachments import Masks, Penalties
from sft_keras.pruning.convergence import MaskConvergence, Monitored, Plateau
from sft_keras.pruning.phases import Phase, PhasePlan
from sft_keras.pruning.ratios import (
    Ratio,
    check_ratio,
    check_width_multiple,
    group_ratios,
    select,
    without_frozen,
)
from sft_keras.pruning.soft import MaskedView, effective_slices, kernel_slices, soften


@keras.saving.register_keras_serializable("sft_keras")
class SoftFilterPrune(flavors.Callback):
    """Prunes whole filters while a model trains, softly first and for good at the end.

    The first epochs of `fit` are divided into cycles of a prune phase, which minimizes
    L = L_ori + λ·Σ_i ‖w_i‖₁ over the filters w_i, and a fine-tune phase, which minimizes L_ori.
    At the end of each prune epoch the weakest filters of every channel group are chosen anew, a
    few more each time, and softened: multiplied by `decay`, in γ and β where a BatchNormalization
    follows, else in kernel and bias. They stay trainable, and those that grow again come back.
    The last prune phase leaves the final mask, which is held while the rest of the epochs
    minimizes L_ori.

    Validation, `EarlyStopping` and `ModelCheckpoint` see the masked view: the weights with the
    masked filters at zero, as `sft_keras.shrink` would cut them. After `fit` they are at zero.

    `logs` gain `phase` (0 prune, 1 fine-tune, 2 final), `pruning_ratio` and `pruned_filters`.
    Callbacks that write logs, such as `CSVLogger`, belong behind this one in the list. In `fit` of
    a `keras.distillation.Distiller` the student is pruned; `sft_keras.Distill` needs none.

    Sources: SFP (He et al., IJCAI 2018), ASFP (He et al., 2019), SRFP (Cai et al., 2020).

    Args:
        pruning_ratio: share of each layer's filters to prune, in [0, 1); or a mapping from layer
            names or patterns such as `"block?_*"` to such numbers, where layers that are not
            named keep all filters. A channel group takes the smallest ratio of its layers, and
            none is pruned that has a frozen layer in it.
        l1: λ of the prune phases, for layers without a filter penalty of their own. It acts on γ
            where a BatchNormalization follows, and is normalized: see `regularizers.FilterL1`.
        criterion: `"contribution"`, `"bn_folded"`, `"l1"`, `"l2"`, `"geometric_median"`,
            `"random"`, or a function of `criteria.Filters`.
        schedule: how the ratio grows over the prune phases: `"linear"`, `"polynomial"`,
            `"constant"`, `"asymptotic"`, or a `schedules.RatioSchedule`.
        phases: how the epochs are divided, and when training ends early; a `schedules.Phases`.
        decay: what softened filters are multiplied by, 0 to 1.
        recipe: `"effective"`, or `"literal"` for the published recipe: kernels are zeroed, also
            before BatchNormalization, in every soft epoch that was planned. For comparisons; it
            loses accuracy.
        exclude: names or patterns of layers to leave alone; one as a string.
        width_multiple: the filters that stay are rounded up to a multiple of this (4, 8, 16).
        seed: for criteria that draw random numbers.

    Raises:
        ArgumentError: an argument is out of range or names no layer.
        UnsupportedError: the model has no filter that can be pruned.

    Example:
        >>> model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        >>> model.fit(x, y, epochs=30, callbacks=[sft_keras.SoftFilterPrune()])
        >>> small = sft_keras.shrink(model)
    """

    def __init__(
        self,
        pruning_ratio: Ratio = 0.5,
        *,
        l1: float = 0.1,
        criterion: str | criteria.Criterion = "contribution",
        schedule: str | schedules.RatioSchedule = "linear",
        phases: schedules.Phases = schedules.Phases(),  # noqa: B008  (frozen)
        decay: float = 0.3,
        recipe: str = "effective",
        exclude: Sequence[str] | str = (),
        width_multiple: int = 1,
        seed: int = 0,
    ):
        super().__init__()
        check_ratio(pruning_ratio)
        _check_arguments(locals())
        if isinstance(pruning_ratio, Mapping):
            self.pruning_ratio: Ratio = {name: float(x) for name, x in pruning_ratio.items()}
        else:
            self.pruning_ratio = float(pruning_ratio)
        self.l1 = float(l1)
        self.criterion = criteria.get(criterion)
        self.schedule = schedules.get(schedule)
        self.phases = phases
        self.decay = float(decay)
        self.recipe = recipe
        self.exclude = (exclude,) if isinstance(exclude, str) else tuple(exclude)
        self.width_multiple = int(width_multiple)
        self.seed = int(seed)
        self.phase: Phase | None = None  # while training
        self.mask = np.zeros(0, bool)
        self._attached: list[Callable[[], None]] = []
        self._restored: dict[str, np.ndarray] = {}

    def get_config(self) -> dict:
        """Constructor arguments.

        Raises:
            ArgumentError: the criterion is a function that has not been registered.
        """
        return {
            "pruning_ratio": self.pruning_ratio,
            "l1": self.l1,
            "criterion": criteria.serialize(self.criterion),
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "phases": keras.saving.serialize_keras_object(self.phases),
            "decay": self.decay,
            "recipe": self.recipe,
            "exclude": list(self.exclude),
            "width_multiple": self.width_multiple,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict) -> "SoftFilterPrune":
        """The inverse of `get_config`."""
        objects = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("phases", "schedule")
        }
        return cls(**{**config, **objects})

    def set_model(self, model: Any) -> None:
        """Has the state of pruning saved with the model; takes off what a failed `fit` left on."""
        self.detach()  # from the model of a failed `fit`
        super().set_model(model)
        left = flavors.attached_to(model)
        if left is not None:
            left.detach()
        self._restored = {}
        self._attached = [flavors.attach_state(model, self)]

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Reads the channel groups and attaches penalties and masks."""
        if flavors.attached_to(self.model) not in (None, self) or len(self._attached) > 1:
            raise ArgumentError(
                f"This fit of '{self.model.name}' has two SoftFilterPrune; give it one, whose "
                "pruning_ratio may name layers."
            )
        if flavors.is_tf_keras(self.model):
            flavors.require_tensorflow(f"Pruning '{self.model.name}', a model of tf_keras,")
        student = flavors.student(self.model)
        self.groups = ChannelGroups(student)
        ratios = group_ratios(self.groups, self.pruning_ratio, self.exclude)
        self._ratios = without_frozen(self.groups, ratios)
        self._plan = PhasePlan.over(self.params.get("epochs", 1), self.phases)
        literal = self.recipe == "literal"
        self._soft_slices = (kernel_slices if literal else effective_slices)(self.groups)
        self._view = MaskedView(self.groups)
        self._convergence = MaskConvergence()
        self._plateau = Plateau(self.phases.patience)
        self._monitored = Monitored(self.phases.monitor)
        self._rng = np.random.default_rng(self.seed)
        self._epoch, self._epoch_closed, self._epoch_ended = 0, True, True
        self.phase = None
        self.mask = np.zeros(self.groups.count, bool)
        self._penalties = Penalties(self.groups, self.l1)
        self._masks = Masks(self.groups)
        detach_losses = flavors.attach_own_losses(self.model)
        self._steps = flavors.Steps(self.model)
        self._attached += [self._penalties.detach, self._masks.detach, detach_losses]
        for model in dict.fromkeys((self.model, student)):
            self._attached.append(flavors.before_next_fit(model, self.detach))
        self.model.make_train_function(force=True)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Enters the epoch's phase; in soft phases hidden filters come back."""
        if self._restored:
            self._resume(epoch)
        self._epoch, self._epoch_closed, self._epoch_ended = epoch, False, False
        phase = self._plan.phase(epoch)
        if phase is Phase.FINAL and self.phase is not Phase.FINAL:
            self._begin_final(epoch)
        elif phase is not Phase.FINAL:
            self._view.hide()
        self._penalties.switch(on=phase is Phase.PRUNE)
        self._steps.use("train", phase)
        if phase is not self.phase:
            name, pruned = phase.name.lower().replace("_", "-"), int(self.mask.sum())
            logging.info("Epoch %d: %s phase, %d filters pruned.", epoch + 1, name, pruned)
        self.phase = phase

    def _begin_final(self, epoch: int) -> None:
        if epoch == 0 or not self.mask.any():
            self._choose(share=1.0)
            self._view.show(self.mask)
        self._view.forget()
        self._masks.close(self.mask)
        self._steps.forget()

    def on_test_begin(self, logs: dict | None = None) -> None:
        """Lets validation see the masked view, and its loss be L_ori in every phase."""
        if self.phase is None:  # an `evaluate` of its own
            self.detach()
            return
        self._close_epoch()
        self._penalties.switch(on=False)
        self._steps.use("test", Phase.FINE_TUNE)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Lets all later callbacks see the masked view, and logs what is pruned."""
        self._close_epoch()
        if logs is not None:
            logs["phase"] = int(self._plan.phase(epoch))
            logs["pruning_ratio"] = float(self.mask.sum() / self.groups.prunable.sum())
            logs["pruned_filters"] = int(self.mask.sum())
        self._stop_when_converged(epoch, logs or {})
        self._epoch_ended = True

    def _close_epoch(self) -> None:
        """Puts the masked view in, once an epoch; behind a prune epoch with a new mask."""
        if self._epoch_closed or self.phase is Phase.FINAL:
            return
        self._epoch_closed = True
        if self.phase is Phase.PRUNE:
            self._choose(self.schedule(self._plan.progress(self._epoch)))
            decay = 0.0 if self.recipe == "literal" else self.decay
            soften(self.groups, self._soft_slices, self.mask, decay)
        self._view.show(self.mask)

    def _choose(self, share: float) -> None:
        scores = criteria.scores(self.groups, self.criterion, self._rng)
        if self.decay and self.recipe == "effective":
            # Half of the softening is forgiven, or no filter would ever grow past the others.
            scores[self.mask] /= math.sqrt(self.decay)
        ratios = [ratio * share for ratio in self._ratios]
        self.mask = select(self.groups, scores, ratios, self.width_multiple)

    def _stop_when_converged(self, epoch: int, logs: dict) -> None:
        value = self._monitored.value(logs)
        if self.phase is Phase.FINAL:
            if self._plateau.reached(value):
                logging.info("Epoch %d: converged, training ends.", epoch + 1)
                self.model.stop_training = True
        elif self._mask_converged(epoch):
            logging.info("Epoch %d: the mask has converged.", epoch + 1)
            self._plan = self._plan.ended_at(epoch)

    def _mask_converged(self, epoch: int) -> bool:
        # Zeroed kernels rank last, whatever they could become: that is no sign of convergence.
        if self.recipe == "literal" or not self._plan.ends_prune_phase(epoch):
            return False
        full_ratio = self.schedule(self._plan.progress(epoch)) >= 1.0
        return full_ratio and self._convergence.reached(self.mask)

    def state(self) -> dict[str, np.ndarray]:
        """What a later `fit` needs to go on from here, as arrays; nothing outside of `fit`."""
        if self.phase is None:
            return {}
        numbers = {
            "epoch": self._epoch,
            "closed": self._epoch_closed,
            "ended": self._epoch_ended,
            "phase": int(self.phase),
            "cycles": self._plan.cycles,
            "alike": self._convergence.alike,
            "best": float(self._plateau.best),
            "waited": self._plateau.waited,
            "monitored": self._monitored.seen,
            "random": self._rng.bit_generator.state,
        }
        arrays = {f"kept_{i:04}": kept for i, kept in enumerate(self._view.kept())}
        arrays["mask"] = self.mask
        if self._convergence.last is not None:
            arrays["last_mask"] = self._convergence.last
        return progress.pack(numbers, arrays)

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Takes what `state` gave, to go on from there in the next epoch."""
        self._restored = state

    def _resume(self, epoch: int) -> None:
        numbers, arrays = progress.unpack(self._restored)
        self._restored = {}
        mask = arrays.pop("mask").astype(bool)
        if len(mask) != self.groups.count:
            raise FileError(
                f"The weights that were loaded belong to a network of {len(mask)} filters, and "
                f"'{self.groups.model.name}' has {self.groups.count}; delete the backup."
            )
        self.mask = mask
        self._convergence.last = arrays.pop("last_mask", None)
        self._convergence.alike = numbers["alike"]
        self._plateau.best, self._plateau.waited = numbers["best"], numbers["waited"]
        self._monitored.seen = numbers["monitored"]
        self._plan = dataclasses.replace(self._plan, cycles=numbers["cycles"])
        self._rng.bit_generator.state = numbers["random"]
        self._view.bring(mask, [arrays[name] for name in sorted(arrays)])
        if epoch > numbers["epoch"] and not numbers["ended"]:
            # Saved behind the epoch's last step by a callback in front of this one.
            self._epoch, self._epoch_closed = numbers["epoch"], numbers["closed"]
            self.phase = Phase(numbers["phase"])
            self._close_epoch()
            self._stop_when_converged(self._epoch, {})
        self.phase = None
        logging.info("Epoch %d: goes on with %d filters pruned.", epoch + 1, self.mask.sum())

    def on_train_end(self, logs: dict | None = None) -> None:
        """Makes the mask final and takes off what was attached."""
        restored = bool(self._restored)
        if restored:  # all epochs were saved, so none has begun
            self._resume(self.params["epochs"])
        self._view.forget()
        if restored or flavors.averages_weights(self.model.optimizer):
            # Its averages, which have just become the weights, remember filters before their mask.
            apply_mask(self.groups, self.mask)
        self._warn_of_filters_left()
        self.detach()

    def _warn_of_filters_left(self) -> None:
        """Says where training ended, or other callbacks gave weights, before the final mask."""
        if self.phase in (Phase.PRUNE, Phase.FINE_TUNE) and self._epoch + 1 < self.params["epochs"]:
            logging.warning(
                "Training of '%s' ended in epoch %d, before its final mask: %d of %d filters are "
                "pruned; give EarlyStopping start_from_epoch=%d.",
                *(self.model.name, self._epoch + 1, self.mask.sum(), self.groups.count),
                self._plan.soft_epochs,
            )
        zero = read_mask(self.groups)
        missing = int((self.mask & ~zero).sum())
        if missing:
            logging.warning(
                "Another callback gave '%s' weights in which %d of its %d pruned filters are not "
                "zero: put it behind SoftFilterPrune, and start it behind epoch %d.",
                *(self.model.name, missing, self.mask.sum(), self._plan.soft_epochs),
            )
            self.mask = zero

    def on_predict_begin(self, logs: dict | None = None) -> None:
        """Leaves a model alone that is only asked."""
        if self.phase is None:
            self.detach()

    def detach(self) -> None:
        """Takes off what was attached to the model, and brings hidden soft filters back.

        `fit` does it at its end, and where an exception ended it the next `fit` does.
        """
        training = len(self._attached) > 1
        if training:
            self._view.take_back()
        for detach in reversed(self._attached):
            detach()
        self._attached = []
        self.phase = None
        if training:
            self.model.make_train_function(force=True)
            self.model.make_test_function(force=True)


def _check_arguments(given: dict[str, Any]) -> None:
    """Refuses arguments out of range, by name."""
    if not 0 <= given["decay"] <= 1:
        raise ArgumentError(f"decay is {given['decay']!r}; take a number from 0 to 1.")
    if not 0 <= given["l1"] < np.inf:
        raise ArgumentError(f"l1 is {given['l1']!r}; take a finite number of 0 or more.")
    check_width_multiple(given["width_multiple"])
    if given["recipe"] not in ("effective", "literal"):
        raise ArgumentError(f"recipe is {given['recipe']!r}; take 'effective' or 'literal'.")
