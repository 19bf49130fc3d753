"""The paths of a policy from numbers that people read off a run: one that has to think, or one that knows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtr

from lossim._support import checks
from lossim._support.types import FloatArray
from lossim.lengths import Length, constant, lognormal
from lossim.policies._prompts import Path, Work

__all__ = ["LOOPS", "Goal", "cut_of", "knowing_paths", "reasoning_paths", "tails"]

LOOPS = 1e-6
"""Chance to stop at each position of a response that repeats itself."""
ONE_BY_ONE = 100.0
"""Positions up to this over σ are summed one by one."""


@dataclass(frozen=True, kw_only=True)
class Goal:
    """The numbers that one class is to have; see :func:`lossim.policies.reasoning`.

    ``right`` and ``wrong`` are what messages call the two means.
    """

    accuracy: float
    mean_right: float
    mean_wrong: float
    premature: float = 0.0
    truncated: float
    verbosity: float = 1.0
    sigma: float
    max_tokens: int
    right: str = "mean_right"
    wrong: str = "mean_wrong"

    @staticmethod
    def said(tokens: float) -> float:
        """A mean as messages show it: it may be computed."""
        return float(f"{tokens:.6g}")

    @property
    def class_said(self) -> str:
        """The class as messages name it."""
        early = f", premature {self.premature:.3g}" if self.premature > 0 else ""
        return f"a class with accuracy {self.accuracy:.3g}{early} and truncated {self.truncated:.3g}"


@dataclass(frozen=True, kw_only=True)
class _Ends:
    """How responses of a path with answers end: chances of being right, early, cut, and tokens of right and wrong."""

    right: float
    early: float
    cut: float
    mean_right: float
    wrong_tokens: float


@dataclass(frozen=True, kw_only=True)
class _Answers(_Ends):
    """The path with answers, and how its responses end."""

    path: Path


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
    answers = _thinks(goal)
    share = goal.accuracy / answers.right
    if share > 1.0 + 1e-9:
        checks.fail(goal.right, goal.said(goal.mean_right), f"is so long that {answers.cut:.1%} of the responses that "
                    f"think are cut at max_tokens {goal.max_tokens:,}, and the others are too few for an accuracy of "
                    f"{goal.accuracy:.3g}", "lower it, premature or difficulty, or raise max_tokens")
    return _with_others(goal, answers, share)


def knowing_paths(goal: Goal) -> list[Path]:
    """The paths "right", "wrong" and "loops", those of them that occur: the policy knows from the first token.

    Raises:
        ValueError: no such paths exist; the message says which number stands in the way.
    """
    answers = _knows(goal)
    if goal.accuracy == 1.0:
        return [answers.path]
    share = goal.accuracy / answers.right
    if share > 1.0 + 1e-9:
        checks.fail(goal.right, goal.said(goal.mean_right), f"is so long that {answers.cut:.1%} of those that would be "
                    f"right are cut at max_tokens {goal.max_tokens:,}, and the others are too few for an accuracy of "
                    f"{goal.accuracy:.3g}", "lower it or the spread, or raise max_tokens")
    return _with_others(goal, answers, share)


def _with_others(goal: Goal, answers: _Answers, share: float) -> list[Path]:
    """The path with answers, at its share, and beside it wrong responses and loops."""
    rest = max(1.0 - share, 0.0)
    loops, wrong = _others(goal, answers, share, rest)
    found = [(share, answers.path), (rest - loops, Path("wrong", length=wrong, p_correct=0.0)),
             (loops, Path("loops", length=constant(hazard=LOOPS), p_correct=0.0))]
    kept = [(chance, path) for chance, path in found if chance > 1e-12]
    total = math.fsum(chance for chance, _ in kept)
    return [path.moved(chance / total, path.laws) for chance, path in kept]


# --- the path with work -----------------------------------------------------------------------------------------


def _thinks(goal: Goal) -> _Answers:
    """The path on which as many stop early as asked, for each that is right, and those are as long as asked.

    Two unknowns, the median of the work and the chance to stop before it, both as logarithms.
    """
    from scipy.optimize import root  # takes longer to import than lossim does

    early = goal.premature * (1.0 - goal.accuracy) / goal.accuracy

    def missed(logs: FloatArray) -> list[float]:
        median, hazard = np.exp(np.clip(logs, -30.0, 30.0))
        ends = _ends(goal, median, _early(goal, hazard))
        length = math.log(max(ends.mean_right, 1e-300) / goal.mean_right)
        if early == 0:
            return [length, float(logs[1])]
        return [length, math.log(max(ends.early, 1e-300) / max(ends.right, 1e-300) / early)]

    work = max(goal.mean_right - goal.verbosity, 1.0)
    first = [math.log(work), math.log(math.log1p(early) / work) if early > 0 else 0.0]
    found = root(missed, first, tol=1e-12)
    if np.abs(missed(found.x)).max() > 1e-6:
        checks.fail(goal.right, goal.said(goal.mean_right), "is not reached with a verbosity of "
                    f"{goal.verbosity:.4g}, {goal.premature:.3g} of the wrong responses early and max_tokens "
                    f"{goal.max_tokens:,}",
                    "change one of them: right responses hold the work and the verbosity")
    median, hazard = np.exp(found.x)
    hazard = _early(goal, hazard)
    path = Path("thinks", length=constant(hazard=hazard), p_correct=0.0, work=Work(
        answer=lognormal(median=median, sigma=goal.sigma), done=constant(hazard=1.0 / goal.verbosity)))
    return _Answers(path=path, **vars(_ends(goal, median, hazard)))


def _early(goal: Goal, hazard: float) -> float:
    """The chance to stop at each position before the answer is there."""
    return min(float(hazard), 1.0) if goal.premature > 0 else 0.0


def _ends(goal: Goal, median: float, hazard: float) -> _Ends:
    """How responses of the path end, in sums over W: both chances to stop are alike at all positions.

    With h = ``hazard``, s = 1 - 1/verbosity, n = N - W + 1 and P(W = w) (1 - h)^(w-1) the mass that gets done at w:

        P(right | done at W) = 1 - s^n ,   E[T - W + 1; right | done at W] = verbosity (1 - s^n) - n s^n
    """
    cap = goal.max_tokens
    position = np.arange(1.0, cap + 1.0)
    deviation = (math.log(median) - _logs(cap)) / goal.sigma
    later = ndtr(deviation)  # P(W > t)
    arrives = -np.diff(later, prepend=1.0)
    below = np.count_nonzero(deviation > 0)  # up to the median the other tail keeps its digits
    arrives[:below] = np.diff(ndtr(-deviation[:below]), prepend=0.0)
    going = np.exp((position - 1.0) * math.log1p(-hazard)) if hazard < 1.0 else (position == 1.0).astype(np.float64)
    done = arrives * going
    left, stops, tokens = _after_answer(goal.verbosity, cap)
    right = float(done @ stops)
    working = later * going * hazard
    cut = float(later[-1] * going[-1] * (1.0 - hazard) + done @ left)
    return _Ends(right=right, early=float(((later - later[-1]) * going).sum() * hazard), cut=cut,
                 mean_right=float(done @ tokens) / max(right, 1e-300),
                 wrong_tokens=float(working @ position) + cap * cut)


@lru_cache(maxsize=2)
def _after_answer(verbosity: float, cap: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """s^n, 1 - s^n and E[T; right | done at W] of :func:`_ends`, by W."""
    position = np.arange(1.0, cap + 1.0)
    left = (1.0 - 1.0 / verbosity) ** (cap - position + 1.0)
    stops = 1.0 - left
    found = left, stops, (position - 1.0 + verbosity) * stops - (cap - position + 1.0) * left
    for each in found:
        each.setflags(write=False)
    return found


# --- the path of right responses --------------------------------------------------------------------------------


def _knows(goal: Goal) -> _Answers:
    """The path whose responses are right unless they are cut, and as long as asked where they are right."""
    if goal.accuracy == 0.0:
        return _Answers(path=Path("right", length=constant(hazard=1.0), p_correct=1.0), right=1.0, early=0.0, cut=0.0,
                        mean_right=1.0, wrong_tokens=0.0)
    law = _conditional(goal.right, goal.mean_right, goal.sigma, goal.max_tokens)
    cut, tokens = _moments(law, goal.max_tokens)
    cut_tokens = cut * goal.max_tokens
    return _Answers(path=Path("right", length=law, p_correct=1.0), right=1.0 - cut, early=0.0, cut=cut,
                    mean_right=(tokens - cut_tokens) / (1.0 - cut), wrong_tokens=cut_tokens)


@lru_cache(maxsize=32)
def _conditional(name: str, mean: float, sigma: float, cap: int) -> Length:
    """The lognormal law whose responses that stop by the cap are as long on average."""
    if mean <= 1.0 + 1e-9:
        return constant(hazard=1.0)

    def missed(log_median: float) -> float:
        cut, tokens = _lognormal_moments(log_median, sigma, cap)
        return (tokens - cap * cut) / max(1.0 - cut, 1e-300) - mean

    low, high = _lowest(mean, sigma), math.log(cap) + 5.0 * sigma
    longest = missed(high) + mean
    if longest <= mean:
        checks.fail(name, float(f"{mean:.6g}"), f"must be below {longest:.4g}, as long as responses of this spread can "
                    f"be and still stop by themselves before max_tokens {cap:,}",
                    "raise max_tokens, or lower it or the spread")
    return lognormal(median=math.exp(_root(missed, low, high, _near(mean, sigma))), sigma=sigma)


def _near(mean: float, sigma: float) -> float:
    """The log of the median for this mean, if nothing were cut: E[T] is about median·exp(σ²/2) + ½."""
    return math.log(max(mean - 0.5, 0.5)) - 0.5 * sigma**2


def _lowest(mean: float, sigma: float) -> float:
    """The log of a median that is too small for this mean."""
    return math.log(mean) - 0.5 * sigma**2 - 8.0 * sigma - 3.0


def _root(missed: Callable[[float], float], low: float, high: float, near: float) -> float:
    """Where a rising function that is 0 between ``low`` and ``high`` is so, quickly if that is near."""
    from scipy.optimize import brentq  # takes longer to import than lossim does

    near = min(max(near, low), high)
    side = 1.0 if missed(near) <= 0.0 else -1.0
    step = 0.02
    inner = outer = near
    while True:  # a bracket that grows on the side where the root is
        outer = min(max(near + side * step, low), high)
        if outer in (low, high) or missed(outer) * side >= 0.0:
            break
        inner = outer
        step *= 5.0
    return float(brentq(missed, min(inner, outer), max(inner, outer), xtol=1e-12, rtol=1e-12))


# --- the others -------------------------------------------------------------------------------------------------


def _others(goal: Goal, answers: _Answers, share: float, rest: float) -> tuple[float, Length]:
    """The share of loops, and the law of wrong responses, by which as many are cut and wrong ones as long as asked."""
    wanted = goal.mean_wrong * (1.0 - goal.accuracy) - share * answers.wrong_tokens
    cap = goal.max_tokens
    looping, loop_tokens = _moments(constant(hazard=LOOPS), cap)

    def at(log_median: float) -> tuple[float, float, float]:
        """The share of loops, and the tokens of loops and wrong responses and how many of all are cut."""
        cut, tokens = _lognormal_moments(log_median, goal.sigma, cap)
        missing = goal.truncated - share * answers.cut - rest * cut
        loops = float(np.clip(missing / max(looping - cut, 1e-12), 0.0, rest))
        return (loops, loops * loop_tokens + (rest - loops) * tokens,
                share * answers.cut + loops * looping + (rest - loops) * cut)

    shortest, longest = math.log(1e-2), math.log(1e3 * cap)
    low, high = (at(log_median)[1] for log_median in (shortest, longest))
    if rest == 0 and abs(wanted) <= 1e-6 * cap:
        return 0.0, constant(hazard=1.0)
    rounding = 1e-9 * cap
    if not low - rounding <= wanted <= high:
        span = [(x + share * answers.wrong_tokens) / (1.0 - goal.accuracy) for x in (low, high)]
        checks.fail(goal.wrong, goal.said(goal.mean_wrong), f"must lie between {span[0]:.4g} and {span[1]:.4g} for "
                    f"{goal.class_said}", "stops before the answer are short, cut responses have length max_tokens")
    log_median = shortest
    if wanted > low + rounding:
        looped = min(max(goal.truncated - share * answers.cut, 0.0), 0.999 * rest)
        near = _near((wanted - looped * cap) / (rest - looped), goal.sigma)
        log_median = _root(lambda log: at(log)[1] - wanted, shortest, longest, near)
    loops, _, cut = at(log_median)
    if goal.truncated > 0 and abs(cut - goal.truncated) > 1e-6 * goal.truncated:
        checks.fail("truncated", float(f"{goal.truncated:.4g}"), f"must be {cut:.4g} for a class with accuracy "
                    f"{goal.accuracy:.3g}: so long are its responses that as many are cut at {cap:,} tokens",
                    f"ask for 0, as few as the lengths allow; or lower {goal.wrong} or sigma, or raise max_tokens")
    return loops, lognormal(median=math.exp(log_median), sigma=goal.sigma)


def tails(goal: Goal) -> float:
    """P(cut) of a class whose policy knows, without loops: of what is too long by the spread of lengths."""
    answers = _knows(goal)
    cap = goal.max_tokens
    right_cut = goal.accuracy / answers.right * answers.cut
    rest = 1.0 - goal.accuracy - right_cut
    mean = (goal.mean_wrong * (1.0 - goal.accuracy) - right_cut * cap) / rest if rest > 0 else 0.0
    if mean <= 1.0 + 1e-9:
        return right_cut

    def missed(log_median: float) -> float:
        return _lognormal_moments(log_median, goal.sigma, cap)[1] - mean

    high = math.log(cap) + 10.0 * goal.sigma
    if missed(high) <= 0:
        return right_cut + rest
    log_median = _root(missed, _lowest(mean, goal.sigma), high, _near(mean, goal.sigma))
    return right_cut + rest * _lognormal_moments(log_median, goal.sigma, cap)[0]


def cut_of(paths: list[Path], cap: int) -> float:
    """P(cut) of the paths of a class whose policy knows."""
    return sum(path.probability * _moments(path.length, cap)[0] for path in paths)


# --- laws in sums -----------------------------------------------------------------------------------------------


def _moments(law: Length, cap: int) -> tuple[float, float]:
    """P(cut) and E[min(T, N)] = Σ_{t<N} P(T > t) of a law, from its survival function alone."""
    if isinstance(law, constant):
        left = (1.0 - law.hazard) ** cap
        return left, (1.0 - left) / law.hazard
    assert isinstance(law, lognormal)
    return _lognormal_moments(math.log(law.median), law.sigma, cap)


def _lognormal_moments(log_median: float, sigma: float, cap: int) -> tuple[float, float]:
    """The same of a lognormal law: the first terms one by one, the others by the sum of Euler and Maclaurin.

    Σ_{a<t<=b} f(t) = ∫_a^b f + (f(b) - f(a))/2 + (f'(b) - f'(a))/12 - (f'''(b) - f'''(a))/720 + ..., f(t) = P(T > t).
    What is left out is of the order of (aσ)^-5/30240.
    """
    cut = float(ndtr((log_median - math.log(cap)) / sigma))
    first = min(cap - 1, math.ceil(ONE_BY_ONE / sigma))
    tokens = 1.0 + float(ndtr((log_median - _logs(cap)[:first]) / sigma).sum())
    if first < cap - 1:
        ends = [_antiderivative(float(t), log_median, sigma) for t in (first, cap - 1)]
        tokens += ends[1] - ends[0]
    return cut, tokens


def _antiderivative(t: float, log_median: float, sigma: float) -> float:
    """∫ f + f/2 + f'/12 - f'''/720 at t, for f(t) = Φ(z), z = (log median - log t)/σ."""
    z = (log_median - math.log(t)) / sigma
    below = math.exp(log_median + 0.5 * sigma**2) * float(ndtr(-z - sigma))  # E[T; T < t]
    density = math.exp(-0.5 * z * z) / (math.sqrt(2.0 * math.pi) * sigma)
    slope = -density / t
    third = density * ((1.0 - z * z) / sigma**2 + 3.0 * z / sigma - 2.0) / t**3
    return t * float(ndtr(z)) + below + 0.5 * float(ndtr(z)) + slope / 12.0 - third / 720.0


@lru_cache(maxsize=8)
def _logs(cap: int) -> FloatArray:
    """log t, t = 1..N."""
    logs = np.log(np.arange(1.0, cap + 1.0))
    logs.setflags(write=False)
    return logs

