"""Critics as data: V_t, the value before token t, for GAE.

V_1 is per prompt class, since the path is not chosen yet; from t = 2 on it is per cell, or per class for a critic
that cannot tell paths apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lossim import _check
from lossim._numerics import backward_recurrence
from lossim._types import FloatArray, IntArray

__all__ = ["Constant", "Critic", "CriticView", "Exact", "Linear", "Table", "Zero"]


@dataclass(frozen=True, kw_only=True)
class CriticView:
    """What a critic may look at: the law of each cell and what its tokens are paid.

    ``class_of_cell`` [cell], ``probability`` [cell] (of the path in its class), ``hazard``, ``stay`` (1 - hazard),
    ``log_at_risk`` [cell, t], ``paid_stop`` and ``paid_go`` [cell, t] (expected reward of the token that stops or
    goes on), ``paid_truncated`` [cell] (added to the last token of a cut response), ``gamma``.
    """

    class_of_cell: IntArray
    probability: FloatArray
    hazard: FloatArray
    stay: FloatArray
    log_at_risk: FloatArray
    paid_stop: FloatArray
    paid_go: FloatArray
    paid_truncated: FloatArray
    gamma: float

    def class_mean(self, values: FloatArray) -> FloatArray:
        """Average of [cell] over the paths of each class, per cell."""
        weight = np.bincount(self.class_of_cell, weights=self.probability * values)
        share = np.bincount(self.class_of_cell, weights=self.probability)
        mean: FloatArray = (weight / share)[self.class_of_cell]
        return mean


@dataclass(frozen=True, kw_only=True)
class Critic(ABC):
    """Base of all critics."""

    @abstractmethod
    def values(self, view: CriticView) -> FloatArray:
        """V_1 .. V_{N+1} as [cell, N+1]; the last column is the value after a response was cut."""


@dataclass(frozen=True, kw_only=True)
class Constant(Critic):
    """V = value at every position."""

    value: float

    def __post_init__(self) -> None:
        _check.finite("value", self.value)

    def values(self, view: CriticView) -> FloatArray:
        cells, positions = view.hazard.shape
        return np.full((cells, positions + 1), self.value)


@dataclass(frozen=True, kw_only=True)
class Zero(Critic):
    """V = 0: GAE then credits the terminal reward, discounted by (γλ)^{T-t}."""

    def values(self, view: CriticView) -> FloatArray:
        cells, positions = view.hazard.shape
        return np.zeros((cells, positions + 1))


@dataclass(frozen=True, kw_only=True)
class Linear(Critic):
    """V_t = level + slope · (t - 1); slope in reward per token."""

    level: float
    slope: float

    def __post_init__(self) -> None:
        _check.finite("level", self.level)
        _check.finite("slope", self.slope)

    def values(self, view: CriticView) -> FloatArray:
        cells, positions = view.hazard.shape
        return np.tile(self.level + self.slope * np.arange(positions + 1.0), (cells, 1))


@dataclass(frozen=True, eq=False, kw_only=True)
class Table(Critic):
    """V_t given as numbers, [class, t] or [cell, t] with t = 1..N (and N+1, where GAE bootstraps cut responses).

    A table per cell has its first column averaged over the paths of a class.
    """

    table: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", _check.number_array("table", self.table, ndim=2))
        if not self.table.size:
            _check.fail("table", self.table.shape, "must hold at least one class or cell and one position (its shape "
                        "is shown)")

    def values(self, view: CriticView) -> FloatArray:
        cells, positions = view.hazard.shape
        classes = int(view.class_of_cell.max()) + 1
        rows, columns = self.table.shape
        if rows not in (classes, cells) or columns not in (positions, positions + 1):
            _check.fail("table", self.table.shape, f"must have shape [{classes} classes or {cells} cells, {positions} "
                        f"or {positions + 1} positions]")
        table = self.table[view.class_of_cell] if rows == classes else self.table.copy()
        if columns == positions:
            table = np.column_stack([table, np.full(cells, np.nan)])
        table[:, 0] = view.class_mean(table[:, 0])
        return table


@dataclass(frozen=True, kw_only=True)
class Exact(Critic):
    """V_t = E[discounted return from t on | still going], KL in the reward included, plus a bias.

    ``per="cell"`` knows the path from the second token on, ``per="class"`` never does. At λ < 1 the first leaves no
    artefact under token sum; the second does.
    """

    per: Literal["cell", "class"] = "cell"
    bias: float = 0.0

    def __post_init__(self) -> None:
        _check.choice("per", self.per, ("cell", "class"))
        _check.finite("bias", self.bias)

    def values(self, view: CriticView) -> FloatArray:
        step = view.hazard * view.paid_stop + view.stay * view.paid_go
        step[:, -1] += view.stay[:, -1] * view.paid_truncated
        exact = np.array([backward_recurrence(view.gamma * stay, x) for stay, x in zip(view.stay, step, strict=True)])
        exact[:, 0] = view.class_mean(exact[:, 0])
        if self.per == "class":
            exact = _mixed(exact, view)
        return np.column_stack([exact + self.bias, np.full(len(exact), np.nan)])


def _mixed(values: FloatArray, view: CriticView) -> FloatArray:
    """Average over the paths of a class, weighted by P(path, still going at t); in logs, since tails underflow."""
    with np.errstate(divide="ignore"):
        log_weight = np.log(view.probability)[:, None] + view.log_at_risk
    mixed = np.empty_like(values)
    for j in range(int(view.class_of_cell.max()) + 1):
        mine = view.class_of_cell == j
        top = log_weight[mine].max(axis=0)
        weight = np.exp(log_weight[mine] - np.where(np.isfinite(top), top, 0.0))
        weight[:, ~np.isfinite(top)] = 1.0
        mixed[mine] = (weight * values[mine]).sum(axis=0) / weight.sum(axis=0)
    return mixed
