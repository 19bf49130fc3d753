"""Critics: V_t, the value before token t, for GAE. Given as data, or learned while training goes on.

V_1 is per prompt class, since the path is not chosen yet; from t = 2 on it is per cell, a path or a state of it, or per
class for a critic that cannot tell these apart.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from lossim._support import checks
from lossim._support.positions import backward_chain, one_ahead
from lossim._support.quotients import quotient
from lossim._support.types import BoolArray, FloatArray, IntArray

__all__ = ["Constant", "Critic", "CriticView", "Exact", "Learned", "LearnedTable", "Linear", "RunningMean", "Table",
           "Zero"]


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


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class Constant(Critic):
    """V = value at every position."""

    value: float
    _rules: ClassVar = {"value": (checks.finite,)}

    @property
    def constant(self) -> float:
        return self.value

    def values(self, view: CriticView) -> FloatArray:
        return np.full(_shape(view), float(self.value))


@dataclass(frozen=True, kw_only=True)
class Zero(Critic):
    """V = 0: GAE then credits the terminal reward, discounted by (γλ)^{T-t}."""

    @property
    def constant(self) -> float:
        return 0.0

    def values(self, view: CriticView) -> FloatArray:
        return np.zeros(_shape(view))


@dataclass(frozen=True, kw_only=True)
class Linear(Critic):
    """V_t = level + slope · (t - 1); slope in reward per token."""

    level: float
    slope: float
    _rules: ClassVar = {"level": (checks.finite,), "slope": (checks.finite,)}

    def values(self, view: CriticView) -> FloatArray:
        cells, columns = _shape(view)
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
        values = _by_cell("table", self.table, view, rule)
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

    def values(self, view: CriticView) -> FloatArray:
        paid = view.hazard * view.paid_stop + view.stay * view.paid_go
        paid[:, -1] += view.stay[:, -1] * view.paid_truncated
        exact = _backward(paid, view, view.gamma)
        exact[:, 0] = view.class_mean(exact[:, 0])
        if self.per == "class":  # the average over the paths, by who is still going; where nobody is, over all alike
            weight = _share_going(view)
            weight[_of_class(np.maximum, weight, view.class_of_cell) == 0] = 1.0
            exact = _of_class(np.add, weight * exact, view.class_of_cell)
            exact /= _of_class(np.add, weight, view.class_of_cell)
        return np.column_stack([exact + self.bias, np.full(len(exact), np.nan)])


@dataclass(frozen=True, kw_only=True, eq=False)
class Learned(Critic):
    """Base of critics that training moves: V ← V + rate · (target - V) where a response got to, V elsewhere.

    target_t = V_t + E[Â_t | still going at t] with GAE of the critic's own λ: the λ-return (derivations, section 14).
    Methods take arrays and return new ones; a critic holds no state. In ``drift`` it counts with its start values.

    Attributes:
        rate: share of the way to the target that one critic update goes, in [0, 1].
        start: V before training, reward: one number, or an array where the critic says so.
        per: ``"class"`` sees the prompt class alone, ``"cell"`` path and state too, from the second token on.
        gae_lambda: λ of the targets, in [0, 1]; the actor's is that of :class:`~lossim.advantages.GAE`.
        pretrain: critic updates before the policy moves, at least 0.

    Source: arXiv 2503.01491 (VC-PPO: pretraining, a λ of its own), 2504.05118 (VAPO).
    """

    rate: float
    start: float | FloatArray = 0.0
    per: Literal["class", "cell"] = "class"
    gae_lambda: float = 1.0
    pretrain: int = 0
    _rules: ClassVar = {"rate": (checks.probability,), "per": (checks.choice, ("class", "cell")),
                        "gae_lambda": (checks.probability,), "pretrain": (checks.whole, 0)}

    @abstractmethod
    def start_values(self, view: CriticView) -> FloatArray:
        """V_1 .. V_{N+1} before training, [cell, N+1], reward; NaN in the last column if that is not known."""

    def values(self, view: CriticView) -> FloatArray:
        return self.start_values(view)

    def targets(self, values: FloatArray, view: CriticView, *, bootstrap_truncated: bool = False
                ) -> tuple[FloatArray, BoolArray]:
        """What the law of the responses asks for: E[Â_t | still going at t], and whether any gets to t.

        On each cell from the cut backwards, with the mean TD error δ̄_t of those who got to t:

            δ̄_t = h_t (r_stop - V_t) + (1 - h_t) (r_go + γV_{t+1} - V_t)
            A_t = δ̄_t + γλ (1 - h_t) A_{t+1} ,    A_{N+1} = 0

        with ``values`` V [cell, N+1], reward, and the ``view`` of the policy that draws. V_{t+1} and A_{t+1} are means
        over a change of state, r_go at N includes the pay of a cut response, and V_{N+1} counts as 0 unless cut
        responses are bootstrapped, where it must be known. Cells that the critic cannot tell apart are averaged by
        P(in the cell at t). Both results are [cell, t]: means, 0 where nobody gets, and who gets there with a chance
        above 0.

        >>> half = np.full((1, 2), 0.5)
        >>> view = CriticView(class_of_cell=np.array([0]), probability=np.ones(1), hazard=half, stay=half,
        ...                   log_at_risk=np.log([[1.0, 0.5]]), left=np.array([], dtype=int),
        ...                   arrival=np.zeros((0, 2)), paid_stop=np.array([[1.0, 0.0]]),
        ...                   paid_go=np.zeros((1, 2)), paid_truncated=np.array([-1.0]), gamma=1.0)
        >>> LearnedTable(rate=0.1).targets(np.zeros((1, 3)), view)
        (array([[ 0.25, -0.5 ]]), array([[ True,  True]]))
        """
        now = values[:, :-1]
        ahead = one_ahead(values, view.left, np.pad(view.arrival, ((0, 0), (0, 1))))[:, :-1]
        if not bootstrap_truncated:
            ahead[:, -1] = 0.0
        if not np.isfinite(ahead[:, -1]).all():
            checks.fail("bootstrap_truncated", True, "needs a critic with a value beyond max_tokens",
                        "start it from a number or from max_tokens + 1 of them")
        stop = view.paid_stop - now
        go = view.paid_go + view.gamma * ahead - now
        go[:, -1] += view.paid_truncated
        advantage = _backward(view.hazard * stop + view.stay * go, view, view.gamma * self.gae_lambda)
        weight = _share_going(view)
        if self.per == "cell":  # nothing to average over: all that counts is who gets there
            weight[:, 1:] = _log_going(view)[:, 1:] > -np.inf
        return self._pooled(weight * advantage, weight, view.class_of_cell)

    def batch_targets(self, total: FloatArray, count: FloatArray, class_of_cell: IntArray
                      ) -> tuple[FloatArray, BoolArray]:
        """What sampled responses ask for: the mean of Â_t over those that got to t, and whether any did.

        Args:
            total: Σ Â_t over those in the cell at t, with the critic's own λ, reward, [..., cell, t].
            count: how many they are, [..., cell, t].
            class_of_cell: prompt class of each cell, [cell].

        Returns:
            The means [..., cell, t], reward, 0 where none got; whether any did, [..., cell, t].

        Three responses, V = 0: stopped at 1 and paid 1, cut after two tokens and paid 0 and -1; λ = 1.

        >>> LearnedTable(rate=0.1).batch_targets(np.array([[0.0, -1.0]]), np.array([[3.0, 2.0]]), np.array([0]))
        (array([[ 0. , -0.5]]), array([[ True,  True]]))
        """
        return self._pooled(total.copy(), count.copy(), class_of_cell)

    def _pooled(self, total: FloatArray, weight: FloatArray, class_of_cell: IntArray) -> tuple[FloatArray, BoolArray]:
        """Totals over weights, both [..., cell, t], of the cells that the critic cannot tell apart; where weights are.

        Both are added up in place. At t = 1 no critic tells paths apart, since the first token chooses among them.
        """
        shared = slice(None) if self.per == "class" else slice(1)
        for x in (total, weight):
            x[..., shared] = _of_class(np.add, x[..., shared], class_of_cell)
        return quotient(total, weight), weight > 0

    def learned(self, values: FloatArray, advantage_mean: FloatArray, reached: BoolArray) -> FloatArray:
        """V [..., cell, N+1] after one critic update: V_t + rate · advantage_mean_t where reached, and V_t elsewhere.

        ``advantage_mean`` is the target less V, reward, and ``reached`` whether it counts, both [..., cell, t].

        >>> reached = np.array([[True, False]])
        >>> LearnedTable(rate=0.5).learned(np.ones((1, 3)), np.array([[-1.0, 0.0]]), reached)
        array([[0.5, 1. , 1. ]])
        """
        moved = values.copy()
        moved[..., :-1] += self.rate * np.where(reached, advantage_mean, 0.0)
        return moved


def _profile(name: str, value: Any) -> float | FloatArray:
    """One number, or arrays of them by position."""
    if not isinstance(value, (list, tuple, np.ndarray)):
        return checks.finite(name, value)
    array = checks.number_array(name, value)
    if array.ndim not in (1, 2) or not array.size:
        checks.fail(name, array.shape, "must be one number, or hold one per position, or one per class and position "
                    "(its shape is shown)")
    return array


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedTable(Learned):
    """A value for each position, learned: ``Table`` that follows the policy.

    ``start`` is one number, a profile [t], or one per class or cell, [class, t] or [cell, t], with t = 1..N (and N+1,
    where GAE bootstraps cut responses; nothing moves that one). The last ``critic`` of a run, given as start, goes on
    from there. A critic made from a reward model starts with a bias by position, which a profile can say. While the
    policy stays, the one fixed point on what is reached is ``Exact(per=per)``, whatever
    ``gae_lambda``; at rate 1 one update gets there with λ = 1, and N updates with any λ.

    >>> LearnedTable(rate=0.1, gae_lambda=0.95, pretrain=50)
    LearnedTable(rate=0.1, start=0.0, per='class', gae_lambda=0.95, pretrain=50)
    """

    _rules: ClassVar = Learned._rules | {"start": (_profile,)}

    def start_values(self, view: CriticView) -> FloatArray:
        if not isinstance(self.start, np.ndarray):
            return np.full(_shape(view), float(self.start))
        rule = ("must be one number or have shape [{positions} or {beyond} positions], or one such row for each of "
                "{classes} classes or {cells} cells (its shape is shown)")
        return _by_cell("start", self.start, view, rule)


@dataclass(frozen=True, kw_only=True)
class RunningMean(Learned):
    """One number for each prompt class, at every position: the running mean of its returns.

    V ← V + rate · (E[Σ_t γ^{t-1} r_t] - V), KL in the reward included: the target of the first token, with λ = 1.
    ``start`` is a number.

    >>> critic = RunningMean(rate=0.5)
    >>> critic.learned(np.zeros((1, 3)), np.array([[-1.0, -0.2]]), np.array([[True, True]]))
    array([[-0.5, -0.5, -0.5]])
    """

    start: float = 0.0
    per: Literal["class"] = field(default="class", init=False, repr=False)
    gae_lambda: float = field(default=1.0, init=False, repr=False)
    _rules: ClassVar = Learned._rules | {"start": (checks.finite,)}

    def start_values(self, view: CriticView) -> FloatArray:
        return Constant(value=self.start).values(view)

    def learned(self, values: FloatArray, advantage_mean: FloatArray, reached: BoolArray) -> FloatArray:
        return values + self.rate * np.where(reached, advantage_mean, 0.0)[..., :1]


def _shape(view: CriticView) -> tuple[int, int]:
    """The shape of the values V_1 .. V_{N+1}: cells, N + 1."""
    cells, positions = view.hazard.shape
    return cells, positions + 1


def _by_cell(name: str, table: FloatArray, view: CriticView, rule: str) -> FloatArray:
    """Values given for positions, [t], [class, t] or [cell, t], as [cell, N+1]; NaN beyond the cut if not given."""
    cells, positions = view.hazard.shape
    classes = int(view.class_of_cell.max()) + 1
    *rows, columns = table.shape
    if rows not in ([], [classes], [cells]) or columns not in (positions, positions + 1):
        checks.fail(name, table.shape, rule.format(classes=classes, cells=cells, positions=positions,
                                                   beyond=positions + 1))
    if table.ndim == 2 and len(table) != len(view.hazard):
        table = table[view.class_of_cell]
    values = np.full(_shape(view), np.nan)
    values[:, :table.shape[-1]] = table
    return values


def _backward(x: FloatArray, view: CriticView, discount: float) -> FloatArray:
    """y_t = x_t + discount · (1 - h_t) · E[y_{t+1}] on each cell, y_{N+1} = 0: later tokens count if it goes on."""
    return backward_chain(discount * view.stay, x, view.left, view.arrival)


def _of_class(sum_or_max: np.ufunc, x: FloatArray, class_of_cell: IntArray) -> FloatArray:
    """Sums, or maxima, of [..., cell, t] over the cells of each class, per cell."""
    first = np.flatnonzero(np.diff(class_of_cell, prepend=-1))
    return sum_or_max.reduceat(x, first, axis=-2)[..., class_of_cell, :]


def _log_going(view: CriticView) -> FloatArray:
    """log P(in the cell at t | class), [cell, t]."""
    with np.errstate(divide="ignore"):
        return np.log(view.probability)[:, None] + view.log_at_risk


def _share_going(view: CriticView) -> FloatArray:
    """P(in the cell at t) over the largest in the class, [cell, t]; from logs, since tails underflow."""
    going = _log_going(view)
    top = _of_class(np.maximum, going, view.class_of_cell)
    return np.exp(going - np.where(np.isfinite(top), top, 0.0))
