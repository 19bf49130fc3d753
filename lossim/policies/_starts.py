"""The common starts, each in one call."""

from __future__ import annotations

import numpy as np
from scipy.linalg import eigh_tridiagonal

from lossim._model import Coordinates, Features
from lossim._support import checks
from lossim._support.types import FloatArray
from lossim.lengths import Length
from lossim.policies._policy import Policy
from lossim.policies._prompts import Path, PromptClass

__all__ = ["beta_solve_rates", "two_paths", "unsolvable"]


def two_paths(*, solve_rate: float, right: Length, wrong: Length, max_tokens: int,
              coordinates: Coordinates | None = None) -> Policy:
    """One prompt class with a right path (always correct) and a wrong path (never).

    ``solve_rate`` is the chance of the right path; a right response that is cut counts as incorrect.

    >>> import lossim as ls
    >>> ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=9), wrong=ls.lengths.geometric(mean=15),
    ...                       max_tokens=256)
    Policy(1 class, 2 cells, max_tokens=256: mean length 12.6, accuracy 0.4, truncated 1.28e-08)
    """
    rate = checks.probability("solve_rate", solve_rate)
    return Policy([_sometimes("prompts", 1.0, rate, right, wrong)], max_tokens=max_tokens,
                  coordinates=Features() if coordinates is None else coordinates)


def _sometimes(name: str, weight: float, solve_rate: float, right: Length, wrong: Length) -> PromptClass:
    return PromptClass(name, weight=weight, paths=[
        Path("right", probability=solve_rate, length=right, p_correct=1.0),
        Path("wrong", probability=1.0 - solve_rate, length=wrong, p_correct=0.0)])


def unsolvable(*, length: Length, max_tokens: int, coordinates: Coordinates | None = None) -> Policy:
    """One prompt class whose responses are never correct."""
    paths = [Path("wrong", length=length, p_correct=0.0)]
    return Policy([PromptClass("never", paths=paths)], max_tokens=max_tokens,
                  coordinates=Features() if coordinates is None else coordinates)


def beta_solve_rates(a: float, b: float, *, classes: int = 8, right: Length, wrong: Length, max_tokens: int,
                     coordinates: Coordinates | None = None) -> Policy:
    """Prompt classes whose solve rates follow a Beta(a, b) law, each with a right and a wrong path.

    The classes are the Gauss-Jacobi nodes of the law: every expectation that is a polynomial of the solve rate of
    degree up to 2·classes - 1 (a group of that size, say) is that of the Beta law itself.
    """
    fix = "for a single solve rate use two_paths"
    a = checks.in_interval("a", a, 1e-6, 1e6, fix)
    b = checks.in_interval("b", b, 1e-6, 1e6, fix)
    count = checks.whole("classes", classes)
    rates, shares = _beta_nodes(a, b, count)
    names = [f"p={rate:.3g}" for rate in rates]
    if len(set(names)) < count:
        names = [f"{number}: {name}" for number, name in enumerate(names, start=1)]
    return Policy([_sometimes(name, float(share), float(rate), right, wrong)
                   for name, rate, share in zip(names, rates, shares, strict=True)],
                  max_tokens=max_tokens, coordinates=Features() if coordinates is None else coordinates)


def _beta_nodes(a: float, b: float, count: int) -> tuple[FloatArray, FloatArray]:
    """Gauss nodes and weights (they sum to 1) of the Beta(a, b) law, from the eigenvectors of its Jacobi matrix."""
    n = np.arange(1.0, count)
    s = a + b
    middle = np.append((a - b) / s, (a - b) * (s - 2.0) / ((2.0 * n + s - 2.0) * (2.0 * n + s)))
    aside = 4.0 * n * (n + a - 1.0) * (n + b - 1.0) / ((2.0 * n + s - 2.0) ** 2 * (2.0 * n + s - 1.0))
    aside[1:] *= (n[1:] + s - 2.0) / (2.0 * n[1:] + s - 3.0)  # 1 at n = 1, where a + b = 1 makes it 0/0
    nodes, vectors = eigh_tridiagonal((1.0 + middle) / 2.0, np.sqrt(aside) / 2.0)
    return np.clip(nodes, 0.0, 1.0), vectors[0] ** 2
