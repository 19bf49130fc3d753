"""Quotients of masses, some of which are 0."""

from __future__ import annotations

import numpy as np

from lossim._support.types import FloatArray


def quotient(x: FloatArray | float, y: FloatArray, *, nothing: float = 0.0, above: float = 0.0) -> FloatArray:
    """x / y where y lies above a bound, and ``nothing`` elsewhere.

    >>> quotient(np.array([1.0, 0.0]), np.array([4.0, 0.0]))
    array([0.25, 0.  ])
    """
    found = np.full(np.broadcast_shapes(np.shape(x), y.shape), nothing)
    return np.divide(x, y, out=found, where=y > above)
