"""Memory that the steps of a loop let go of and need again."""

from __future__ import annotations

from functools import cache

import numpy as np

BYTES = 1 << 24
"""Size of the array by which the C library learns how much to keep."""


@cache
def keep_pages() -> None:
    """Have memory of arrays that are let go of stay with the process for those that come next, up to twice ``BYTES``.

    The C library (glibc) hands memory back to the operating system once more is free at its end than twice the largest
    array that was let go of so far, and takes it again page by page: thousands of times in a step over arrays of a
    megabyte. One larger array, into which nobody writes, is all it takes; elsewhere this does nothing.
    """
    np.empty(BYTES, dtype=np.uint8)
