"""Ids as numbers from 0."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lossim._support.types import IntArray


def numbered(ids: NDArray[Any]) -> tuple[IntArray, int]:
    """The number of each id among the different ones, in their order, from 0; and how many different ones there are."""
    if ids.dtype.kind not in "iu" or not ids.size or ids.min() < 0 or ids.max() > 4 * len(ids):
        names, number = np.unique(ids, return_inverse=True)
        return number.astype(np.int32), len(names)
    seen = np.zeros(int(ids.max()) + 1, dtype=np.bool_)  # small whole numbers need no sorting
    seen[ids] = True
    rank = np.cumsum(seen, dtype=np.int32) - 1
    return rank[ids], int(np.count_nonzero(seen))
