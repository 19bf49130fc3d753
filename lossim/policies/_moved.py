"""A law of length that training has moved."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lossim._support.types import FloatArray
from lossim.lengths import Length

__all__ = ["Moved", "moved"]


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Moved(Length):
    """Another law whose hazard logits are shifted, z(t) = z⁰(t) + shift(t); beyond the last position as at that one.

    Attributes:
        start: the law that training started from.
        shift: [t], in nats, finite.
    """

    start: Length
    shift: FloatArray

    def logits(self, max_tokens: int) -> FloatArray:
        return self.start.logits(max_tokens) + _extended(self.shift, max_tokens)

    def __repr__(self) -> str:
        return f"moved({self.start!r}, {len(self.shift):,} positions)"


def moved(law: Length, shift: FloatArray) -> Moved:
    """The law with its logits shifted [t]; shifts of a law that was moved before add up."""
    if not isinstance(law, Moved):
        return Moved(start=law, shift=shift)
    longest = max(len(law.shift), len(shift))
    return Moved(start=law.start, shift=_extended(law.shift, longest) + _extended(shift, longest))


def _extended(shift: FloatArray, max_tokens: int) -> FloatArray:
    """The shift at positions 1..N: cut there, or with its last value kept."""
    further = max(max_tokens - len(shift), 0)
    return np.append(shift, np.repeat(shift[-1:], further))[:max_tokens]
