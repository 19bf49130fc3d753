"""What nobody knows, and what it does to a number: the doubts that stand beside a result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lossim._support.plain import plain
from lossim._support.text import either
from lossim._support.types import FloatArray, IntArray

__all__ = ["Doubt", "range_over", "undecided_by"]

MOST_NAMED = 6
"""Options that are named one by one; of more, how many there are of each kind."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Doubt:
    """Something unknown, and the drift of mean length under each thing that it may be.

    Attributes:
        unknown: what is not known: ``"kernel"``, ``"critic"``, ``"reading"``, ``"needed"``, ...
        options: what each possibility is called.
        lengths: [option], tokens in a step of 0.01 nats; NaN where the policy does not move, or nobody can say.
        within: sizes up to this, and above 0, are not told from noise.

    >>> doubt = Doubt(unknown="critic", options=("zero", "exact"), lengths=np.array([12.0, -3.0]))
    >>> doubt.decided, doubt.text
    (False, 'longer if the critic is zero (+12), shorter if it is exact (-3)')
    """

    unknown: str
    options: tuple[str, ...]
    lengths: FloatArray
    within: float = 0.0

    @property
    def ways(self) -> IntArray:
        """1 for longer, -1 for shorter, 0 for no drift, [option]."""
        known = np.nan_to_num(self.lengths)
        return np.where(np.abs(known) > self.within, np.sign(known), 0.0).astype(np.int64)

    @property
    def decided(self) -> bool:
        """Whether mean length goes the same way under all options, or none, as far as it is told from noise."""
        ways = set(self.ways[(self.ways != 0) | (self.lengths == 0)].tolist())
        return len(ways) <= 1

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest number of tokens."""
        known = self.lengths[~np.isnan(self.lengths)]
        return (float(known.min()), float(known.max())) if len(known) else (np.nan, np.nan)

    @property
    def text(self) -> str:
        """Which way length goes under which of the options."""
        if len(self.options) > MOST_NAMED:
            return self._counted
        kinds: dict[str, list[str]] = {}
        for way, option, length in zip(self.ways.tolist(), self.options, self.lengths, strict=True):
            kinds.setdefault(self._said(way), []).append(f"{option}{_size(length)}")
        said = [f"{kind} if {{}} {either(options)}" for kind, options in kinds.items()]
        return ", ".join(each.format("it is" if i else f"the {self.unknown} is") for i, each in enumerate(said))

    @property
    def _counted(self) -> str:
        """How many options go each way."""
        kinds = Counter(self._said(way) for way in self.ways.tolist())
        (first, most), *others = kinds.most_common()
        rest = "".join(f", {name} in {count}" for name, count in others)
        return f"{first} in {most} of {len(self.options)} {self.unknown}s{rest}"

    def _said(self, way: int) -> str:
        """A way in words."""
        return UNTOLD if way == 0 and self.within else WAYS[way]

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        return {"unknown": self.unknown, "options": list(self.options), "lengths": plain(self.lengths),
                "decided": self.decided, "text": self.text}


WAYS = {1: "longer", -1: "shorter", 0: "no drift"}
UNTOLD = "within the noise"


def _size(length: float) -> str:
    return "" if np.isnan(length) or length == 0 else f" ({length:+.3g})"


def range_over(number: float, doubts: Sequence[Doubt]) -> tuple[float, float]:
    """The lowest and the highest of a number and of what it is under every doubt; NaN where the number is."""
    if np.isnan(number):
        return number, number
    every = np.array([number, *(bound for doubt in doubts for bound in doubt.range)])
    return float(np.nanmin(every)), float(np.nanmax(every))


def undecided_by(doubts: Sequence[Doubt]) -> tuple[Doubt, ...]:
    """The doubts that decide the sign."""
    return tuple(doubt for doubt in doubts if not doubt.decided)
