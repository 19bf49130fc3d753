"""Right and wrong responses as one path with work: done from a share of their length on, wrong ones if at all."""

from __future__ import annotations

import numpy as np

from lossim._support.positions import after, log_survival
from lossim._support.quotients import log_odds, quotient
from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray
from lossim.lengths import from_logits
from lossim.policies import Path, Work
from lossim.rollouts import answered_at


class Shares(Record):
    """Shares of responses' lengths at which answers were there, by runs of ends: stopped at 1..N, truncated.

    Attributes:
        values: [run, share], each as frequent.
        last: [run], the last end of each run but the last one, which has none.
        had: [run], chance that a response of the run had its answer at all.
    """

    values: FloatArray
    last: IntArray
    had: FloatArray

    def run(self, ends: IntArray) -> IntArray:
        """The run of each end."""
        return np.searchsorted(self.last, ends)

    def arrived(self, mass: FloatArray) -> FloatArray:
        """The chance to have one's answer there at t, [end]: of these chances [end] to end so and to have one."""
        ends = np.arange(1, len(mass) + 1)
        length = np.minimum(ends, len(mass) - 1)
        total = np.zeros(len(mass))
        for share in self.values[self.run(ends)].T:
            place = answered_at(length, share) - 1
            total += np.bincount(place, weights=mass / self.values.shape[1], minlength=len(mass))
        return total


class Answers(Record):
    """When the answers of right and of wrong responses were there."""

    right: Shares
    wrong: Shares

    @classmethod
    def at(cls, share: float, max_tokens: int, *, if_cut: bool = False) -> Answers:
        """One share for all right responses; wrong ones had no answer, but those that were cut ``if_cut``."""
        none = np.zeros(0, dtype=np.int64)
        one = np.array([[share]])
        return cls(right=Shares(values=one, last=none, had=np.ones(1)),
                   wrong=Shares(values=np.repeat(one, 2, axis=0), last=np.array([max_tokens]),
                                had=np.array([0.0, float(if_cut)])))


def states(rates: FloatArray, right: FloatArray, wrong: FloatArray, cut: FloatArray, answers: Answers
           ) -> list[list[Path]]:
    """A path with work for each class, from the solve rates [class] and hazard logits [class, t] of both grades.

    ``cut`` [class] is how many right responses were, as far as the log tells: others that are cut once done are wrong.

    With R the chance to end right, W and V to end wrong without an answer and with one, and M(t) to have one's answer
    there at t,

        working  A_t = Σ_{end >= t} W + Σ_{u > t} M(u) ,            a(t) = W(t)/A_t ,   q(t) = M(t)/(A_t + M(t)) ,
        done     D_t = Σ_{end >= t} (R + V) - Σ_{u > t} M(u) ,      b(t) = (R(t) + V(t))/D_t ,

    and who stops once done is correct with chance R/(R + V). The joint law of length and grade is that of the laws by
    grade, whatever the shares are.
    """
    return [[_path(float(rate), own_right, own_wrong, bool(own_cut > 0), answers)]
            for rate, own_right, own_wrong, own_cut in zip(rates, right, wrong, cut, strict=True)]


def _path(rate: float, right: FloatArray, wrong: FloatArray, right_if_cut: bool, answers: Answers) -> Path:
    """One class."""
    done_right = rate * _ends(right)
    ends_wrong = (1.0 - rate) * _ends(wrong)
    had = answers.wrong.had[answers.wrong.run(np.arange(1, len(ends_wrong) + 1))]
    done_wrong = ends_wrong * had
    working = ends_wrong * (1.0 - had)
    done = done_right + done_wrong
    arrived = answers.right.arrived(done_right) + answers.wrong.arrived(done_wrong)
    correct = quotient(done_right, done, nothing=1.0)
    moved = arrived[:-1]
    later = after(arrived)
    # Who goes on at t: those that end later, and those that change state later. Rounding leaves nobody below 0.
    at_work = after(working) + later
    there = np.maximum(after(done) - later, 0.0)
    arrival = quotient(moved, working[:-1] + at_work + moved)
    return Path("all", length=from_logits(log_odds(working[:-1], at_work)), p_correct=0.0, work=Work.arriving(
        arrival, done=from_logits(log_odds(done[:-1], there), entered=True), p_correct=correct[:-1],
        p_correct_truncated=float(correct[-1]) if right_if_cut else 0.0))


def _ends(logits: FloatArray) -> FloatArray:
    """P(end) [end] of hazard logits [t]."""
    survives = log_survival(0.0 - np.logaddexp(0.0, logits))
    stopped = np.exp(survives[:-1] + 0.0 - np.logaddexp(0.0, -logits))
    return np.append(stopped, np.exp(survives[-1]))
