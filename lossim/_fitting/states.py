"""Right and wrong responses as one path with work: right ones done from a share of their length on."""

from __future__ import annotations

import numpy as np

from lossim._support.positions import log_survival
from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray
from lossim.lengths import from_logits
from lossim.policies import Path, Work
from lossim.rollouts import answered_at


class Shares(Record):
    """Shares of right responses' lengths at which answers were there: ``values`` [run, share], each as frequent.

    ``last`` [run] is the last length of each run of lengths but the last one, which has no end.
    """

    values: FloatArray
    last: IntArray

    @classmethod
    def constant(cls, share: float) -> Shares:
        """One share for all."""
        return cls(values=np.array([[share]]), last=np.zeros(0, dtype=np.int64))


def states(rates: FloatArray, right: FloatArray, wrong: FloatArray, cut: FloatArray, shares: Shares
           ) -> list[list[Path]]:
    """A path with work for each class, from the solve rates [class] and hazard logits [class, t] of both grades.

    ``cut`` [class] is how many right responses were, as far as the log tells: others that are cut once done are wrong.

    With R and W the chances to end right and wrong, and M(t) that of a right response to have its answer there at t,

        working  A_t = Σ_{end >= t} W + Σ_{u > t} M(u) ,   a(t) = W(t)/A_t ,   q(t) = M(t)/(A_t + M(t)) ,
        done     D_t = Σ_{end >= t} R - Σ_{u > t} M(u) ,   b(t) = R(t)/D_t .

    The joint law of length and grade is that of the two laws, whatever the shares are.
    """
    return [[_path(float(rate), own_right, own_wrong, float(own_cut > 0), shares)]
            for rate, own_right, own_wrong, own_cut in zip(rates, right, wrong, cut, strict=True)]


def _path(rate: float, right: FloatArray, wrong: FloatArray, right_if_cut: float, shares: Shares) -> Path:
    """One class."""
    done = rate * _ends(right)
    working = (1.0 - rate) * _ends(wrong)
    ends = np.arange(1, len(done) + 1)
    length = np.minimum(ends, len(right))
    arrived = np.zeros(len(right) + 1)
    of_length = shares.values[np.searchsorted(shares.last, length)]  # [end, share]
    for share in of_length.T:
        arrived += np.bincount(answered_at(length, share) - 1, weights=done / len(of_length.T), minlength=len(done))
    moved = arrived[:-1]
    later = _from_here(arrived)[1:]
    at_work = _from_here(working)[:-1] + later
    # Whoever stops done at t is done there, whatever rounding says.
    there = np.maximum(_from_here(done)[:-1] - later, done[:-1])
    waiting = at_work + moved
    arrival = np.divide(moved, waiting, out=np.zeros_like(moved), where=waiting > 0)
    laws = (from_logits(_odds(working[:-1], at_work)), from_logits(_odds(done[:-1], there), entered=True))
    return Path("all", length=laws[0], p_correct=0.0, work=Work.arriving(
        arrival, done=laws[1], p_correct_truncated=right_if_cut))


def _ends(logits: FloatArray) -> FloatArray:
    """P(end) [end] of hazard logits [t]."""
    survives = log_survival(0.0 - np.logaddexp(0.0, logits))
    stopped = np.exp(survives[:-1] + 0.0 - np.logaddexp(0.0, -logits))
    return np.append(stopped, np.exp(survives[-1]))


def _from_here(x: FloatArray) -> FloatArray:
    """Sums from each place on."""
    return np.cumsum(x[::-1])[::-1]


def _odds(stops: FloatArray, there: FloatArray) -> FloatArray:
    """Logits of the hazards stops/there; 0 where nobody is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(there > 0, np.log(stops) - np.log(np.maximum(there - stops, 0.0)), 0.0)
