"""Critics that training moves: their targets, and a table or a number per class that follows these."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from lossim._support import checks
from lossim._support.positions import one_ahead
from lossim._support.quotients import quotient
from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray, IntArray
from lossim.critics._base import Critic, CriticView, backward, by_cell, log_going, of_class, shape, share_going
from lossim.critics._given import Constant


class Lesson(Record):
    """What a rollout tells a critic, [..., cell, t] each; cells that the critic cannot tell apart are told the same.

    ``advantage_mean`` is the target less V, reward, ``reached`` whether any response got there, and ``tokens`` how many
    tokens, or which share of a response's, were written there.
    """

    advantage_mean: FloatArray
    reached: BoolArray
    tokens: FloatArray


class Learned(Critic):
    """Base of critics that training moves towards their targets, where a response got to; V stays elsewhere.

    target_t = V_t + E[Â_t | still going at t] with GAE of the critic's own λ: the λ-return (derivations, section 14).
    Methods take arrays and return new ones; a critic holds no state. In ``drift`` it counts with its start values.

    Its kinds declare these themselves, each after what is its own:

    Attributes:
        start: V before training, reward: one number, or an array where the critic says so.
        per: ``"class"`` sees the prompt class alone, ``"cell"`` path and state too, from the second token on.
        gae_lambda: λ of the targets, in [0, 1]; the actor's is that of :class:`~lossim.advantages.GAE`.
        pretrain: critic updates before the policy moves, at least 0.

    Source: arXiv 2503.01491 (VC-PPO: pretraining, a λ of its own), 2504.05118 (VAPO).
    """

    start: float | FloatArray
    per: Literal["class", "cell", "all"]
    gae_lambda: float
    pretrain: int
    _rules: ClassVar = {"per": (checks.choice, ("class", "cell")), "gae_lambda": (checks.probability,),
                        "pretrain": (checks.whole, 0)}

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
        advantage = backward(view.hazard * stop + view.stay * go, view, view.gamma * self.gae_lambda)
        weight = share_going(view)
        if self.per == "cell":  # nothing to average over: all that counts is who gets there
            weight[:, 1:] = log_going(view)[:, 1:] > -np.inf
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
        shared = slice(1) if self.per == "cell" else slice(None)
        for x in (total, weight):
            x[..., shared] = of_class(np.add, x[..., shared], class_of_cell)
        return quotient(total, weight), weight > 0

    @property
    def rescales(self) -> bool:
        """Whether its move is not linear in what it is told."""
        return False

    def memory(self, values: FloatArray, class_of_cell: IntArray) -> Any:
        """What it remembers beside its values [..., cell, N+1], before training; None where that is nothing."""
        return None

    @abstractmethod
    def update(self, values: FloatArray, memory: Any, lesson: Lesson) -> tuple[FloatArray, Any]:
        """V [..., cell, N+1] and what is remembered, after one critic update on a rollout."""


def profile(name: str, value: Any) -> float | FloatArray:
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
    """A value for each position, learned, ``Table`` that follows the policy: V_t ← V_t + rate · (target_t - V_t).

    ``rate`` is the share of the way to the target that one critic update goes, in [0, 1].
    ``start`` is one number, a profile [t], or one per class or cell, [class, t] or [cell, t], with t = 1..N (and N+1,
    where GAE bootstraps cut responses; nothing moves that one). The last ``critic`` of a run, given as start, goes on
    from there. A critic made from a reward model starts with a bias by position, which a profile can say. While the
    policy stays, the one fixed point on what is reached is ``Exact(per=per)``, whatever
    ``gae_lambda``; at rate 1 one update gets there with λ = 1, and N updates with any λ.

    >>> LearnedTable(rate=0.1, gae_lambda=0.95, pretrain=50)
    LearnedTable(rate=0.1, start=0.0, per='class', gae_lambda=0.95, pretrain=50)
    """

    rate: float
    start: float | FloatArray = 0.0
    per: Literal["class", "cell"] = "class"
    gae_lambda: float = 1.0
    pretrain: int = 0
    _rules: ClassVar = Learned._rules | {"rate": (checks.probability,), "start": (profile,)}

    def start_values(self, view: CriticView) -> FloatArray:
        if not isinstance(self.start, np.ndarray):
            return np.full(shape(view), float(self.start))
        rule = ("must be one number or have shape [{positions} or {beyond} positions], or one such row for each of "
                "{classes} classes or {cells} cells (its shape is shown)")
        return by_cell("start", self.start, view, rule)

    def update(self, values: FloatArray, memory: Any, lesson: Lesson) -> tuple[FloatArray, Any]:
        return self.learned(values, lesson.advantage_mean, lesson.reached), None

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


@dataclass(frozen=True, kw_only=True)
class RunningMean(Learned):
    """One number for each prompt class, at every position: the running mean of its returns.

    V ← V + rate · (E[Σ_t γ^{t-1} r_t] - V), KL in the reward included: the target of the first token, with λ = 1.
    ``start`` is a number, ``rate`` in [0, 1]. ``per="all"`` keeps one number for all prompts, the mean of which is
    over the responses of a rollout, whatever their class: the moving average of REINFORCE.

    >>> critic = RunningMean(rate=0.5)
    >>> critic.learned(np.zeros((1, 3)), np.array([[-1.0, -0.2]]), np.array([[True, True]]))
    array([[-0.5, -0.5, -0.5]])
    """

    rate: float
    start: float = 0.0
    per: Literal["class", "all"] = "class"
    gae_lambda: float = field(default=1.0, init=False, repr=False)
    pretrain: int = 0
    _rules: ClassVar = Learned._rules | {"rate": (checks.probability,), "start": (checks.finite,),
                                         "per": (checks.choice, ("class", "all"))}

    def start_values(self, view: CriticView) -> FloatArray:
        return Constant(value=self.start).values(view)

    def update(self, values: FloatArray, memory: Any, lesson: Lesson) -> tuple[FloatArray, Any]:
        mean = lesson.advantage_mean
        reached = lesson.reached
        if self.per == "all":
            first = lesson.tokens[..., :1]
            everyone = first.sum(axis=-2, keepdims=True)
            mean = np.broadcast_to(quotient((first * mean[..., :1]).sum(axis=-2, keepdims=True), everyone), first.shape)
            reached = np.broadcast_to(everyone > 0, first.shape)
        return self.learned(values, mean, reached), None

    def learned(self, values: FloatArray, advantage_mean: FloatArray, reached: BoolArray) -> FloatArray:
        """V [..., cell, N+1] after one update by what the first tokens say, as :meth:`LearnedTable.learned`."""
        return values + self.rate * np.where(reached, advantage_mean, 0.0)[..., :1]
