import numpy as np

from sft_keras.pruning.convergence import MaskConvergence, Plateau, intersection_over_union


def test_intersection_over_union():
    a, b = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert intersection_over_union(a, b) == 1 / 3
    assert intersection_over_union(a, a) == 1
    assert intersection_over_union(np.zeros(3, bool), np.zeros(3, bool)) == 1


def test_mask_converges_after_cycles_without_change():
    a, b = np.array([1, 0], bool), np.array([0, 1], bool)
    convergence = MaskConvergence(cycles=2)
    assert [convergence.reached(m) for m in (a, a, b, b, b)] == [False, False, False, False, True]


def test_plateau_waits_for_its_patience():
    plateau = Plateau(patience=2)
    values = (1.0, 0.9, 0.95, 0.9)
    assert [plateau.reached(v) for v in values] == [False, False, False, True]


def test_plateau_without_patience_or_value_never_ends():
    assert not any(Plateau(None).reached(1.0) for _ in range(9))
    assert not any(Plateau(1).reached(None) for _ in range(9))


def test_nan_is_no_improvement():
    plateau = Plateau(patience=1)
    assert plateau.reached(float("nan"))
