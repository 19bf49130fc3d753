"""The common starts, each in one call."""

from __future__ import annotations

from lossim._model import Coordinates, Features
from lossim._support import checks
from lossim._support.positions import beta_nodes
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
    checks.probability("solve_rate", solve_rate)
    return Policy([_sometimes("prompts", 1.0, solve_rate, right, wrong)], max_tokens=max_tokens,
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
    a, b = (checks.in_interval(name, value, 1e-6, 1e6, fix) for name, value in (("a", a), ("b", b)))
    checks.whole("classes", classes)
    rates, shares = beta_nodes(a, b, classes)
    names = [f"p={rate:.3g}" for rate in rates]
    if len(set(names)) < classes:
        names = [f"{number}: {name}" for number, name in enumerate(names, start=1)]
    return Policy([_sometimes(name, float(share), float(rate), right, wrong)
                   for name, rate, share in zip(names, rates, shares, strict=True)],
                  max_tokens=max_tokens, coordinates=Features() if coordinates is None else coordinates)
