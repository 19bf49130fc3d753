"""What stop logits say: survival and masses, hazard by hazard and in logs."""

from __future__ import annotations

import math

import numpy as np

from arrays import FloatArray

LONG = 32_768


def survival_and_mass(logits: FloatArray) -> tuple[list[float], list[float]]:
    """P(T > t), t = 0..N, and P(T = t), t = 1..N, by multiplying hazards one after the other."""
    survival, mass = [1.0], []
    for z in logits:
        hazard = 1 / (1 + math.exp(-z)) if z > -700 else 0.0
        stay = 1 / (1 + math.exp(z)) if z < 700 else 0.0
        mass.append(survival[-1] * hazard)
        survival.append(survival[-1] * stay)
    return survival, mass


def log_mass(logits: FloatArray) -> tuple[FloatArray, float]:
    """log P(T = t) and the log of the truncated mass."""
    stay = -np.logaddexp(0.0, logits)
    before = np.concatenate([[0.0], np.cumsum(stay)])
    return before[:-1] - np.logaddexp(0.0, -logits), float(before[-1])
