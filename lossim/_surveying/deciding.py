"""Which unknown decides: the share of a variance over the draws that each explains by itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lossim._support.text import percent
from lossim._support.types import FloatArray, IntArray

MOSTLY = 0.5
"""A share of the variance from which an unknown decides."""
SEEN = 0.05
"""A share of the variance below which it is not named."""


def bins(draws: int) -> int:
    """How many slices of an unknown's law so many draws are sorted into."""
    return int(np.clip(round(np.sqrt(draws) / 2.0), 2, 16))


def explained(value: FloatArray, slice_of: IntArray) -> float:
    """The first-order Sobol index Var(E[value | unknown]) / Var(value) of draws in slices of the unknown, [draw].

    By adjusted η², 1 - (Σ within²/(n - slices)) / (Σ total²/(n - 1)), whose mean is 0 where the unknown does nothing;
    at least 0. NaN where the value does not vary, or no slice has two draws.
    """
    _, number, count = np.unique(slice_of, return_inverse=True, return_counts=True)
    total = float(((value - value.mean()) ** 2).sum()) if len(value) else 0.0
    free = len(value) - len(count)
    if total <= 1e-24 * float((value**2).sum()) or free <= 0:
        return float("nan")
    means = np.bincount(number, weights=value) / count
    within = float(((value - means[number]) ** 2).sum())
    return max(0.0, 1.0 - (within / free) / (total / (len(value) - 1)))


def named(shares: Mapping[str, float]) -> str:
    """Which unknown decides, in words; nothing where nothing varies."""
    known = {name: share for name, share in shares.items() if np.isfinite(share)}
    if not known:
        return ""
    ordered = sorted(known, key=lambda name: -known[name])
    if known[ordered[0]] >= MOSTLY:
        return f"depends mostly on `{ordered[0]}`"
    seen = [f"`{name}` {percent(known[name])}" for name in ordered if known[name] >= SEEN]
    if not seen:
        return "no unknown decides by itself"
    return f"no unknown decides alone: of the variance {', '.join(seen)}"
