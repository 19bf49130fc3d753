"""What a law of length is, and laws given by their hazards: one for all positions, one for each, or as logged."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import logit

from lossim._support.checks import at_least, fail, flag, floats, number_array, probability, whole
from lossim._support.quotients import log_odds
from lossim._support.types import ArrayLike, FloatArray

_LONGEST = 2.0**24  # tokens; a longer response is a slip, and would fill the memory
_NO_NAN = "use -inf for hazard 0 and +inf for hazard 1"


class Length(ABC):
    """A law of response length; subclass it with a ``logits`` method for a law of your own."""

    @abstractmethod
    def logits(self, max_tokens: int) -> FloatArray:
        """Hazard logits [N] at the positions t = 1..N = ``max_tokens``, in nats."""


def hazard_logits(law: Length, max_tokens: int, *, entered: bool = False) -> FloatArray:
    """The hazard logits of any law, checked: one float for each of the positions t = 1..N = ``max_tokens``, none NaN.

    Behind a hazard of 1, which nobody passes, they are +inf whatever the law says there; but for a state that is
    ``entered`` on the way, behind it too.

    >>> hazard_logits(table([0.5, 1.0]), 3)
    array([ 0., inf, inf])
    """
    name = f"logits of the length law {type(law).__name__}"
    fix = "return one float for each t = 1..max_tokens"
    z = floats(name, law.logits(max_tokens), fix)
    if z.shape != (max_tokens,):
        fail(name, z.shape, f"must have the shape ({max_tokens},) (theirs is shown)", fix)
    if np.isnan(z).any():
        fail(f"{name}[{np.flatnonzero(np.isnan(z))[0]}]", math.nan, "must not be nan", _NO_NAN)
    return z if entered else closed(z)


def closed(z: FloatArray) -> FloatArray:
    """The logits with +inf behind the first hazard of 1, in place."""
    z[np.logical_or.accumulate(np.isposinf(z))] = math.inf
    return z


class ByKey(Length):
    """Equality and hash from a key, for laws whose fields have no equality of their own."""

    @abstractmethod
    def _key(self) -> tuple[Any, ...]: ...

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._key()))


def shown(value: float) -> str:
    """A number in few digits if they say all of it."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


@dataclass(frozen=True, kw_only=True, repr=False)
class geometric(Length):
    """A constant hazard, given by the mean length (tokens) it would have without a cut.

    h(t) = 1/mean, so P(T = t) = h (1 − h)^(t−1) and E[T] = mean; the logit is −log(mean − 1).

    Args:
        mean: tokens, at least 1; 1 stops at once (hazard 1). Cut at N, the mean length is mean·(1 − (1−h)^N).

    >>> geometric(mean=5).logits(3).round(4)
    array([-1.3863, -1.3863, -1.3863])
    """

    mean: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", at_least("mean", self.mean, 1.0, "a response has at least its stop token"))

    def logits(self, max_tokens: int) -> FloatArray:
        certain = self.mean == 1.0
        return np.full(whole("max_tokens", max_tokens), math.inf if certain else -math.log(self.mean - 1.0))

    def __repr__(self) -> str:
        return f"geometric(mean={shown(self.mean)})"


@dataclass(frozen=True, kw_only=True, repr=False)
class constant(Length):
    """The same hazard at every position: `geometric` by its hazard, of which 0 and tiny ones may be asked.

    Args:
        hazard: chance to stop at each position, in [0, 1]. At 0 no response stops by itself, and training cannot
            change that; a tiny one is a response that repeats itself, or has lost its stop token.

    Raises:
        ValueError: for a hazard outside [0, 1].

    >>> constant(hazard=0.5).logits(3)
    array([0., 0., 0.])
    >>> constant(hazard=0).logits(2)
    array([-inf, -inf])
    """

    hazard: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "hazard", probability("hazard", self.hazard))

    def logits(self, max_tokens: int) -> FloatArray:
        return np.full(whole("max_tokens", max_tokens), float(logit(self.hazard)))

    def __repr__(self) -> str:
        return f"constant(hazard={shown(self.hazard)})"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Tabulated(ByKey):
    """Hazards given one by one: what `table`, `from_logits` and `observed` make."""

    values: FloatArray
    label: str
    limit: str
    entered: bool = False

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64) + 0.0  # one zero: equal laws have equal bytes
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    def __reduce__(self) -> tuple[Any, ...]:  # by construction again, which makes the values read-only
        return partial(type(self), values=self.values, label=self.label, limit=self.limit, entered=self.entered), ()

    def logits(self, max_tokens: int) -> FloatArray:
        count = whole("max_tokens", max_tokens)
        given = len(self.values)
        if count > given and not np.isposinf(self.values).any():
            fail("max_tokens", count, f"must be at most {given}, {self.limit}",
                 f"use max_tokens={given}, or give the hazards beyond with lengths.table")
        z = np.full(count, math.inf)
        z[:given] = self.values[:count]
        return z if self.entered else closed(z)

    def _key(self) -> tuple[Any, ...]:
        return self.values.tobytes(), self.label, self.entered

    def __repr__(self) -> str:
        return self.label


def table(hazard: ArrayLike) -> Tabulated:
    """A law given by its hazards h(t), t = 1, 2, ...

    Args:
        hazard: [t], each in [0, 1]. Longer than ``max_tokens`` it is cut there; shorter it must hold a hazard
            of 1, behind which nothing can be.

    >>> table([0.25, 0.5]).logits(2).round(4)
    array([-1.0986,  0.    ])
    >>> table([0.25, 0.5]).logits(3)
    Traceback (most recent call last):
        ...
    ValueError: max_tokens must be at most 2, the number of hazards given (none of them 1), got 3;
    use max_tokens=2, or give the hazards beyond with lengths.table
    """
    h = number_array("hazard", hazard, ndim=1, low=0.0, high=1.0)
    if h.size == 0:
        fail("hazard", [], "must have at least one position")
    return Tabulated(values=logit(h), label=_called("table", h), limit="the number of hazards given (none of them 1)")


def from_logits(logits: ArrayLike, *, entered: bool = False) -> Tabulated:
    """A law given by its hazard logits z(t) = log h(t) − log (1 − h(t)), t = 1, 2, ..., in nats.

    Args:
        logits: [t], none nan; −inf is a hazard of 0, +inf one of 1. Longer than ``max_tokens`` it is cut there;
            shorter it must hold a +inf.
        entered: for the law once done (:class:`lossim.Work`): responses come in on the way, also behind a hazard of 1,
            which else nobody passes.

    >>> from_logits([-2.0, 0.0, float("inf")]).logits(4)
    array([-2.,  0., inf, inf])
    """
    z = floats("logits", logits)
    if z.ndim != 1 or not z.size:
        fail("logits", z.shape, "must have one axis and at least one position (its shape is shown)")
    if np.isnan(z).any():
        fail("logits", math.nan, "must not be nan", _NO_NAN)
    return Tabulated(values=z, label=_called("from_logits", z), entered=flag("entered", entered),
                     limit="the number of logits given (none of them +inf)")


def observed(lengths: ArrayLike, truncated: ArrayLike | None = None) -> Tabulated:
    """The Kaplan–Meier estimate from logged responses; truncation is right-censoring.

    h(t) = d(t)/n(t), d(t) the responses that stopped at t and n(t) those with T ≥ t. One truncated at L was
    seen to go on at L: it counts in n(L) and says nothing about L + 1. With one cap this is plain counting.

    A position where nobody stopped has hazard 0, a frozen logit: with few responses over many positions most
    are. Fit a smooth law instead if training is to move them.

    Args:
        lengths: [response], tokens with the stop token: whole numbers, at least 1.
        truncated: [response], booleans; None if all stopped by themselves.

    Source: Kaplan and Meier (1958), J. Amer. Statist. Assoc. 53, 457.

    >>> law = observed([1, 2, 2, 3, 3], truncated=[False, False, True, False, True])
    >>> law.logits(3).round(4)  # hazards 1/5, 1/4, 1/2
    array([-1.3863, -1.0986,  0.    ])
    >>> law.logits(4)
    Traceback (most recent call last):
        ...
    ValueError: max_tokens must be at most 3, the largest truncated length (nothing is known beyond it),
    got 4; use max_tokens=3, or give the hazards beyond with lengths.table
    """
    t = number_array("lengths", lengths, ndim=1, low=1.0, high=_LONGEST, fix="the stop token counts, so T >= 1")
    if t.size == 0:
        fail("lengths", [], "must have at least one response")
    if (t % 1).any():
        fail("lengths", float(t[t % 1 > 0][0]), "must be whole numbers of tokens")
    try:
        cut = np.asarray(np.zeros(t.shape, dtype=np.bool_) if truncated is None else truncated)
    except ValueError:
        fail("truncated", truncated, "must be an array of booleans, one per response", error=TypeError)
    if cut.dtype != np.bool_:
        fail("truncated", cut.dtype.name, "must be an array of booleans (its type is shown)",
             "compare first, as in finish_reason == 'length'", TypeError)
    if cut.shape != t.shape:
        fail("truncated", cut.shape, f"must have the shape of lengths, {t.shape} (its shape is shown)")
    # d(t) and n(t) at t = 1..longest; the logit of d/n is log d − log (n − d).
    ends = t.astype(np.int64)
    stopped = np.bincount(ends[~cut], minlength=ends.max() + 1)[1:]
    at_risk = np.cumsum(np.bincount(ends)[:0:-1])[::-1]
    z = log_odds(stopped, at_risk - stopped)
    label = f"observed({t.size} lengths, {cut.sum()} truncated, longest {ends.max()})"
    return Tabulated(values=z, label=label, limit="the largest truncated length (nothing is known beyond it)")


def _called(name: str, values: FloatArray) -> str:
    """The call that gives a law: the first numbers, and how many there are."""
    inside = ", ".join(map(shown, values[:4] + 0.0))  # one zero
    return f"{name}([{inside}])" if len(values) <= 4 else f"{name}([{inside}, ...], {len(values)} positions)"
