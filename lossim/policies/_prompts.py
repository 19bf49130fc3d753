"""Prompts and the paths of their responses: what a policy is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import expit, logit

from lossim._support import checks
from lossim._support.positions import after, log_survival
from lossim._support.quotients import log_odds, quotient
from lossim._support.types import ArrayLike, FloatArray
from lossim.lengths import Length, from_logits, hazard_logits

__all__ = ["Path", "PromptClass", "Work", "law_of", "sums_to_one", "unique"]

Correctness = float | ArrayLike | Callable[[FloatArray], ArrayLike]


@dataclass(frozen=True, eq=False, kw_only=True)
class Work:
    """What an answer takes: until it is there a response is *working*, from then on *done*.

    The position W at whose start the answer is there has a law of its own, which the policy's stops do not change;
    the policy sees which state it is in, and stops in each by a law of its own.

    Attributes:
        answer: law of W, tokens; W = 1 is an answer that takes no work.
        never: chance that the answer never comes, in [0, 1].
        done: law of length by which a response stops once it is done: its hazards, at positions counted from the
            start of the response (a geometric law's are alike at all of them).
        p_correct: chance that a response that stopped once done is correct, as in :class:`Path`.
        p_correct_truncated: the same for a response that was cut once done.
        skill, grades: as in :class:`Path`, once done.

    Raises:
        ValueError, TypeError: chances outside [0, 1], or laws that are none.

    >>> import lossim as ls
    >>> path = ls.Path("thinks", length=ls.lengths.geometric(mean=100), p_correct=0.0,
    ...                work=ls.Work(answer=ls.lengths.lognormal(median=100, sigma=0.5), never=0.2,
    ...                             done=ls.lengths.geometric(mean=20)))
    >>> ls.Policy([ls.PromptClass("prompts", paths=[path])], max_tokens=600)
    Policy(1 class, 2 cells, max_tokens=600: mean length 76.27, accuracy 0.296, truncated 0.000481)
    """

    answer: Length
    never: float = 0.0
    done: Length
    p_correct: Correctness = 1.0
    p_correct_truncated: float = 0.0
    skill: float = 0.0
    grades: Mapping[str, Correctness] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _keep(self, "work", chances=("never", "p_correct_truncated"), laws=("answer", "done"))

    @classmethod
    def arriving(cls, arrival: ArrayLike, *, done: Length, p_correct: Correctness = 1.0,
                 p_correct_truncated: float = 0.0) -> Work:
        """Work whose answer is there at t with these chances if it was not before, q(t) in [0, 1], [t].

        >>> import lossim as ls
        >>> ls.Work.arriving([0.0, 0.5, 0.0], done=ls.lengths.geometric(mean=2)).arrival(3)
        array([0. , 0.5, 0. ])
        """
        chance = checks.number_array("arrival", arrival, ndim=1, low=0.0, high=1.0)
        if not len(chance):
            checks.fail("arrival", [], "must hold at least one chance")
        waiting = np.cumprod(1.0 - chance)  # P(W > t)
        answer = law_of(np.append(chance * np.append(1.0, waiting[:-1]), 0.0))
        return cls(answer=answer, never=float(waiting[-1]), done=done, p_correct=p_correct,
                   p_correct_truncated=p_correct_truncated)

    def arrival(self, max_tokens: int) -> FloatArray:
        """q(t) = P(W = t | W ≥ t), [t]: the law's hazard times P(it comes at all | not by then)."""
        logits = hazard_logits(self.answer, max_tokens)
        log_hazard = 0.0 - np.logaddexp(0.0, -logits)
        comes = (1.0 - self.never) * np.exp(log_survival(0.0 - np.logaddexp(0.0, logits))[:-1])
        left = comes + self.never
        return np.exp(log_hazard) * quotient(comes, left, nothing=1.0)


@dataclass(frozen=True, eq=False)
class Path:
    """One way a response can go: how likely, how long, how often right.

    Attributes:
        name: e.g. ``"right"``; paths of the same name share coordinates across classes.
        probability: π, chance of the path given the class.
        length: length law, see :mod:`lossim.lengths`.
        p_correct: chance that a response that stopped at t is correct: a number, an array [t], or a function of
            the array of positions.
        p_correct_truncated: the same for a response that was cut.
        skill: what training has added to the log-odds of being correct, nats; chances of 0 and 1 stay.
        grades: other grades of responses that are not correct, by name (``{"partly": 0.3, "format": 0.2}``): the chance
            of each given that the response is not correct, as ``p_correct`` is given (an array may have one more entry,
            for cut responses); they sum to at most 1, and the rest is incorrect. :class:`~lossim.Reward` says what
            each is paid.
        work: what the answer takes, see :class:`Work`; ``length``, ``p_correct`` and ``p_correct_truncated`` are then
            those of a response that is still working. None: the path has one state.
    """

    name: str
    probability: float = field(default=1.0, kw_only=True)
    length: Length = field(kw_only=True)
    p_correct: Correctness = field(kw_only=True)
    p_correct_truncated: float = field(default=0.0, kw_only=True)
    skill: float = field(default=0.0, kw_only=True)
    grades: Mapping[str, Correctness] = field(default_factory=dict, kw_only=True)
    work: Work | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        checks.text("name of path", self.name)
        _keep(self, f"path {self.name!r}", chances=("probability", "p_correct_truncated"), laws=("length",))
        if self.work is not None and not isinstance(self.work, Work):
            checks.fail(f"work of path {self.name!r}", self.work, "must be Work, or None",
                        "for example Work(answer=lengths.lognormal(median=100, sigma=0.5), "
                        "done=lengths.geometric(mean=20))", TypeError)

    @property
    def states(self) -> tuple[str, ...]:
        """The names of its states; none where it has only one."""
        return () if self.work is None else ("working", "done")

    @property
    def laws(self) -> tuple[Length, ...]:
        """The law of length in each state."""
        return (self.length,) if self.work is None else (self.length, self.work.done)

    @property
    def _graded(self) -> dict[str, Path | Work]:
        """What says how responses of each state are graded, by what messages call it."""
        name = f"path {self.name!r}"
        return {name: self} if self.work is None else {name: self, f"{name} once done": self.work}

    @property
    def skills(self) -> tuple[float, ...]:
        """What training has added to the log-odds of being correct in each state, nats."""
        return tuple(state.skill for state in self._graded.values())

    def moved(self, probability: float, laws: Sequence[Length], skills: Sequence[float] = (0.0, 0.0)) -> Path:
        """The path with another chance, other laws in its states, and more skill in them."""
        work = self.work
        if work is not None:
            work = replace(work, done=laws[1], skill=work.skill + skills[1])
        return replace(self, probability=probability, length=laws[0], skill=self.skill + skills[0], work=work)

    def correctness(self, max_tokens: int) -> FloatArray:
        """P(correct | end in the state), [state, end]."""
        rows = []
        for name, state in self._graded.items():
            chance = np.append(_curve(f"p_correct of {name}", state.p_correct, max_tokens), state.p_correct_truncated)
            rows.append(expit(logit(chance) + state.skill) if state.skill else chance)
        return np.array(rows)

    @property
    def other_grades(self) -> tuple[str, ...]:
        """The names of its grades beside correct and incorrect, in all of its states."""
        return tuple(dict.fromkeys(name for state in self._graded.values() for name in state.grades))

    def others(self, names: Sequence[str], max_tokens: int) -> FloatArray:
        """P(grade | end in the state, not correct) of other grades by name, [state, grade, end]."""
        table = np.zeros((len(self._graded), len(names), max_tokens + 1))
        for row, (what, state) in zip(table, self._graded.items(), strict=True):
            for name, chance in state.grades.items():
                row[names.index(name)] = _with_cut(f"grades of {what}: {name!r}", chance, max_tokens)
            largest = float(row.sum(axis=0).max())
            if largest > 1.0 + 1e-9:
                checks.fail(f"grades of {what}", largest, "must sum to at most 1 (the largest sum is shown)",
                            "each is a chance given that the response is not correct")
        return table


def law_of(ends: FloatArray) -> Length:
    """The law of length with these masses of the ends, [end]; hazards of 1/2 where nobody gets."""
    return from_logits(log_odds(ends[:-1], after(ends)))


def _keep(given: Path | Work, called: str, *, chances: Sequence[str], laws: Sequence[str]) -> None:
    """Check what paths and work have in common: chances and laws by name, and how responses are graded."""
    for name in chances:
        checks.keep(given, name, checks.probability, called=f"{name} of {called}")
    checks.keep(given, "skill", checks.finite, called=f"skill of {called}")
    for name in laws:
        checks.of_kind(f"{name} of {called}", getattr(given, name), Length, "a length law",
                       "for example lengths.geometric(mean=300)")
    object.__setattr__(given, "grades", _other_grades(f"grades of {called}", given.grades))
    object.__setattr__(given, "p_correct", _correctness(f"p_correct of {called}", given.p_correct))


def _other_grades(what: str, given: object) -> dict[str, Correctness]:
    """Chances of other grades as they are kept."""
    if not isinstance(given, Mapping):
        checks.fail(what, given, "must map names of grades to chances", "for example {'partly': 0.3}", TypeError)
    return {checks.other_grade(what, name): _correctness(f"{what}: {name!r}", chance)
            for name, chance in given.items()}


def _with_cut(name: str, chance: Correctness, max_tokens: int) -> FloatArray:
    """P(grade | end, not correct), [end]: cut responses as those that stopped last, unless an array says more."""
    if isinstance(chance, np.ndarray) and chance.shape == (max_tokens + 1,):
        return chance
    curve = _curve(name, chance, max_tokens)
    return np.append(curve, curve[-1])


def _correctness(name: str, given: Correctness) -> Correctness:
    """A chance to be correct as it is kept: checked as far as that goes without the cap."""
    if isinstance(given, (int, float)):
        return checks.probability(name, given)
    if callable(given):
        return given
    curve = checks.number_array(name, given, low=0.0, high=1.0,
                                fix="or give a number, or a function of the array of positions")
    if curve.ndim > 1 or not curve.size:
        checks.fail(name, curve.shape, "must be one number or one per position (its shape is shown)")
    return curve


def _curve(name: str, chance: Correctness, max_tokens: int) -> FloatArray:
    """P(correct | stopped at t), [t]."""
    positions = np.arange(1.0, max_tokens + 1.0)
    try:
        given = chance(positions) if callable(chance) else chance
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a function of the array of positions, and raised: {error}; write "
                        "comparisons with np.where") from error
    curve = checks.number_array(name, given, low=0.0, high=1.0)
    if curve.shape not in ((), (max_tokens,)):
        checks.fail(name, curve.shape, f"must be one number or one per position, shape ({max_tokens},)")
    return np.broadcast_to(curve, (max_tokens,))


@dataclass(frozen=True, eq=False)
class PromptClass:
    """Prompts that behave alike: a share of all prompts, and the paths of their responses.

    ``weight`` is ω, the share; the path probabilities must sum to 1. ``target`` is the number of tokens that the
    prompts ask for, at least 1, for a reward that pays by it (`lossim.rewards.TargetShaping`); None for none.
    """

    name: str
    weight: float = field(default=1.0, kw_only=True)
    paths: Sequence[Path] = field(kw_only=True)
    target: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        checks.text("name of class", self.name)
        if self.target is not None:
            checks.keep(self, "target", checks.in_interval, 1.0, math.inf, called=f"target of class {self.name!r}")
        checks.keep(self, "weight", checks.probability, called=f"weight of class {self.name!r}")
        paths = checks.members(f"paths of class {self.name!r}", self.paths, Path, "Path")
        object.__setattr__(self, "paths", paths)
        if not self.paths:
            checks.fail(f"paths of class {self.name!r}", [], "must hold at least one path")
        unique(f"paths of class {self.name!r}", [path.name for path in self.paths])
        sums_to_one(f"path probabilities of class {self.name!r}", [path.probability for path in self.paths])


def unique(what: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        checks.fail(what, names, "must have different names")


def sums_to_one(what: str, values: list[float]) -> None:
    if abs(sum(values) - 1.0) > 1e-9:
        checks.fail(what, values, f"must sum to 1 (they sum to {sum(values):.10g})", "divide them by their sum")
