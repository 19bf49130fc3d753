"""What is not known of a run: numbers by their laws, and choices. A draw is an inverse cdf of numbers in [0, 1)."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from lossim._support import checks
from lossim._support.types import FloatArray
from lossim.schemes import short

__all__ = ["Choices", "Law", "LogRange", "Range", "Unknown", "log_range", "unknown"]

WHOLE = ("bins", "classes", "max_tokens", "steps")
"""Arguments that are whole numbers: what is drawn for them is rounded."""


class Unknown(ABC):
    """Something that is drawn."""

    @abstractmethod
    def at(self, u: FloatArray) -> list[Any]:
        """The values at these points of its cdf, [draw] in [0, 1)."""

    @abstractmethod
    def __str__(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class _Between(checks.Checked):
    """Two ends, the lower one first."""

    low: float
    high: float
    _rules: ClassVar = {"low": (checks.finite,), "high": (checks.finite,)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low >= self.high:
            checks.fail("low", self.low, f"must be below high, {self.high!r}", "give one number for what is known")


@dataclass(frozen=True, kw_only=True)
class Range(_Between, Unknown):
    """Any value between two, all alike."""

    def at(self, u: FloatArray) -> list[Any]:
        return (self.low + (self.high - self.low) * u).tolist()

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


@dataclass(frozen=True, kw_only=True)
class LogRange(_Between, Unknown):
    """Any value between two, their logarithms all alike: see :func:`log_range`."""

    _rules: ClassVar = {"low": (checks.positive,), "high": (checks.positive,)}

    def at(self, u: FloatArray) -> list[Any]:
        low, high = math.log(self.low), math.log(self.high)
        return np.exp(low + (high - low) * u).tolist()

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g} (log)"


@dataclass(frozen=True, eq=False)
class Choices(Unknown):
    """One of several values, all alike."""

    values: tuple[Any, ...]

    def at(self, u: FloatArray) -> list[Any]:
        last = len(self.values) - 1
        return [self.values[min(int(x * (last + 1)), last)] for x in u]

    def __str__(self) -> str:
        return ", ".join(label(value) for value in self.values)


@dataclass(frozen=True, eq=False)
class Law(Unknown):
    """A frozen distribution of scipy.stats."""

    dist: Any

    def at(self, u: FloatArray) -> list[Any]:
        inverse = getattr(self.dist, "ppf", None) or self.dist.icdf
        return np.asarray(inverse(u), dtype=np.float64).tolist()

    def __str__(self) -> str:
        return short(self.dist)


def log_range(low: float, high: float) -> LogRange:
    """An unknown of :func:`lossim.survey` between two positive numbers, as likely to double here as there.

    >>> log_range(0.01, 1.0)
    LogRange(low=0.01, high=1.0)
    """
    return LogRange(low=low, high=high)


def unknown(name: str, given: Any) -> Unknown | None:
    """What was given under a name as an unknown; None if it is one value, which is then known."""
    if isinstance(given, Unknown):
        return given
    if isinstance(given, list):
        if not given:
            checks.fail(f"unknowns[{name!r}]", given, "must hold at least one choice")
        return Choices(tuple(given))
    if isinstance(given, tuple):
        low, high = checks.pair(f"unknowns[{name!r}]", given, "must be two numbers, (low, high)")
        if low >= high:
            checks.fail(f"unknowns[{name!r}]", given, "must have its lower end first",
                        "give one number for what is known")
        return Range(low=low, high=high)
    if isinstance(given, type) or hasattr(given, "freeze"):
        checks.fail(f"unknowns[{name!r}]", given, "must be frozen with its parameters", "call it first, as in "
                    "scipy.stats.beta(2, 5)", TypeError)
    return Law(given) if hasattr(given, "ppf") or hasattr(given, "icdf") else None


def values(name: str, drawn: Unknown, u: FloatArray) -> list[Any]:
    """What is drawn for a name at points of the cdf."""
    found = drawn.at(u)
    if name in WHOLE and not isinstance(drawn, Choices):
        return [round(x) for x in found]
    return found


def label(value: Any) -> str:
    """A value as tables show it."""
    return f"{value:.4g}" if isinstance(value, float) else value if isinstance(value, str) else short(value)
