"""The critic that nobody gave, and what may be meant by it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from lossim._support import checks
from lossim._support.types import FloatArray
from lossim.critics._base import Critic, CriticView, shape
from lossim.critics._given import ClassMean, Exact, Zero
from lossim.critics._learned import Learned


def _still(name: str, value: Any) -> Any:
    """A critic that stays as it is."""
    if not isinstance(value, Critic) or isinstance(value, Learned):
        checks.fail(name, value, "must be a critic that does not learn",
                    "scale the start of one that does", TypeError)
    return value


@dataclass(frozen=True, kw_only=True)
class Scaled(Critic):
    """V_t = factor · V_t of another critic: at factors below 1, one that lags behind it on its way from 0.

    >>> Scaled(critic=Exact(), factor=0.5)
    Scaled(critic=Exact(per='cell', bias=0.0), factor=0.5)
    """

    critic: Critic
    factor: float
    _rules: ClassVar = {"critic": (_still,), "factor": (checks.finite,)}

    @property
    def constant(self) -> float | None:
        inner = self.critic.constant
        return None if inner is None else self.factor * inner

    @property
    def knows_pay(self) -> bool:
        return self.critic.knows_pay

    def repeated(self, count: int) -> Self:
        return replace(self, critic=self.critic.repeated(count))

    def values(self, view: CriticView) -> FloatArray:
        return self.factor * self.critic.values(view)


@dataclass(frozen=True, kw_only=True)
class NotGiven(Critic):
    """Nobody said which critic: V = 0 is assumed, and ``alternatives`` names others that a run may have.

    >>> print(NotGiven())
    V = 0 (assumed: no critic was given)
    >>> for name, critic in NotGiven().alternatives:
    ...     print(f"{name}: {critic}")
    V = 0: Zero()
    the mean of each class: ClassMean()
    exact: Exact(per='cell', bias=0.0)
    half of exact: Scaled(critic=Exact(per='cell', bias=0.0), factor=0.5)
    """

    @property
    def constant(self) -> float:
        return 0.0

    @property
    def alternatives(self) -> tuple[tuple[str, Critic], ...]:
        exact = Exact()
        return (("V = 0", Zero()), ("the mean of each class", ClassMean()), ("exact", exact),
                ("half of exact", Scaled(critic=exact, factor=0.5)))

    def values(self, view: CriticView) -> FloatArray:
        return np.zeros(shape(view))

    def __str__(self) -> str:
        return "V = 0 (assumed: no critic was given)"
