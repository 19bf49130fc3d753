"""Estimators with one advantage per response, from the returns of its group.

One formula, ``of_group``, serves real groups (each member once) and compositions of reward levels (each level with a
multiplicity); ``of_step`` adds what a whole step scales them by.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from lossim._support import checks
from lossim._support.types import BoolArray, FloatArray
from lossim.advantages._base import Advantage, Group, group_of

Single = Literal["zero", "raw"]
SINGLE = (checks.choice, ("zero", "raw"))


def degrees(name: str, value: int) -> int:
    """A number of degrees of freedom."""
    number = checks.whole(name, value, low=0)
    if number > 1:
        checks.fail(name, value, "must be 0 or 1")
    return number


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What an estimator says of itself, which decides how its expectation is taken.

    Attributes:
        mates: how A depends on the other responses of the group. ``"none"``: not at all. ``"linear"``:
            A = u·R - v·Σ_mates R, with the factors of ``linear_factors``. ``"length-weighted"``: A = R - ΣTR/ΣT.
            ``"standardized"``: A = (R - mean)/(std + eps) of the group. ``"any"``: a function of the reward levels in
            the group.
        reads_length: whether A depends on the lengths of the group, rewards given; unless it does, they are not
            handed over in an expectation.
        step_eps: what is added to the standard deviation of the step that advantages are divided by; None if they are
            not.
        ddof, eps: of the std of the group, where ``mates`` is ``"standardized"``.
        no_closed_form: why the expectation cannot be had without sampling; None if it can.
    """

    mates: Literal["none", "linear", "length-weighted", "standardized", "any"]
    reads_length: bool = False
    step_eps: float | None = None
    ddof: int = 1
    eps: float = 0.0
    no_closed_form: str | None = None


@dataclass(frozen=True, kw_only=True)
class ResponseAdvantage(Advantage, ABC):
    """Base of the estimators with one advantage per response."""

    _scaled: ClassVar[str] = ""  # what a whole step does to it, in words

    @abstractmethod
    def of_group(self, group: Group) -> FloatArray:
        """Advantages [..., member] of the members of groups."""

    def of_step(self, credit: FloatArray, returns: FloatArray, counted: BoolArray) -> FloatArray:
        """Advantages of whole steps from those by group: as they are, unless a statistic of the step scales them.

        All are [step, prompt, response]: what ``of_group`` gave, R, and who is in the baseline.
        """
        return credit

    # --- what the estimator says of itself ----------------------------------------------------------------------

    @property
    def response_level(self) -> ResponseAdvantage:
        return self

    @property
    def traits(self) -> Traits:
        """What the estimator is, for engines to ask; unless it says more, any function of the rewards in the group."""
        return Traits(mates="any")

    @property
    def needs_whole_step(self) -> bool:
        """Whether ``of_step`` scales by a statistic of the whole step."""
        return type(self).of_step is not ResponseAdvantage.of_step

    @property
    def group_relative(self) -> bool:
        return self.traits.mates != "none"

    def linear_factors(self, mates: FloatArray) -> tuple[FloatArray, FloatArray]:
        """u and v of A = u·R - v·Σ_mates R beside so many mates; here those of the mean of the group."""
        return mates / (mates + 1.0), 1.0 / (mates + 1.0)

    def for_group_size(self, group_size: int) -> ResponseAdvantage:
        """An estimator with the same advantages in groups of that size, as simple as can be."""
        return self

    def fixed_baseline(self, classes: int | None) -> FloatArray:
        """The fixed baseline by prompt class, [class], 0 for all but Raw; ``classes`` None: prompts have none, [1]."""
        return np.zeros(1 if classes is None else classes)

    def remark(self, least_reward: float) -> str | None:
        """What there is to say where rewards go down to ``least_reward``."""
        return None

    @property
    def alone(self) -> str:
        """What becomes of a single response, in words."""
        good, bad = self.of_group(group_of(np.array([[1.0], [-1.0]])))[:, 0].round(3)
        made = {(1.0, -1.0): "the return itself", (1.0, 0.0): "the return's positive part"}.get((good, bad), "0")
        setting = "zero" if made == "0" else "raw"
        return f"the advantage is {made}{self._scaled if made != '0' else ''} (group_of_one={setting!r})"


def _baseline(name: str, value: Any) -> float | tuple[float, ...]:
    """A number, or one per prompt class."""
    if not isinstance(value, (list, tuple, np.ndarray)):
        return checks.finite(name, value)
    values = checks.number_array(name, value, ndim=1)
    if not len(values):
        checks.fail(name, value, "must be a number or hold one per prompt class")
    return tuple(values.tolist())


@dataclass(frozen=True, kw_only=True)
class Raw(ResponseAdvantage):
    """A = R - b with a fixed baseline b: one number, or one per prompt class.

    >>> Raw(baseline=0.25)
    Raw(baseline=0.25)
    """

    baseline: float | tuple[float, ...] = 0.0
    _rules: ClassVar = {"baseline": (_baseline,)}
    traits = Traits(mates="none")

    def of_group(self, group: Group) -> FloatArray:
        return group.returns - group.baseline

    def repeated(self, count: int) -> Self:
        return replace(self, baseline=self.baseline * count) if isinstance(self.baseline, tuple) else self

    def fixed_baseline(self, classes: int | None) -> FloatArray:
        given = self.baseline
        if isinstance(given, tuple) and classes is None:
            checks.fail("baseline", given, "must be one number here, where prompts have no classes",
                        "give the baseline of each response as baseline= of the batch")
        if isinstance(given, tuple) and len(given) != classes:
            checks.fail("baseline", given, f"must be one number or one per prompt class ({classes})")
        return np.broadcast_to(np.asarray(given, dtype=np.float64), (1 if classes is None else classes,))


@dataclass(frozen=True, kw_only=True)
class _GroupBaseline(ResponseAdvantage):
    """Base of A = R - b with a baseline b of the group.

    ``group_of_one``: the advantage where the group has one response; ``"zero"`` or ``"raw"`` (R, as verl has it).
    """

    group_of_one: Single = "zero"
    _rules: ClassVar = {"group_of_one": SINGLE}
    traits = Traits(mates="linear")

    def for_group_size(self, group_size: int) -> ResponseAdvantage:
        return Raw() if group_size == 1 and self.group_of_one == "raw" else self

    def _or_raw(self, credit: FloatArray, group: Group) -> FloatArray:
        """The advantage, or the return itself of a response that is alone, if that is asked for."""
        if self.group_of_one == "zero":
            return credit
        return np.where(group.members > 1, credit, group.returns)


@dataclass(frozen=True, kw_only=True)
class GroupMean(_GroupBaseline):
    """A = R - mean of the group, the response itself included: Dr. GRPO's. A group of one has A = 0, or R."""

    def of_group(self, group: Group) -> FloatArray:
        return self._or_raw(group.centred, group)


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut(_GroupBaseline):
    """A = R - mean of the other responses of the group: RLOO's.

    A scheme needs groups of two or more, unless ``group_of_one`` is ``"raw"``. On batches with a group of one it has
    A = 0, as verl's ``rloo_vectorized``, or R, as verl's ``rloo``.
    """

    @property
    def least_group_size(self) -> int:
        return 1 if self.group_of_one == "raw" else 2

    def of_group(self, group: Group) -> FloatArray:
        return self._or_raw(group.centred * group.members / np.maximum(group.members - 1.0, 1.0), group)

    def linear_factors(self, mates: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.where(mates > 0, 1.0, 0.0), 1.0 / np.maximum(mates, 1.0)


@dataclass(frozen=True, kw_only=True)
class GPG(GroupMean):
    """A = (R - mean of the group) · n / #(R ≠ 0): the step's responses over those that are paid. A group of one: R.

    How many are paid is a number of the whole step, so its expectation needs Monte Carlo. Source: arXiv 2504.02546.
    """

    group_of_one: Single = "raw"
    traits = Traits(mates="linear", no_closed_form="GPG's scale is one over the number of paid responses in a step")
    _scaled: ClassVar[str] = " times the responses over those that are paid"

    def for_group_size(self, group_size: int) -> ResponseAdvantage:
        return self

    def of_step(self, credit: FloatArray, returns: FloatArray, counted: BoolArray) -> FloatArray:
        responses = np.sum(counted, axis=(-2, -1), keepdims=True)
        paid = np.sum(counted & (returns != 0.0), axis=(-2, -1), keepdims=True)
        return credit * responses / np.maximum(paid, 1)


@dataclass(frozen=True, kw_only=True)
class MaxRL(ResponseAdvantage):
    """A = (R - mean) / (mean + eps) of the group: the gradient of log E[R] as the group sees it, for R ≥ 0.

    0 where the mean is not positive. A group of one keeps its R (``"raw"``, as SkyRL) or has A = 0.
    Source: arXiv 2602.02710.

    >>> MaxRL(eps=0.0).of_group(group_of(np.array([1.0, 0.0, 0.0, 0.0])))
    array([ 3., -1., -1., -1.])
    """

    eps: float = 1e-6
    group_of_one: Single = "raw"
    _rules: ClassVar = {"eps": (checks.at_least, 0.0), "group_of_one": SINGLE}

    def remark(self, least_reward: float) -> str | None:
        if least_reward >= 0:
            return None
        return "MaxRL is meant for rewards of at least 0: groups whose mean is not positive move nothing"

    def of_group(self, group: Group) -> FloatArray:
        total = np.sum(group.count * np.where(group.count > 0, group.returns, 0.0), axis=-1, keepdims=True)
        mean = total / np.maximum(group.members, 1.0)
        scaled = np.divide(group.centred, mean + self.eps, out=np.zeros(group.centred.shape),
                           where=np.broadcast_to(mean > 0, group.centred.shape))
        return np.where(group.members > 1, scaled, group.returns if self.group_of_one == "raw" else 0.0)


@dataclass(frozen=True, kw_only=True)
class PassK(ResponseAdvantage):
    """The best of the group is credited with what it is better than the second best by; all others have A = 0.

    A tie for the best leaves nothing. ``standardize`` divides by the group's std + eps, with Bessel's correction.
    Source: arXiv 2503.19595; verl's ``grpo_passk``.

    >>> PassK(standardize=False).of_group(group_of(np.array([3.0, 1.0, 0.0])))
    array([2., 0., 0.])
    """

    standardize: bool = True
    eps: float = 1e-6
    _rules: ClassVar = {"standardize": (checks.flag,), "eps": (checks.at_least, 0.0)}
    least_group_size = 2

    def of_group(self, group: Group) -> FloatArray:
        counted = np.where(group.count > 0, group.returns, -np.inf)
        best = np.max(counted, axis=-1, keepdims=True)
        is_best = (counted == best) & (group.count > 0)
        second = np.max(np.where(is_best, -np.inf, counted), axis=-1, keepdims=True)
        lead = (np.sum(group.count * is_best, axis=-1, keepdims=True) == 1) & np.isfinite(second)
        credit = np.where(is_best & lead, best - np.where(lead, second, 0.0), 0.0)
        if not self.standardize:
            return credit
        return credit / np.where(lead, np.sqrt(group.variance(1)) + self.eps, 1.0)


@dataclass(frozen=True, kw_only=True)
class OPO(_GroupBaseline):
    """A = R - ΣTR / ΣT over the group: the length-weighted baseline of OPO. A group of one has A = 0, or R."""

    traits = Traits(mates="length-weighted", reads_length=True)

    def of_group(self, group: Group) -> FloatArray:
        tokens = np.sum(group.count * group.length, axis=-1, keepdims=True)
        total = np.sum(group.count * group.length * group.shifted, axis=-1, keepdims=True)
        return self._or_raw(group.shifted - total / np.maximum(tokens, 1.0), group)


@dataclass(frozen=True, kw_only=True)
class PositiveOnly(ResponseAdvantage):
    """max(A, 0) of another response-level estimator: learn from what went better than the baseline."""

    inner: ResponseAdvantage

    def __post_init__(self) -> None:
        if not isinstance(self.inner, ResponseAdvantage):
            checks.fail("inner", self.inner, "must be an estimator with one advantage per response",
                        "GAE and Whitened have one per token", TypeError)
        if self.inner.traits.step_eps is not None:
            checks.fail("inner", self.inner, "must not have batch scope",
                        "the sign is the same with GroupMean(); use PositiveOnly(inner=GroupMean())")

    @property
    def traits(self) -> Traits:
        return replace(self.inner.traits, mates="any" if self.inner.group_relative else "none")

    @property
    def needs_whole_step(self) -> bool:
        return self.inner.needs_whole_step

    @property
    def least_group_size(self) -> int:
        return self.inner.least_group_size

    def fixed_baseline(self, classes: int | None) -> FloatArray:
        return self.inner.fixed_baseline(classes)

    def repeated(self, count: int) -> Self:
        return replace(self, inner=self.inner.repeated(count))

    def of_group(self, group: Group) -> FloatArray:
        return np.maximum(self.inner.of_group(group), 0.0)

    def of_step(self, credit: FloatArray, returns: FloatArray, counted: BoolArray) -> FloatArray:
        return self.inner.of_step(credit, returns, counted)
