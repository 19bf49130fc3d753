"""What all critics have in common: the view that they are given, and sums over its cells and positions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from lossim._support import checks
from lossim._support.positions import backward_chain
from lossim._support.types import FloatArray, IntArray


@dataclass(frozen=True, kw_only=True)
class CriticView:
    """What a critic may look at: the law of each cell and what its tokens are paid.

    ``class_of_cell`` [cell], ``probability`` [cell] (of the path in its class), ``hazard``, ``stay`` (1 - hazard),
    ``log_at_risk`` [cell, t] (of being in the cell at t), ``left`` [move] and ``arrival`` [move, t] (cells from which
    responses move on to the next cell, and the chance that they do at the start of t), ``paid_stop`` and ``paid_go``
    [cell, t] (expected reward of the token that stops or goes on), ``paid_truncated`` [cell] (added to the last token
    of a cut response), ``gamma``.
    """

    class_of_cell: IntArray
    probability: FloatArray
    hazard: FloatArray
    stay: FloatArray
    log_at_risk: FloatArray
    left: IntArray
    arrival: FloatArray
    paid_stop: FloatArray
    paid_go: FloatArray
    paid_truncated: FloatArray
    gamma: float

    def class_mean(self, values: FloatArray) -> FloatArray:
        """Average of [cell] over the paths of each class, and over their states at t = 1, per cell."""
        weight = self.probability * np.exp(self.log_at_risk[:, 0])
        total = np.bincount(self.class_of_cell, weights=weight * values)
        share = np.bincount(self.class_of_cell, weights=weight)
        return (total / share)[self.class_of_cell]


@dataclass(frozen=True, eq=False, kw_only=True)
class Critic(checks.Checked, ABC):
    """Base of all critics."""

    @abstractmethod
    def values(self, view: CriticView) -> FloatArray:
        """V_1 .. V_{N+1} as [cell, N+1]; the last column is the value after a response was cut."""

    def repeated(self, count: int) -> Critic:
        """The critic of so many copies of all prompt classes: what it holds per class or cell, written once each."""
        return self

    @property
    def constant(self) -> float | None:
        """V, if it is one number for all; else None."""
        return None

    @property
    def knows_pay(self) -> bool:
        """Whether V follows from what the view says of pay."""
        return False

    @property
    def alternatives(self) -> tuple[tuple[str, Critic], ...]:
        """What may be meant as well, each with a name; nothing for a critic that somebody gave."""
        return ()


def shape(view: CriticView) -> tuple[int, int]:
    """The shape of the values V_1 .. V_{N+1}: cells, N + 1."""
    cells, positions = view.hazard.shape
    return cells, positions + 1


def by_cell(name: str, table: FloatArray, view: CriticView, rule: str) -> FloatArray:
    """Values given for positions, [t], [class, t] or [cell, t], as [cell, N+1]; NaN beyond the cut if not given."""
    cells, positions = view.hazard.shape
    classes = int(view.class_of_cell.max()) + 1
    *rows, columns = table.shape
    if rows not in ([], [classes], [cells]) or columns not in (positions, positions + 1):
        checks.fail(name, table.shape, rule.format(classes=classes, cells=cells, positions=positions,
                                                   beyond=positions + 1))
    if table.ndim == 2 and len(table) != len(view.hazard):
        table = table[view.class_of_cell]
    values = np.full(shape(view), np.nan)
    values[:, :table.shape[-1]] = table
    return values


def backward(x: FloatArray, view: CriticView, discount: float) -> FloatArray:
    """y_t = x_t + discount · (1 - h_t) · E[y_{t+1}] on each cell, y_{N+1} = 0: later tokens count if it goes on."""
    return backward_chain(discount * view.stay, x, view.left, view.arrival)


def of_class(sum_or_max: np.ufunc, x: FloatArray, class_of_cell: IntArray) -> FloatArray:
    """Sums, or maxima, of [..., cell, t] over the cells of each class, per cell."""
    first = np.flatnonzero(np.diff(class_of_cell, prepend=-1))
    return sum_or_max.reduceat(x, first, axis=-2)[..., class_of_cell, :]


def log_going(view: CriticView) -> FloatArray:
    """log P(in the cell at t | class), [cell, t]."""
    with np.errstate(divide="ignore"):
        return np.log(view.probability)[:, None] + view.log_at_risk


def share_going(view: CriticView) -> FloatArray:
    """P(in the cell at t) over the largest in the class, [cell, t]; from logs, since tails underflow."""
    going = log_going(view)
    top = of_class(np.maximum, going, view.class_of_cell)
    return np.exp(going - np.where(np.isfinite(top), top, 0.0))
