"""Critics that are given: a number, a line, a table, or what follows from the law of the responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from lossim._support import checks
from lossim._support.types import FloatArray
from lossim.critics._base import Critic, CriticView, backward, by_cell, of_class, shape, share_going


@dataclass(frozen=True, kw_only=True)
class Constant(Critic):
    """V = value at every position."""

    value: float
    _rules: ClassVar = {"value": (checks.finite,)}

    @property
    def constant(self) -> float:
        return self.value

    def values(self, view: CriticView) -> FloatArray:
        return np.full(shape(view), float(self.value))


@dataclass(frozen=True, kw_only=True)
class Zero(Critic):
    """V = 0: GAE then credits the terminal reward, discounted by (γλ)^{T-t}."""

    @property
    def constant(self) -> float:
        return 0.0

    def values(self, view: CriticView) -> FloatArray:
        return np.zeros(shape(view))


@dataclass(frozen=True, kw_only=True)
class Linear(Critic):
    """V_t = level + slope · (t - 1); slope in reward per token."""

    level: float
    slope: float
    _rules: ClassVar = {"level": (checks.finite,), "slope": (checks.finite,)}

    def values(self, view: CriticView) -> FloatArray:
        cells, columns = shape(view)
        return np.tile(self.level + self.slope * np.arange(float(columns)), (cells, 1))


@dataclass(frozen=True, eq=False, kw_only=True)
class Table(Critic):
    """V_t given as numbers, [class, t] or [cell, t] with t = 1..N (and N+1, where GAE bootstraps cut responses).

    A table per cell has its first column averaged over the paths of a class.
    """

    table: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", checks.number_array("table", self.table, ndim=2))
        if not self.table.size:
            checks.fail("table", self.table.shape, "must hold at least one class or cell and one position (its shape "
                        "is shown)")

    def repeated(self, count: int) -> Table:
        return Table(table=np.tile(self.table, (count, 1)))

    def values(self, view: CriticView) -> FloatArray:
        rule = "must have shape [{classes} classes or {cells} cells, {positions} or {beyond} positions]"
        values = by_cell("table", self.table, view, rule)
        values[:, 0] = view.class_mean(values[:, 0])
        return values


@dataclass(frozen=True, kw_only=True)
class Exact(Critic):
    """V_t = E[discounted return from t on | still going], KL in the reward included, plus a bias.

    On each cell by the Bellman recurrence, from the cut backwards (derivations, sections 3 and 14):

        V_t = h_t r_stop(t) + (1 - h_t) (r_go(t) + γ V_{t+1}) ,    V_{N+1} = 0

    where V_{t+1} is the mean over a change of state, and r_go at N includes the pay of a cut response. ``per="cell"``
    knows path and state from the second token on, ``per="class"`` never does. At λ < 1 the first leaves no artefact
    under token sum; the second does.
    """

    per: Literal["cell", "class"] = "cell"
    bias: float = 0.0
    _rules: ClassVar = {"per": (checks.choice, ("cell", "class")), "bias": (checks.finite,)}

    @property
    def knows_pay(self) -> bool:
        return True

    def values(self, view: CriticView) -> FloatArray:
        exact = _returns_to_go(view)
        if self.per == "class":  # the average over the paths, by who is still going; where nobody is, over all alike
            weight = share_going(view)
            weight[of_class(np.maximum, weight, view.class_of_cell) == 0] = 1.0
            exact = of_class(np.add, weight * exact, view.class_of_cell)
            exact /= of_class(np.add, weight, view.class_of_cell)
        return np.column_stack([exact + self.bias, np.full(len(exact), np.nan)])


@dataclass(frozen=True, kw_only=True)
class ClassMean(Critic):
    """V = E[discounted return | class] at every position, KL in the reward included: ``Exact`` before the first token.

    Where :class:`RunningMean` settles while the policy stays.
    """

    @property
    def knows_pay(self) -> bool:
        return True

    def values(self, view: CriticView) -> FloatArray:
        return np.tile(_returns_to_go(view)[:, :1], (1, view.hazard.shape[1] + 1))


def _returns_to_go(view: CriticView) -> FloatArray:
    """E[discounted return from t on | still going], [cell, t], at t = 1 by class: the recurrence of :class:`Exact`."""
    paid = view.hazard * view.paid_stop + view.stay * view.paid_go
    paid[:, -1] += view.stay[:, -1] * view.paid_truncated
    exact = backward(paid, view, view.gamma)
    exact[:, 0] = view.class_mean(exact[:, 0])
    return exact
