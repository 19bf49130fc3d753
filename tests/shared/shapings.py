"""Shapings that compare a group, each beside a function in plain Python that has the rewards of the counted responses.

The functions are written from the papers: lengths, grades and rewards of one group's counted responses to new rewards.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

from lossim import rewards

Plain = Callable[[list[int], list[bool], list[float]], list[float]]


def kimi(length: list[int], right: list[bool], paid: list[float]) -> list[float]:
    """λ = 1/2 - (T - min)/(max - min), at most 0 for a wrong one, times 0.7."""
    low, high = min(length), max(length)
    if low == high:
        return paid
    shares = [0.5 - (t - low) / (high - low) for t in length]
    return [r + 0.7 * (share if good else min(0.0, share)) for r, share, good in zip(paid, shares, right, strict=True)]


def z_score(length: list[int], right: list[bool], paid: list[float]) -> list[float]:
    """r (1 - 0.4 σ(z)) for right ones, z beside the right ones."""
    ours = [t for t, good in zip(length, right, strict=True) if good]
    if not ours:
        return paid
    mean, std = statistics.fmean(ours), statistics.pstdev(ours)
    scores = [(t - mean) / std if std else 0.0 for t in length]
    return [r * (1.0 - 0.4 / (1.0 + math.exp(-z))) if good else r
            for r, z, good in zip(paid, scores, right, strict=True)]


def alp(length: list[int], right: list[bool], paid: list[float]) -> list[float]:
    """r - β T max(p, 1/G)."""
    size = len(length)
    return [r - 0.02 * t * max(sum(right) / size, 1.0 / size) for r, t in zip(paid, length, strict=True)]


def pass_rate(length: list[int], right: list[bool], paid: list[float]) -> list[float]:
    """r - w · mean r · T / max T."""
    mean = statistics.fmean(paid)
    return [r - 0.3 * mean * t / max(length) for r, t in zip(paid, length, strict=True)]


def laser_d(length: list[int], right: list[bool], paid: list[float]) -> list[float]:
    """r + α for right ones within 2, 3 or 9 tokens, by the accuracy of the group in thirds."""
    accuracy = sum(right) / len(right)
    target = 2 if accuracy >= 2 / 3 else 3 if accuracy >= 1 / 3 else 9
    return [r + 0.5 if good and t <= target else r for r, t, good in zip(paid, length, right, strict=True)]


def shorter_better(length: list[int], right: list[bool], paid: list[float]) -> list[float]:
    """r - β |T - L|, L the shortest right length or the mean."""
    ours = [t for t, good in zip(length, right, strict=True) if good]
    optimal = min(ours) if ours else sum(length) / len(length)
    return [r - 0.05 * abs(t - optimal) for r, t in zip(paid, length, strict=True)]


def gr3(length: list[int], right: list[bool], paid: list[float]) -> list[float]:
    """r / (1 + α T / mean T)."""
    mean = sum(length) / len(length)
    return [r / (1.0 + 0.8 * t / mean) for r, t in zip(paid, length, strict=True)]


GROUP_SHAPINGS: dict[str, tuple[rewards.GroupShaping, Plain]] = {
    "Kimi": (rewards.KimiLength(weight=0.7), kimi),
    "z score": (rewards.LengthZScore(alpha=0.4), z_score),
    "ALP": (rewards.ALP(beta=0.02), alp),
    "pass rate": (rewards.PassRateLength(weight=0.3), pass_rate),
    "LASER-D": (rewards.LaserD(easy=2, medium=3, hard=9), laser_d),
    "ShorterBetter": (rewards.ShorterBetter(beta=0.05), shorter_better),
    "GR3": (rewards.GR3(alpha=0.8), gr3),
}
"""By name: the shaping, and the same in plain Python."""

UNITLESS = ("Kimi", "z score", "pass rate", "GR3")
"""Those that stay when all lengths are so many times as long."""
