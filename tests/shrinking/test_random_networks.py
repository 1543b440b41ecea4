"""Random networks of all that shrink understands: masked and shrunk model give the same outputs.

`make test-long` draws thousands of them; see `benchmarks/RESULTS.md` for a recorded run.
"""

import os

import keras
import pytest
import tf_keras
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from random_networks import networks

COUNT = int(os.environ.get("SFT_RANDOM_NETWORKS", "150"))
KINDS = [(k, rank) for k in (keras, tf_keras) for rank in range(5)]
PARTS = range(max(1, COUNT // 500))
"""Parts of some fifty networks, for progress to be seen; each draws from a seed of its own."""


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("k", "rank"), KINDS, ids=lambda x: getattr(x, "__name__", x))
def test_shrunk_network_equals_masked_network(k, rank, part, shrink_and_compare):
    @seed(part)
    @settings(
        max_examples=-(-COUNT // (len(KINDS) * len(PARTS))),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(model=networks(k, rank), mask_seed=st.integers(0, 3))
    def check(model, mask_seed):
        small = shrink_and_compare(model, mask_seed)
        assert small.count_params() <= model.count_params()

    check()
