"""The paths of a policy that has to think, from numbers that people read off a run."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lossim._support import checks
from lossim._support.positions import after
from lossim._support.quotients import quotient
from lossim._support.types import FloatArray
from lossim.lengths import Length, constant, lognormal
from lossim.policies._policy import Policy
from lossim.policies._prompts import Path, PromptClass, Work

__all__ = ["LOOPS", "Goal", "reasoning_paths"]

LOOPS = 1e-6
"""Chance to stop at each position of a response that repeats itself."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """The numbers that one class is to have; see :func:`lossim.policies.reasoning`."""

    accuracy: float
    mean_right: float
    mean_wrong: float
    premature: float
    truncated: float
    verbosity: float
    sigma: float
    max_tokens: int


@dataclass(frozen=True, kw_only=True)
class _Thinks:
    """How responses of a path with work end: chances of being right, early and cut, and tokens of right and wrong."""

    path: Path
    right: float
    early: float
    cut: float
    mean_right: float
    wrong_tokens: float


def reasoning_paths(goal: Goal) -> list[Path]:
    """The paths "thinks", "wrong" and "loops", those of them that occur.

    Raises:
        ValueError: no such paths exist; the message says which number stands in the way.
    """
    most = (1.0 - goal.premature) * (1.0 - goal.accuracy)
    if goal.truncated > most * (1.0 + 1e-9):
        checks.fail("truncated", float(f"{goal.truncated:.4g}"), f"must be at most {most:.4g} for a class with "
                    f"accuracy {goal.accuracy:.3g} and premature {goal.premature:.3g}: responses that stopped early "
                    "are not cut", "lower truncated or premature")
    thinks = _thinks(goal)
    share = goal.accuracy / thinks.right
    rest = 1.0 - share
    if rest < -1e-9:
        checks.fail("mean_right", goal.mean_right, f"is so long that {thinks.cut:.1%} of the responses that think are "
                    f"cut at max_tokens {goal.max_tokens:,}, and the others are too few for an accuracy of "
                    f"{goal.accuracy:.3g}", "lower it, premature or difficulty, or raise max_tokens")
    rest = max(rest, 0.0)
    loops, wrong = _others(goal, thinks, share, rest)
    found = [(share, thinks.path), (rest - loops, Path("wrong", length=wrong, p_correct=0.0)),
             (loops, Path("loops", length=constant(hazard=LOOPS), p_correct=0.0))]
    kept = [(chance, path) for chance, path in found if chance > 1e-12]
    total = math.fsum(chance for chance, _ in kept)
    return [path.moved(chance / total, path.laws) for chance, path in kept]


# --- the path with work -----------------------------------------------------------------------------------------


def _thinks(goal: Goal) -> _Thinks:
    """The path on which as many stop early as asked, for each that is right, and those are as long as asked.

    Two unknowns, the median of the work and the chance to stop before it, both as logarithms.
    """
    from scipy.optimize import root  # takes longer to import than lossim does

    early = goal.premature * (1.0 - goal.accuracy) / goal.accuracy

    def missed(logs: FloatArray) -> list[float]:
        made = _made(goal, *np.exp(np.clip(logs, -30.0, 30.0)))
        length = math.log(max(made.mean_right, 1e-300) / goal.mean_right)
        if early == 0:
            return [length, float(logs[1])]
        return [length, math.log(max(made.early, 1e-300) / max(made.right, 1e-300) / early)]

    work = max(goal.mean_right - goal.verbosity, 1.0)
    first = [math.log(work), math.log(math.log1p(early) / work) if early > 0 else 0.0]
    found = root(missed, first, tol=1e-12)
    if np.abs(missed(found.x)).max() > 1e-6:
        checks.fail("mean_right", goal.mean_right, f"is not reached with a verbosity of {goal.verbosity:.4g}, "
                    f"{goal.premature:.3g} of the wrong responses early and max_tokens {goal.max_tokens:,}",
                    "change one of them: right responses hold the work and the verbosity")
    return _made(goal, *np.exp(found.x))


def _made(goal: Goal, median: float, hazard: float) -> _Thinks:
    """The path with this median of the work and this chance to stop before the answer is there."""
    stops = constant(hazard=min(hazard, 1.0) if goal.premature > 0 else 0.0)
    answer = lognormal(median=median, sigma=goal.sigma)
    path = Path("thinks", length=stops, p_correct=0.0, work=Work(
        answer=answer, done=constant(hazard=1.0 / goal.verbosity)))
    law = Policy([PromptClass("prompts", paths=[path])], max_tokens=goal.max_tokens).arrays
    right = law.law[:, 0].sum(axis=0)
    tokens = law.ends.sum(axis=0) @ law.length
    chance = float(right.sum())
    right_tokens = float(right @ law.length)
    later = after(_ends(answer, goal.max_tokens))  # P(W > t)
    coming = 1.0 - quotient(later[-1], later, nothing=1.0)  # an answer beyond N is none
    return _Thinks(path=path, right=chance, early=float(law.ends[0, :-1] @ coming), cut=float(law.ends[:, -1].sum()),
                   mean_right=right_tokens / max(chance, 1e-300), wrong_tokens=float(tokens) - right_tokens)


# --- the others -------------------------------------------------------------------------------------------------


def _others(goal: Goal, thinks: _Thinks, share: float, rest: float) -> tuple[float, Length]:
    """The share of loops, and the law of wrong responses, by which as many are cut and wrong ones as long as asked."""
    from scipy.optimize import brentq

    wanted = goal.mean_wrong * (1.0 - goal.accuracy) - share * thinks.wrong_tokens
    cap = goal.max_tokens
    length = np.append(np.arange(1.0, cap + 1.0), cap)
    looping = _ends(constant(hazard=LOOPS), cap)

    def at(median: float) -> tuple[float, float, float]:
        """The share of loops, and the tokens of loops and wrong responses and how many of all are cut."""
        ends = _ends(lognormal(median=median, sigma=goal.sigma), cap)
        cut = float(ends[-1])
        missing = goal.truncated - share * thinks.cut - rest * cut
        loops = float(np.clip(missing / max(looping[-1] - cut, 1e-12), 0.0, rest))
        others = loops * looping + (rest - loops) * ends
        return loops, float(others @ length), share * thinks.cut + float(others[-1])

    shortest, longest = 1e-2, 1e3 * cap
    low, high = (at(median)[1] for median in (shortest, longest))
    if rest == 0 and abs(wanted) <= 1e-6 * cap:
        return 0.0, constant(hazard=1.0)
    rounding = 1e-9 * cap
    if not low - rounding <= wanted <= high:
        span = [(x + share * thinks.wrong_tokens) / (1.0 - goal.accuracy) for x in (low, high)]
        checks.fail("mean_wrong", goal.mean_wrong, f"must lie between {span[0]:.4g} and {span[1]:.4g} for a class with "
                    f"accuracy {goal.accuracy:.3g}, premature {goal.premature:.3g} and truncated {goal.truncated:.3g}",
                    "stops before the answer are short, cut responses have length max_tokens")
    median = shortest
    if wanted > low + rounding:
        logs = math.log(shortest), math.log(longest)
        median = math.exp(brentq(lambda log: at(math.exp(log))[1] - wanted, *logs))
    loops, _, cut = at(median)
    if goal.truncated > 0 and abs(cut - goal.truncated) > 1e-6 * goal.truncated:
        checks.fail("truncated", float(f"{goal.truncated:.4g}"), f"must be {cut:.4g} for a class with accuracy "
                    f"{goal.accuracy:.3g}: so long are its responses that as many are cut at {cap:,} tokens",
                    "ask for 0, as few as the lengths allow; or lower mean_wrong or sigma, or raise max_tokens")
    return loops, lognormal(median=median, sigma=goal.sigma)


def _ends(law: Length, max_tokens: int) -> FloatArray:
    """P(end) of a law of length, [end]."""
    path = Path("wrong", length=law, p_correct=0.0)
    return Policy([PromptClass("prompts", paths=[path])], max_tokens=max_tokens).arrays.ends[0]
