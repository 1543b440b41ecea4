"""Connected components of a graph."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def components(a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """The component of each of `count` nodes, where edges join `a[i]` and `b[i]`.

    Args:
        a: integer array (edges,).
        b: integer array (edges,).
        count: number of nodes, fewer than 2³¹.

    Returns:
        Integer array (count,).
    """
    # SciPy 1.11 takes no other integers, and returns rubbish instead of an error.
    edges = (a.astype("int32"), b.astype("int32"))
    matrix = coo_array((np.ones(len(a)), edges), shape=(count, count))
    return connected_components(matrix, directed=False)[1]
