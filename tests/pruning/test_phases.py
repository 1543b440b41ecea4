import pytest

from sft_keras.pruning.phases import Phase, PhasePlan


def test_cycles_alternate_and_the_final_phase_follows():
    plan = PhasePlan(soft_epochs=5, prune_epochs=2, fine_tune_epochs=1)
    names = [plan.phase(epoch).name for epoch in range(7)]
    assert names == ["PRUNE", "PRUNE", "FINE_TUNE", "PRUNE", "PRUNE", "FINAL", "FINAL"]
    assert [plan.ends_cycle(epoch) for epoch in range(4)] == [False, False, True, False]


def test_without_fine_tune_epochs_all_soft_epochs_prune():
    plan = PhasePlan(soft_epochs=3, prune_epochs=1, fine_tune_epochs=0)
    assert [plan.phase(epoch) for epoch in range(4)] == [Phase.PRUNE] * 3 + [Phase.FINAL]


def test_progress_reaches_one_at_the_last_soft_epoch():
    plan = PhasePlan(soft_epochs=4, prune_epochs=1, fine_tune_epochs=1)
    assert [plan.progress(epoch) for epoch in range(6)] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
