"""A number that knows how it was made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from lossim._support import checks
from lossim._support.plain import plain
from lossim._support.text import SAMPLED
from lossim._support.types import FloatArray

__all__ = ["Estimate", "Method"]

Method = Literal["closed form", "sum", "quadrature", "large-batch limit", "monte carlo", "bootstrap"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with its standard error, its numerical error bound and its method.

    ``value``, ``stderr`` and ``error`` are floats, or arrays of one shape where the quantity is an array.

    Attributes:
        value: the number, in the unit of the quantity it belongs to.
        stderr: one standard deviation of sampling noise; 0 for every method but ``"monte carlo"`` and ``"bootstrap"``.
        error: bound on the numerical error of an exact method (rounding of sums, quadrature); of a large-batch limit
            about how far a step of this size is from it; 0 if sampled.
        n: number of independent samples behind ``stderr`` (0 if nothing was sampled).
        method: ``"closed form"``, ``"sum"`` (over the law, exact to rounding), ``"quadrature"``,
            ``"large-batch limit"``, ``"monte carlo"``, or ``"bootstrap"`` (from a log, its prompts drawn again).

    >>> Estimate(value=12.3456, stderr=0.21, n=64, method="monte carlo")
    12.35 ± 0.21
    >>> float(Estimate(value=-0.5, method="sum"))
    -0.5
    """

    value: Any
    stderr: Any = 0.0
    error: Any = 0.0
    n: int = 0
    method: Method = "sum"

    def __post_init__(self) -> None:
        # Results hold many estimates, nearly all of them right: only another one is worth a call.
        if type(self.method) is not str or self.method not in METHODS:
            checks.choice("method", self.method, METHODS)
        if type(self.n) is not int or not 0 <= self.n <= checks.LARGEST_WHOLE:
            checks.keep(self, "n", checks.whole, 0)
        shape = _numbers("value", self.value).shape
        for name in ("stderr", "error"):
            given = getattr(self, name)
            size = _numbers(name, given)
            if size.shape not in ((), shape):
                checks.fail(name, size.shape, f"must be a number or have the shape of value, {shape}")
            if (size < 0).any():
                checks.fail(name, given, "must not be negative")

    def __float__(self) -> float:
        return float(self.value)

    def __array__(self, dtype: Any = None, copy: Any = None) -> FloatArray:
        return np.array(self.value, dtype=dtype)

    def __mul__(self, factor: float) -> Estimate:
        """The estimate in another unit: value, standard error and error bound times a number."""
        size = abs(factor)
        return replace(self, value=self.value * factor, stderr=self.stderr * size, error=self.error * size)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Estimate:
        return self * (1.0 / divisor)

    def __neg__(self) -> Estimate:
        return self * -1.0

    def __lt__(self, other: Any) -> Any:
        """Compare values; whether the difference is beyond the noise is for ``stderr`` to say."""
        return np.less(self.value, np.asarray(other))

    def __gt__(self, other: Any) -> Any:
        return np.greater(self.value, np.asarray(other))

    def __getitem__(self, index: Any) -> Estimate:
        """The estimate of one entry (or a slice) of an array."""
        def pick(x: Any) -> Any:
            part = np.broadcast_to(x, np.shape(self.value))[index]
            return part if np.ndim(part) else float(part)

        return replace(self, value=pick(self.value), stderr=pick(self.stderr), error=pick(self.error))

    def __repr__(self) -> str:
        if np.ndim(self.value):
            return f"Estimate(array of shape {np.shape(self.value)}, method={self.method!r})"
        return f"{self:.4g}"

    def __format__(self, spec: str) -> str:
        if np.ndim(self.value):
            return repr(self)
        text = format(float(self.value), spec or ".4g")
        if self.method not in SAMPLED or np.isnan(float(self.stderr)):
            return text
        return f"{text} ± {float(self.stderr):.2g}"

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values (lists for arrays, None for NaN), ready for strict JSON."""
        return {name: plain(getattr(self, name)) for name in ("value", "stderr", "error", "n", "method")}


def _numbers(name: str, value: Any) -> FloatArray:
    """A number or an array of numbers, as an array."""
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.array(None)
    if array.dtype.kind not in "biuf":
        checks.fail(name, value, "must be a number or an array of numbers", "", TypeError)
    return array
