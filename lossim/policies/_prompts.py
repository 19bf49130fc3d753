"""Prompts and the paths of their responses: what a policy is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from lossim._support import checks
from lossim._support.types import ArrayLike, FloatArray
from lossim.lengths import Length

__all__ = ["Path", "PromptClass", "sums_to_one", "unique"]

Correctness = float | ArrayLike | Callable[[FloatArray], ArrayLike]


@dataclass(frozen=True, eq=False)
class Path:
    """One way a response can go: how likely, how long, how often right.

    Attributes:
        name: e.g. ``"right"``; paths of the same name share coordinates across classes.
        probability: π, chance of the path given the class.
        length: length law, see :mod:`lossim.lengths`.
        p_correct: chance that a response that stopped at t is correct: a number, an array [t], or a function of
            the array of positions.
        p_correct_truncated: the same for a response that was cut.
    """

    name: str
    probability: float = field(default=1.0, kw_only=True)
    length: Length = field(kw_only=True)
    p_correct: Correctness = field(kw_only=True)
    p_correct_truncated: float = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        checks.text("name of path", self.name)
        for name in ("probability", "p_correct_truncated"):
            checks.keep(self, name, checks.probability, called=f"{name} of path {self.name!r}")
        if not isinstance(self.length, Length):
            checks.fail(f"length of path {self.name!r}", self.length, "must be a length law",
                        "for example lengths.geometric(mean=300)", TypeError)
        if isinstance(self.p_correct, (int, float)):
            checks.keep(self, "p_correct", checks.probability, called=f"p_correct of path {self.name!r}")
        elif not callable(self.p_correct):
            curve = checks.number_array(f"p_correct of path {self.name!r}", self.p_correct, low=0.0, high=1.0,
                                        fix="or give a number, or a function of the array of positions")
            if curve.ndim > 1 or not curve.size:
                checks.fail(f"p_correct of path {self.name!r}", curve.shape, "must be one number or one per position "
                            "(its shape is shown)")
            object.__setattr__(self, "p_correct", curve)

    def correctness(self, max_tokens: int) -> FloatArray:
        """P(correct | stopped at t), [t]."""
        name = f"p_correct of path {self.name!r}"
        positions = np.arange(1.0, max_tokens + 1.0)
        try:
            given = self.p_correct(positions) if callable(self.p_correct) else self.p_correct
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} must be a function of the array of positions, and raised: {error}; write "
                            "comparisons with np.where") from error
        curve = checks.number_array(name, given, low=0.0, high=1.0)
        if curve.shape not in ((), (max_tokens,)):
            checks.fail(name, curve.shape, f"must be one number or one per position, shape ({max_tokens},)")
        return np.broadcast_to(curve, (max_tokens,))


@dataclass(frozen=True, eq=False)
class PromptClass:
    """Prompts that behave alike: a share of all prompts, and the paths of their responses.

    ``weight`` is ω, the share; the path probabilities must sum to 1.
    """

    name: str
    weight: float = field(default=1.0, kw_only=True)
    paths: Sequence[Path] = field(kw_only=True)

    def __post_init__(self) -> None:
        checks.text("name of class", self.name)
        checks.keep(self, "weight", checks.probability, called=f"weight of class {self.name!r}")
        paths = checks.members(f"paths of class {self.name!r}", self.paths, Path, "Path")
        object.__setattr__(self, "paths", paths)
        if not self.paths:
            checks.fail(f"paths of class {self.name!r}", [], "must hold at least one path")
        unique(f"paths of class {self.name!r}", [path.name for path in self.paths])
        sums_to_one(f"path probabilities of class {self.name!r}", [path.probability for path in self.paths])


def unique(what: str, names: list[str]) -> None:
    if len(set(names)) < len(names):
        checks.fail(what, names, "must have different names")


def sums_to_one(what: str, values: list[float]) -> None:
    if abs(sum(values) - 1.0) > 1e-9:
        checks.fail(what, values, f"must sum to 1 (they sum to {sum(values):.10g})", "divide them by their sum")
