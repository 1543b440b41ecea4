import numpy as np
import pytest

from sft_keras.channels.components import components


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_nodes_joined_by_edges_have_one_number(dtype):
    found = components(np.array([0, 3, 5], dtype), np.array([1, 1, 4], dtype), 6)
    assert len(set(found[[0, 1, 3]])) == len(set(found[[4, 5]])) == 1
    assert len(set(found[[0, 2, 4]])) == 3


def test_no_edges_and_no_nodes():
    none = np.empty(0, "int64")
    assert components(none, none, 3).tolist() == [0, 1, 2]
    assert components(none, none, 0).tolist() == []
