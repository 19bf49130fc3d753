"""Laws given by their tails: F(t) = P(T ≤ t) and S(t) = P(T > t), made into hazards without losing digits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_ndtr

from lossim._support.checks import fail, positive, whole
from lossim._support.types import BoolArray, FloatArray
from lossim.lengths._hazards import ByKey, Length, closed, shown

_LOG_HALF = -math.log(2.0)
_FLOOR = math.log(1e-300)  # the log of a probability below this has lost its digits, or all of itself
_BEYOND_FLOATS = -746.0  # below the log of any positive float: only a law that computes in logs gets there
_LOST_MASS = 1e-12  # mass at lengths <= 0 that is taken for rounding


@dataclass(frozen=True, kw_only=True, repr=False)
class lognormal(Length):
    """A lognormal length in tokens, rounded up to whole ones.

    P(T ≤ t) = Φ((log t − log median)/σ), so E[T] is about median·exp(σ²/2) + ½. Computed from log Φ on both
    sides: hazards and survival far below the smallest float keep their digits.

    Args:
        median: tokens, positive.
        sigma: standard deviation of log length, positive.

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
            return closed(_from_tails(log_cdf, log_sf))

    def __repr__(self) -> str:
        return f"lognormal(median={shown(self.median)}, sigma={shown(self.sigma)})"


@dataclass(frozen=True, eq=False, repr=False)
class from_scipy(ByKey):
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
        # From where S has run out of digits the last hazard is held; a cliff is one near 1: the step down to the
        # floor is held, if that is larger than the last one resolved.
        lost = np.flatnonzero(_unresolved(log_sf))
        if lost.size:
            z = _from_tails(log_cdf, np.append(log_sf[:lost[0]], _FLOOR))
            z = np.append(z[:-1], np.full(len(log_sf) - lost[0], z[-2:].max()))
        else:
            z = _from_tails(log_cdf, log_sf)
        # What is known where F has none, and the end of the support.
        low, high = map(float, self.dist.support())
        z[:len(below) - 1][(below[1:] > low) & _unresolved(log_cdf[1:])] = _FLOOR
        z[t[1:] >= high] = math.inf
        return closed(z)

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
        values = ", ".join(f"{name}={shown(value)}" for name, value in self._parameters().items())
        family = self.dist.dist
        unnamed = family.name == "Distribution"  # what scipy calls a family without a name of its own
        return f"from_scipy({type(family).__name__ if unnamed else family.name}({values}))"


def _from_tails(log_cdf: FloatArray, log_sf: FloatArray) -> FloatArray:
    """Hazard logits z(t), t = 1..N, from the logs of both tails: F at 0..k, where it is below ½, and S at 0..N.

    The logit is that of a mass over what is left after it, z(t) = log P(T = t) − log S(t), and the mass a difference
    within a tail, which keeps its digits where that tail is small:

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
    known = np.isfinite(low)
    return np.maximum(np.subtract(high, low, where=known, out=np.full(high.shape, math.inf)), 0.0)


def _unresolved(logs: FloatArray) -> BoolArray:
    """Where a log is too low to be trusted, unless another of them shows that the law computes in logs."""
    in_logs = (np.isfinite(logs) & (logs < _BEYOND_FLOATS)).any()
    return (logs < _FLOOR) & ~in_logs
