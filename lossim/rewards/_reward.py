"""The task reward of a response: by its grade, or for being cut, then through shapings in order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lossim._support.checks import fail, finite, number_array, other_grade
from lossim._support.types import ArrayLike, BoolArray, FloatArray, IntArray, Outcome
from lossim.rewards._groups import GroupShaping
from lossim.rewards._shapings import Shaping
from lossim.rewards._targets import TargetShaping


@dataclass(frozen=True, kw_only=True)
class Reward:
    """The task reward of a response: by its grade, or for being truncated, then through the shapings in order.

    r = ``correct`` or ``incorrect``; a truncated response is paid ``truncated`` instead, unless that is None.

    Args:
        correct, incorrect: reward of a right and a wrong answer.
        truncated: reward of a response cut at max_tokens; None pays it by its grade.
        grades: rewards of other grades of responses that are not correct, by the names that the policy gives them
            (``{"partly": 0.5, "format": 0.1}``); shapings see them as incorrect.
        shaping: None, one shaping, or a tuple of them.

    >>> from lossim.rewards import MissingEOS, SoftOverlong
    >>> Reward(shaping=(SoftOverlong(max_tokens=100, buffer=20), MissingEOS(penalty=0.5))).values(
    ...     length=[70, 90, 100], grade_correct=[True, True, False], truncated=[False, False, True])
    array([ 1. ,  0.5, -1.5])
    """

    correct: float = 1.0
    incorrect: float = 0.0
    truncated: float | None = None
    grades: Mapping[str, float] = field(default_factory=dict, hash=False)
    shaping: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.grades, Mapping):
            fail("grades", self.grades, "must map names of grades to rewards", "for example {'partly': 0.5}", TypeError)
        paid = {other_grade("grades", name): finite(f"grades: {name!r}", value) for name, value in self.grades.items()}
        object.__setattr__(self, "grades", paid)
        object.__setattr__(self, "correct", finite("correct", self.correct))
        object.__setattr__(self, "incorrect", finite("incorrect", self.incorrect))
        if self.truncated is not None:
            object.__setattr__(self, "truncated", finite("truncated", self.truncated))
        shapings = _as_tuple(self.shaping)
        for i, shaping in enumerate(shapings):
            known = callable(shaping) or isinstance(shaping, GroupShaping | TargetShaping)
            if isinstance(shaping, type) or not known:
                fail(f"shaping[{i}]", shaping, "must be a callable (reward, length, outcome) -> reward",
                     "build it first, e.g. LinearPenalty(slope=0.001)", TypeError)
        object.__setattr__(self, "shaping", shapings if len(shapings) > 1 else next(iter(shapings), None))

    @property
    def group_relative(self) -> bool:
        """Whether the reward of a response depends on the others of its group."""
        return any(isinstance(shaping, GroupShaping) for shaping in _as_tuple(self.shaping))

    @property
    def needs_target(self) -> bool:
        """Whether the reward of a response depends on a target of its prompt."""
        return any(isinstance(shaping, TargetShaping) for shaping in _as_tuple(self.shaping))

    @property
    def target_words(self) -> str:
        """Which of its shapings read a target, as messages say it; nothing if none does."""
        names = [type(shaping).__name__ for shaping in _as_tuple(self.shaping) if isinstance(shaping, TargetShaping)]
        return f"{' and '.join(names)} pay{'s' * (len(names) == 1)} by the target of a prompt" if names else ""

    @property
    def group_words(self) -> str:
        """Which of its shapings compare a group, as messages say it; nothing if none does."""
        names = [type(shaping).__name__ for shaping in _as_tuple(self.shaping) if isinstance(shaping, GroupShaping)]
        return f"{' and '.join(names)} compare{'s' * (len(names) == 1)} the responses of a group" if names else ""

    @property
    def text(self) -> str:
        """How a scheme prints it."""
        others = "".join(f"{value:g} if {name}, " for name, value in self.grades.items())
        paid = f"reward {self.correct:g} if correct, {others}else {self.incorrect:g}"
        if self.truncated is None:
            return paid
        return f"{paid}, {self.truncated:g} if truncated"

    def by_grade(self, names: Sequence[str]) -> FloatArray:
        """What grades are paid, before cuts and shapings, [grade]; "correct" and "incorrect" are the first two names.

        Raises:
            ValueError: a grade that ``grades`` does not name.

        >>> Reward(grades={"partly": 0.5}).by_grade(["correct", "incorrect", "partly"])
        array([1. , 0. , 0.5])
        """
        for name in names[2:]:
            if name not in self.grades:
                fail("grades", dict(self.grades), f"must say what the policy's grade {name!r} is paid",
                     f"for example Reward(grades={{{name!r}: 0.5}})")
        return np.array([self.correct, self.incorrect, *(self.grades[name] for name in names[2:])])

    def values(self, length: ArrayLike, grade_correct: ArrayLike, truncated: ArrayLike,
               not_correct: ArrayLike | None = None, target: ArrayLike | None = None) -> FloatArray:
        """Rewards of single responses, in the common shape of the three arrays; no shaping may be group-relative.

        Args:
            length: tokens, at least 1.
            grade_correct: booleans, the grade (also of a truncated response).
            truncated: booleans, cut at max_tokens.
            not_correct: what those not correct are paid for their grade, in place of ``incorrect``.
            target: of the prompt, tokens, for shapings that need one.

        Raises:
            ValueError: a shaping needs a target, and there is none.

        >>> Reward(correct=1.0, incorrect=-1.0).values([[5], [9]], [True, False], False)
        array([[ 1., -1.],
               [ 1., -1.]])
        """
        if self.group_relative:
            fail("shaping", self.shaping, "must not compare responses of a group to reward single ones",
                 "use group_values(length, correct, truncated)")
        return self.group_values(length, grade_correct, truncated, not_correct=not_correct, target=target)

    def group_values(
        self, length: ArrayLike, correct: ArrayLike, truncated: ArrayLike, counted: ArrayLike = True, *,
        not_correct: ArrayLike | None = None, target: ArrayLike | None = None
    ) -> FloatArray:
        """Rewards [..., G] of whole groups, the responses of a group along the last axis.

        Args:
            length, correct, truncated: [..., G] as in `values`.
            counted: [..., G] booleans, the responses that belong to the baseline: group-relative shapings take
                their statistics over these and leave the rewards of the others alone.
            not_correct, target: [..., G], as in `values`.

        >>> from lossim.rewards import KimiLength
        >>> Reward(shaping=KimiLength()).group_values([10, 20, 30], [True, True, False], False)
        array([ 1.5,  1. , -0.5])
        """
        # The arrays of one shape, groups along the last axis.
        tokens = number_array("length", length, low=1.0, fix="the stop token counts, so no length is below 1")
        masks = [_booleans("correct", correct), _booleans("truncated", truncated), _booleans("counted", counted)]
        aims = self._targets(target)
        try:
            tokens, right, cut, inside, aims = np.broadcast_arrays(tokens, *masks, aims)
        except ValueError:
            shapes = [tokens.shape, *(mask.shape for mask in masks)]
            fail("length", shapes, "must broadcast with correct, truncated and counted (the shapes are shown)")
        if self.group_relative and not tokens.size * tokens.ndim:
            fail("length", tokens.shape, "must have the responses of a group along its last axis (the shape is shown)")
        # Paid by the grade, or for being cut.
        rewards: FloatArray = np.where(right, self.correct, self.incorrect if not_correct is None else not_correct)
        if self.truncated is not None:
            rewards = np.where(cut, self.truncated, rewards)
        # Shaped, in order.
        outcome = np.where(cut, Outcome.TRUNCATED, np.where(right, Outcome.CORRECT, Outcome.INCORRECT))
        for shaping in _as_tuple(self.shaping):
            if isinstance(shaping, GroupShaping):
                shaped: ArrayLike = shaping.in_group(rewards, tokens, right, inside)
            elif isinstance(shaping, TargetShaping):
                shaped = shaping.for_target(rewards, tokens, outcome, aims)
            else:
                try:
                    shaped = shaping(rewards, tokens, outcome)
                except (TypeError, ValueError, ArithmeticError, RuntimeWarning) as error:
                    raise TypeError(f"{_named(shaping)} must map arrays (reward, length, outcome) to rewards, and "
                                    f"raised: {error}; write comparisons with np.where") from error
            rewards = _checked(shaping, shaped, tokens, outcome)
        return rewards

    def _targets(self, given: ArrayLike | None) -> FloatArray:
        """Targets as an array; any will do where no shaping reads them."""
        if not self.needs_target:
            return np.ones(())
        if given is None:
            fail("target", None, f"must be given: {self.target_words}",
                 "use PromptClass(target=...) or policy.with_targets([...]), on a log Rollouts(targets=...) or "
                 "columns={'target': ...}")
        return number_array("target", given, low=1.0, fix="a target is a number of tokens")


@dataclass(frozen=True, kw_only=True)
class AsLogged(Reward):
    """What a log says was paid: the reward of schemes that :func:`lossim.audit` has read on it.

    >>> AsLogged().text
    'reward as logged'
    """

    correct: float = field(default=1.0, init=False, repr=False)
    incorrect: float = field(default=0.0, init=False, repr=False)
    truncated: float | None = field(default=None, init=False, repr=False)
    grades: Mapping[str, float] = field(default_factory=dict, init=False, repr=False, hash=False)
    shaping: Any = field(default=None, init=False, repr=False)

    @property
    def text(self) -> str:
        return "reward as logged"

    def group_values(
        self, length: ArrayLike, correct: ArrayLike, truncated: ArrayLike, counted: ArrayLike = True, *,
        not_correct: ArrayLike | None = None, target: ArrayLike | None = None
    ) -> FloatArray:
        fail("reward", self, "is known on a log only", "use audit(rollouts, scheme), or give a Reward of your own")


def applied(shapings: Sequence[Shaping], rewards: FloatArray, length: FloatArray, outcome: IntArray) -> FloatArray:
    """Given rewards, through shapings of single responses in order."""
    for shaping in shapings:
        rewards = _checked(shaping, shaping(rewards, length, outcome), length, outcome)
    return rewards


AnyShaping = Shaping | GroupShaping | TargetShaping | Callable[[FloatArray, FloatArray, IntArray], ArrayLike]


def _as_tuple(shaping: Any) -> tuple[AnyShaping, ...]:
    if shaping is None:
        return ()
    if isinstance(shaping, list | tuple):
        return tuple(shaping)
    return (shaping,)


def _named(shaping: AnyShaping) -> str:
    return f"the shaping {getattr(shaping, '__name__', None) or repr(shaping)}"


def _booleans(name: str, value: ArrayLike) -> BoolArray:
    """Booleans, and nothing that merely counts as such."""
    array = np.asarray(value)
    if array.dtype != np.bool_:
        fail(name, array.dtype.name, "must be booleans (the type is shown)", "compare, as in grade == 0", TypeError)
    return array


def _checked(shaping: AnyShaping, result: ArrayLike, length: FloatArray, outcome: IntArray) -> FloatArray:
    """The rewards that a shaping returned: one finite number for each response; the shortest bad one is named."""
    name = _named(shaping)
    try:
        rewards = np.array(result, dtype=np.float64)
    except (TypeError, ValueError):
        fail(name, result, "must return an array of numbers", error=TypeError)
    if rewards.shape != length.shape:
        fail(name, rewards.shape, f"must return one reward for each response, an array of shape {length.shape}",
             "compute with the reward array it is given, as in reward * 0 + 1")
    bad = np.argwhere(~np.isfinite(rewards))
    if bad.size:
        first = tuple(min(bad, key=lambda at: length[tuple(at)]))
        which = Outcome(int(outcome[first])).name.lower()
        fail(name, float(rewards[first]), f"must return finite rewards, also at length {length[first]:g} ({which})")
    return rewards
