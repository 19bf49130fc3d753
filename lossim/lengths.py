"""How long a response would be: laws of the length T, as hazard logits over the positions t = 1..N.

A law is a frozen value with one method, ``logits(max_tokens)``. The hazard is h(t) = P(T = t | T ≥ t), its
logit z(t) = log h(t) − log (1 − h(t)); −inf is a hazard of 0, +inf a hazard of 1, and positions behind a
hazard of 1, which nobody reaches, carry +inf. What is left after N tokens is truncated: a law knows no cut,
so the same one serves every ``max_tokens``.

>>> table([0.0, 0.5, 1.0]).logits(4)
array([-inf,   0.,  inf,  inf])
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import log_ndtr, logit

from lossim._support.checks import at_least, fail, floats, number_array, positive, whole
from lossim._support.types import ArrayLike, BoolArray, FloatArray

__all__ = ["Length", "Tabulated", "from_logits", "from_scipy", "geometric", "lognormal", "observed", "table"]

_LOG_HALF = -math.log(2.0)
_FLOOR = math.log(1e-300)  # the log of a probability below this has lost its digits, or all of itself
_BEYOND_FLOATS = -746.0  # below the log of any positive float: only a law that computes in logs gets there
_LONGEST = 2.0**24  # tokens; a longer response is a slip, and would fill the memory
_LOST_MASS = 1e-12  # mass at lengths <= 0 that is taken for rounding
_NO_NAN = "use -inf for hazard 0 and +inf for hazard 1"


class Length(ABC):
    """A law of response length; subclass it with a ``logits`` method for a law of your own."""

    @abstractmethod
    def logits(self, max_tokens: int) -> FloatArray:
        """Hazard logits [N] at the positions t = 1..N = ``max_tokens``, in nats."""


def hazard_logits(law: Length, max_tokens: int) -> FloatArray:
    """The hazard logits of any law, checked: one float for each of the positions t = 1..N = ``max_tokens``, none NaN.

    Behind a hazard of 1, which nobody passes, they are +inf whatever the law says there.

    Raises:
        TypeError: if the law gives something that is no array of numbers.
        ValueError: if it gives an array of another shape, or NaN.

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
    return _close(z)


@dataclass(frozen=True, kw_only=True, repr=False)
class geometric(Length):
    """A constant hazard, given by the mean length (tokens) it would have without a cut.

    h(t) = 1/mean, so P(T = t) = h (1 − h)^(t−1) and E[T] = mean; the logit is −log(mean − 1).

    Args:
        mean: tokens, at least 1; 1 stops at once (hazard 1). Cut at N, the mean length is mean·(1 − (1−h)^N).

    Raises:
        ValueError: for a mean below 1.

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
        return f"geometric(mean={_show(self.mean)})"


@dataclass(frozen=True, kw_only=True, repr=False)
class lognormal(Length):
    """A lognormal length in tokens, rounded up to whole ones.

    P(T ≤ t) = Φ((log t − log median)/σ), so E[T] is about median·exp(σ²/2) + ½. Computed from log Φ on both
    sides: hazards and survival far below the smallest float keep their digits.

    Args:
        median: tokens, positive.
        sigma: standard deviation of log length, positive.

    Raises:
        ValueError: if either is not positive.

    >>> lognormal(median=600, sigma=0.6)
    lognormal(median=600, sigma=0.6)
    >>> lognormal(median=600, sigma=0.6).logits(8192)[[0, 99, 599, 8191]].round(3)
    array([-60.129,  -9.491,  -6.111,  -6.981])
    """

    median: float
    sigma: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "median", positive("median", self.median))
        object.__setattr__(self, "sigma", positive("sigma", self.sigma, "for a fixed length use lengths.table"))

    def logits(self, max_tokens: int) -> FloatArray:
        t = np.arange(whole("max_tokens", max_tokens) + 1.0)
        with np.errstate(divide="ignore", over="ignore"):
            x = np.log(t / self.median) / self.sigma
            log_sf = log_ndtr(-x)
            log_cdf = log_ndtr(x[:np.count_nonzero(log_sf > _LOG_HALF)])
            return _close(_from_tails(log_cdf, log_sf))

    def __repr__(self) -> str:
        return f"lognormal(median={_show(self.median)}, sigma={_show(self.sigma)})"


class _ByKey(Length):
    """Equality and hash from a key, for laws whose fields have no equality of their own."""

    @abstractmethod
    def _key(self) -> tuple[Any, ...]: ...

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._key()))


@dataclass(frozen=True, eq=False, repr=False)
class from_scipy(_ByKey):
    """Any ``scipy.stats`` law of a length in tokens, continuous or discrete, discretised on (t−1, t].

    h(t) = P(T = t)/S(t−1) with P(T = t) = F(t) − F(t−1), the difference taken of log F where F(t) < ½ and of
    log S beyond: neither tiny hazards at the start nor tiny survival at the end are rounded away. At the end
    of the support the hazard is 1.

    Many laws take log S as the log of a number. Where that number falls below 1e-300 the last hazard resolved
    is kept, and where F does, inside the support, the hazard becomes 1e-300; neither changes a result. A law
    whose survival function is 1 − F resolves its end to 1e-16 of the mass only.

    Args:
        dist: frozen (``stats.gamma(2, scale=300)``), ``rv_histogram``, ``rv_discrete(values=...)``, or a
            distribution of the newer kind (``stats.Uniform(a=0, b=100)``).

    Raises:
        TypeError: if ``dist`` is no univariate scipy distribution.
        ValueError: if it is not frozen, has nan parameters, or more than 1e-12 of its mass at lengths ≤ 0.

    >>> from scipy import stats
    >>> from_scipy(stats.randint(1, 5))
    from_scipy(randint(low=1, high=5))
    >>> from_scipy(stats.randint(1, 5)).logits(5).round(4)  # hazards 1/4, 1/3, 1/2, 1
    array([-1.0986, -0.6931,  0.    ,     inf,     inf])
    >>> from_scipy(stats.poisson(2))
    Traceback (most recent call last):
        ...
    ValueError: dist must have no mass at lengths <= 0, not 0.135 of it, got from_scipy(poisson(mu=2));
    shift it with loc=1 or condition it on being positive, as scipy.stats.truncnorm is
    """

    dist: Any

    def __post_init__(self) -> None:
        dist = self.dist
        if hasattr(dist, "freeze"):  # a family: fine if it has no shape to choose, like rv_histogram
            if dist.numargs > 0:
                fail("dist", dist.name, f"must be frozen with its parameters ({dist.shapes})",
                     f"call it first, as in scipy.stats.{dist.name}(...)")
            dist = dist()
        if not hasattr(dist, "logcdf") or not hasattr(dist, "support"):
            fail("dist", dist, "must be a frozen univariate scipy.stats distribution",
                 "for numbers of your own use lengths.table(hazard) or lengths.observed(lengths)", TypeError)
        object.__setattr__(self, "dist", dist)
        support = np.array(dist.support(), dtype=np.float64)
        if support.shape != (2,):
            fail("dist", support.shape[1:], "must be one law, not an array of laws (its shape is shown)",
                 "freeze it with scalar parameters")
        log_left = self._log_sf(np.zeros(1))[0]
        if np.isnan([*support, log_left]).any():
            fail("dist", self, "must have valid parameters (its support or survival function is nan)")
        if -math.expm1(log_left) > _LOST_MASS:
            fail("dist", self, f"must have no mass at lengths <= 0, not {-math.expm1(log_left):.3g} of it",
                 "shift it with loc=1 or condition it on being positive, as scipy.stats.truncnorm is")

    def _log_sf(self, t: FloatArray) -> FloatArray:
        log_sf = getattr(self.dist, "logsf", None) or self.dist.logccdf
        with np.errstate(all="ignore"):
            return np.array(log_sf(t), dtype=np.float64)

    def logits(self, max_tokens: int) -> FloatArray:
        # Both tails at t = 0..N, the lower one where it is the smaller.
        t = np.arange(whole("max_tokens", max_tokens) + 1.0)
        log_sf = self._log_sf(t)
        below = t[:np.count_nonzero(log_sf > _LOG_HALF)]
        with np.errstate(all="ignore"):
            log_cdf = np.array(self.dist.logcdf(below), dtype=np.float64)
        if np.isnan(log_sf).any() or np.isnan(log_cdf).any():
            fail("dist", self, "must have a log cdf and a log survival function without nan")
        # Hazards where the tails have digits, what is known of the others, and the end of the support.
        z = _hold_tail(log_cdf, log_sf)
        low, high = map(float, self.dist.support())
        z[:len(below) - 1][(below[1:] > low) & _unresolved(log_cdf[1:])] = _FLOOR
        z[t[1:] >= high] = math.inf
        return _close(z)

    def _parameters(self) -> dict[str, float]:
        """The parameters that a frozen law of the older kind was given, by name."""
        shapes = self.dist.dist.shapes or ""
        names = [*shapes.replace(",", " ").split(), "loc", "scale"]
        given = dict(zip(names, self.dist.args, strict=False)) | self.dist.kwds
        return {name: float(given[name]) for name in names if name in given}

    def _key(self) -> tuple[Any, ...]:
        if not hasattr(self.dist, "dist"):  # the kind that came with scipy 1.15 prints all it is
            return type(self.dist), repr(self.dist)
        family = self.dist.dist
        if not type(family).__module__.startswith("scipy."):
            return (id(self.dist),)  # a home-made family may hold anything: equal to itself only
        parameters = {"loc": 0.0, "scale": 1.0} | self._parameters()
        data = [np.asarray(getattr(family, name, ())).tobytes() for name in ("xk", "pk", "_hbins", "_hpdf")]
        return type(family), family.name, *sorted(parameters.items()), *data

    def __repr__(self) -> str:
        if not hasattr(self.dist, "dist"):
            return f"from_scipy({self.dist})"
        values = ", ".join(f"{name}={_show(value)}" for name, value in self._parameters().items())
        family = self.dist.dist
        name = family.name
        if name == "Distribution":  # what scipy calls a family without a name of its own
            name = type(family).__name__
        return f"from_scipy({name}({values}))"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Tabulated(_ByKey):
    """Hazards given one by one: what `table`, `from_logits` and `observed` make."""

    values: FloatArray
    label: str
    limit: str

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64) + 0.0  # one zero: equal laws have equal bytes
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    def __reduce__(self) -> tuple[Any, ...]:  # by construction again, which makes the values read-only
        return partial(type(self), values=self.values, label=self.label, limit=self.limit), ()

    def logits(self, max_tokens: int) -> FloatArray:
        count = whole("max_tokens", max_tokens)
        given = len(self.values)
        if count > given and not np.isposinf(self.values).any():
            fail("max_tokens", count, f"must be at most {given}, {self.limit}",
                 f"use max_tokens={given}, or give the hazards beyond with lengths.table")
        z = np.full(count, math.inf)
        z[:given] = self.values[:count]
        return _close(z)

    def _key(self) -> tuple[Any, ...]:
        return self.values.tobytes(), self.label

    def __repr__(self) -> str:
        return self.label


def table(hazard: ArrayLike) -> Tabulated:
    """A law given by its hazards h(t), t = 1, 2, ...

    Args:
        hazard: [t], each in [0, 1]. Longer than ``max_tokens`` it is cut there; shorter it must hold a hazard
            of 1, behind which nothing can be.

    Raises:
        ValueError: for a hazard outside [0, 1], and by ``logits`` if there are too few for ``max_tokens``.

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
    limit = "the number of hazards given (none of them 1)"
    return Tabulated(values=logit(h), label=f"table({_show_array(h + 0.0)})", limit=limit)


def from_logits(logits: ArrayLike) -> Tabulated:
    """A law given by its hazard logits z(t) = log h(t) − log (1 − h(t)), t = 1, 2, ..., in nats.

    Args:
        logits: [t]; −inf is a hazard of 0, +inf one of 1. Longer than ``max_tokens`` it is cut there; shorter
            it must hold a +inf.

    Raises:
        ValueError: for nan, and by ``logits`` if there are too few for ``max_tokens``.

    >>> from_logits([-2.0, 0.0, float("inf")]).logits(4)
    array([-2.,  0., inf, inf])
    """
    z = floats("logits", logits)
    if z.ndim != 1 or not z.size:
        fail("logits", z.shape, "must have one axis and at least one position (its shape is shown)")
    if np.isnan(z).any():
        fail("logits", math.nan, "must not be nan", _NO_NAN)
    limit = "the number of logits given (none of them +inf)"
    return Tabulated(values=z, label=f"from_logits({_show_array(z + 0.0)})", limit=limit)


def observed(lengths: ArrayLike, truncated: ArrayLike | None = None) -> Tabulated:
    """The Kaplan–Meier estimate from logged responses; truncation is right-censoring.

    h(t) = d(t)/n(t), d(t) the responses that stopped at t and n(t) those with T ≥ t. One truncated at L was
    seen to go on at L: it counts in n(L) and says nothing about L + 1. With one cap this is plain counting.

    A position where nobody stopped has hazard 0, a frozen logit: with few responses over many positions most
    are. Fit a smooth law instead if training is to move them.

    Args:
        lengths: [response], tokens with the stop token: whole numbers, at least 1.
        truncated: [response], booleans; None if all stopped by themselves.

    Raises:
        TypeError: if ``truncated`` is not boolean.
        ValueError: for lengths not whole or below 1; by ``logits`` for a ``max_tokens`` beyond the largest
            length, if a response of that length was truncated.

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
        cut = np.zeros(t.shape, dtype=np.bool_) if truncated is None else np.asarray(truncated)
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
    with np.errstate(divide="ignore"):
        z = np.log(stopped) - np.log(at_risk - stopped)
    label = f"observed({t.size} lengths, {cut.sum()} truncated, longest {ends.max()})"
    return Tabulated(values=z, label=label, limit="the largest truncated length (nothing is known beyond it)")


def _from_tails(log_cdf: FloatArray, log_sf: FloatArray) -> FloatArray:
    """Hazard logits z(t), t = 1..N, from the logs of both tails: F at 0..k, where it is below ½, and S at 0..N.

    A hazard is a mass over what is left, z(t) = log P(T = t) − log S(t), and a mass is a difference of a tail with
    itself, which keeps its digits where that tail is small:

        t ≤ k:  P(T = t) = F(t) − F(t−1) = F(t) (1 − e^−rise),      rise = log F(t) − log F(t−1)
        t > k:  P(T = t) = S(t−1) − S(t) = S(t) (e^fall − 1),       fall = log S(t−1) − log S(t)

    so z(t) = log F(t) − log S(t) + log (1 − e^−rise) up to k, and beyond it z(t) = fall + log (1 − e^−fall), in which
    no level of the tail is left.
    """
    k = len(log_cdf) - 1
    rise = _drop(log_cdf[1:], log_cdf[:-1])
    fall = _drop(log_sf[k:-1], log_sf[k + 1:])
    with np.errstate(divide="ignore"):
        early = log_cdf[1:] - log_sf[1:k + 1] + np.log(-np.expm1(-rise))
        late = fall + np.log(-np.expm1(-fall))
    return np.concatenate([early, late])


def _drop(high: FloatArray, low: FloatArray) -> FloatArray:
    """high − low ≥ 0 of logs, whatever rounding says; +inf where the lower one, or both, are the log of 0."""
    drop = np.full(high.shape, math.inf)
    known = np.isfinite(low)
    drop[known] = np.maximum(high[known] - low[known], 0.0)
    return drop


def _unresolved(logs: FloatArray) -> BoolArray:
    """Where a log is too low to be trusted, unless another of them shows that the law computes in logs."""
    in_logs = (np.isfinite(logs) & (logs < _BEYOND_FLOATS)).any()
    return (logs < _FLOOR) & ~in_logs


def _hold_tail(log_cdf: FloatArray, log_sf: FloatArray) -> FloatArray:
    """Hazard logits from the tails; from where the survival function has run out of digits the last one is held.

    A cliff is a hazard near 1: the step down to the floor is held, if that is larger than the last one resolved.
    """
    lost = np.flatnonzero(_unresolved(log_sf))
    if lost.size == 0:
        return _from_tails(log_cdf, log_sf)
    z = _from_tails(log_cdf, np.append(log_sf[:lost[0]], _FLOOR))
    return np.append(z[:-1], np.full(len(log_sf) - lost[0], z[-2:].max()))


def _close(z: FloatArray) -> FloatArray:
    """The logits with +inf behind the first hazard of 1, in place."""
    certain = np.flatnonzero(np.isposinf(z))
    if certain.size:
        z[certain[0]:] = math.inf
    return z


def _show(value: float) -> str:
    """A number in few digits if they say all of it."""
    short = f"{value:g}"
    return short if float(short) == value else repr(float(value))


def _show_array(values: FloatArray) -> str:
    """The first numbers, and how many there are."""
    inside = ", ".join(map(_show, values[:4]))
    return f"[{inside}]" if len(values) <= 4 else f"[{inside}, ...], {len(values)} positions"
