import pytest

from sft_keras.pruning.phases import Phase, PhasePlan
from sft_keras.schedules import Phases


def test_cycles_alternate_and_the_final_phase_follows():
    plan = PhasePlan(cycles=2, prune_epochs=2, fine_tune_epochs=1)
    names = [plan.phase(epoch).name for epoch in range(7)]
    assert names == ["PRUNE", "PRUNE", "FINE_TUNE", "PRUNE", "PRUNE", "FINAL", "FINAL"]
    ends = [plan.ends_prune_phase(epoch) for epoch in range(6)]
    assert ends == [False, True, False, False, True, False]


def test_without_fine_tune_epochs_all_soft_epochs_prune():
    plan = PhasePlan(cycles=3, prune_epochs=1, fine_tune_epochs=0)
    assert [plan.phase(epoch) for epoch in range(4)] == [Phase.PRUNE] * 3 + [Phase.FINAL]


def test_progress_counts_prune_epochs_and_ends_at_one():
    plan = PhasePlan(cycles=2, prune_epochs=2, fine_tune_epochs=1)
    assert [plan.progress(epoch) for epoch in (0, 1, 3, 4)] == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("epochs", "share", "soft_epochs"),
    [(1, 0.5, 1), (3, 0.5, 1), (16, 0.5, 7), (30, 0.5, 15), (10, 0.0, 0), (6, 1.0, 5)],
)
def test_plan_over_the_epochs_of_fit(epochs, share, soft_epochs):
    assert PhasePlan.over(epochs, Phases(share)).soft_epochs == soft_epochs


@pytest.mark.parametrize(
    ("epochs", "phases"),
    [
        (3, Phases(prune_epochs=5)),
        (3, Phases(1.0, prune_epochs=2, fine_tune_epochs=0)),
        (6, Phases(1.0, prune_epochs=3, fine_tune_epochs=1)),
        (1, Phases(1.0, prune_epochs=2, fine_tune_epochs=2)),
    ],
)
def test_the_last_prune_phase_ends_within_fit(epochs, phases):
    plan = PhasePlan.over(epochs, phases)
    assert 1 <= plan.soft_epochs <= epochs
    assert plan.progress(plan.soft_epochs - 1) == 1.0


def test_plan_ended_early_goes_to_the_final_phase():
    plan = PhasePlan(cycles=9, prune_epochs=1, fine_tune_epochs=1).ended_at(4)
    assert [plan.phase(epoch).name for epoch in (3, 4, 5)] == ["FINE_TUNE", "PRUNE", "FINAL"]
