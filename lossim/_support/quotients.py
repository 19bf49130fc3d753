"""Quotients and odds of masses, some of which are 0."""

from __future__ import annotations

import numpy as np

from lossim._support.types import FloatArray, IntArray


def quotient(x: FloatArray | float, y: FloatArray, *, nothing: float = 0.0, above: float = 0.0) -> FloatArray:
    """x / y where y lies above a bound, and ``nothing`` elsewhere.

    >>> quotient(np.array([1.0, 0.0]), np.array([4.0, 0.0]))
    array([0.25, 0.  ])
    """
    found = np.full(np.broadcast_shapes(np.shape(x), y.shape), nothing)
    return np.divide(x, y, out=found, where=y > above)


def log_odds(stops: FloatArray | IntArray, goes: FloatArray | IntArray) -> FloatArray:
    """The logits of hazards, log stops - log goes, of how many stop and go on; 0 where nobody is, since any will do.

    >>> log_odds(np.array([1.0, 2.0, 0.0]), np.array([1.0, 0.0, 0.0]))
    array([ 0., inf,  0.])
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(stops + goes > 0, np.log(stops) - np.log(goes), 0.0)
