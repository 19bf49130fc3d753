"""Numbers that carry their own derivatives: what the twins use instead of a gradient formula."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

Token = tuple[int, int]


@dataclass(frozen=True)
class Dual:
    """A value and its partial derivative with respect to each log-probability it depends on."""

    value: float
    slope: dict[Token, float] = field(default_factory=dict)

    def __add__(self, other: Dual | float) -> Dual:
        return total([self, other])

    def __mul__(self, other: Dual | float) -> Dual:
        other = lift(other)
        left = through(self, self.value * other.value, other.value)
        right = through(other, 0.0, self.value)
        return left + right

    def __neg__(self) -> Dual:
        return self * -1.0

    def __sub__(self, other: Dual | float) -> Dual:
        return self + -lift(other)

    def __truediv__(self, other: float) -> Dual:
        return through(self, self.value / other, 1.0 / other)

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: float) -> Dual:
        return -self + other


def lift(x: Dual | float) -> Dual:
    return x if isinstance(x, Dual) else Dual(float(x))


def through(x: Dual, value: float, derivative: float) -> Dual:
    """A function of x by the chain rule: its value at x and its derivative there."""
    return Dual(value, {token: derivative * slope for token, slope in x.slope.items()})


def total(terms: Iterable[Dual | float]) -> Dual:
    values, slope = [], {}
    for term in map(lift, terms):
        values.append(term.value)
        for token, derivative in term.slope.items():
            slope[token] = slope.get(token, 0.0) + derivative
    return Dual(math.fsum(values), slope)


def mean(terms: list[Dual]) -> Dual:
    return total(terms) / len(terms)


def exp(x: Dual) -> Dual:
    return through(x, math.exp(x.value), math.exp(x.value))


def sigmoid(x: Dual) -> Dual:
    gate = 1.0 / (1.0 + math.exp(-x.value))
    return through(x, gate, gate * (1.0 - gate))


def smaller(x: Dual, y: Dual) -> Dual:
    return x if x.value <= y.value else y


def larger(x: Dual, y: Dual) -> Dual:
    return x if x.value >= y.value else y


def clip(x: Dual, low: float, high: float) -> Dual:
    return Dual(min(max(x.value, low), high)) if not low <= x.value <= high else x


def stopped(x: Dual) -> float:
    """The stop-gradient: the number without its derivatives."""
    return x.value
