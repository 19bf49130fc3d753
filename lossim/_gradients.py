"""From weighted responses to a gradient: one functional for the law of a policy and for a batch.

Every update in scope is a sum over tokens of coefficient × score. The score of the stop logit z(t) is 1 - h(t) for a
response that stops at t and -h(t) for one that goes on, so all that matters at position t is the sum of coefficients
over the responses that stop there and over those that go on (:class:`TokenSums`). Both are reversed cumulative sums
over a measure [cell, grade, end]: P(end) times the expected coefficient gives the expectation, counts of a batch
times their own coefficients give that batch's gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lossim import _check
from lossim._numerics import after, discounted_sum, running_sum
from lossim._types import BoolArray, FloatArray, IntArray
from lossim.advantages import GAE, LengthAdaptive, Raw, ResponseAdvantage, Whitened
from lossim.critics import CriticView, Exact
from lossim.policies import Policy
from lossim.schemes import Scheme

__all__ = ["Measures", "Step", "TokenSums", "by_outcome", "logit_gradient", "token_sums"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measures:
    """Responses weighted by what an update makes of them, each [cell, grade, end] or None where not needed.

    ``response``: probability × n·weight × advantage, for one advantage per response. ``gae``: probability ×
    n·weight, to be multiplied by the token advantages of GAE, with ``extra`` the same times a reward that the table
    of task rewards does not hold. ``plain``: probability × n·weight, for penalties.
    """

    response: FloatArray | None = None
    gae: FloatArray | None = None
    extra: FloatArray | None = None
    plain: FloatArray | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenSums:
    """Sums of coefficients over responses that stop at t and that go on at t, each [cell, outcome, t]."""

    stop: FloatArray
    go: FloatArray

    @property
    def first(self) -> FloatArray:
        """The coefficient sum of the first token, [cell, outcome]: what the choice of the path is credited with."""
        total = self.go[:, :, 0].copy()
        total[:, : self.stop.shape[1]] += self.stop[:, :, 0]
        return total


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What one step of a scheme on a policy sees: rewards, log ratios, who counts. All [cell, grade, end] or less."""

    scheme: Scheme
    policy: Policy
    reference: Policy

    def __post_init__(self) -> None:
        mine, other = self.policy, self.reference
        if mine.cell_names != other.cell_names or mine.max_tokens != other.max_tokens:
            _check.fail("reference", other, "must have the classes, paths and max_tokens of the policy")
        _ = self.log_ratio, self.task, self.baseline

    @property
    def advantage(self) -> GAE | ResponseAdvantage:
        """The estimator, without whitening."""
        given = self.scheme.advantage
        inner = given.inner if isinstance(given, Whitened) else given
        assert isinstance(inner, (GAE, ResponseAdvantage))
        return inner

    @cached_property
    def in_loss(self) -> BoolArray:
        """Which ends are in the loss, [end]."""
        inside = np.ones(self.policy.max_tokens + 1, dtype=bool)
        inside[-1] = self.scheme.truncation == "keep"
        return inside

    @cached_property
    def in_baseline(self) -> BoolArray:
        """Which ends are in baseline and std, [end]."""
        inside = np.ones(self.policy.max_tokens + 1, dtype=bool)
        inside[-1] = self.scheme.truncation != "remove"
        return inside

    @property
    def least_kept(self) -> int:
        """How many responses a group needs in the baseline to contribute."""
        compares = self.advantage.group_relative and self.scheme.group_size > 1
        return 2 if compares and self.scheme.truncation == "remove" else 1

    @cached_property
    def task(self) -> FloatArray:
        """Task reward with shaping, [1, grade, end]; 0 where the shaping compares a group, which only samples have."""
        if self.scheme.reward.group_relative:
            return np.zeros((1, 2, self.policy.max_tokens + 1))
        grade = np.array([True, False])[:, None]
        cut = np.arange(self.policy.max_tokens + 1) == self.policy.max_tokens
        return np.asarray(self.scheme.reward.values(self.policy.length, grade, cut))[None]

    @cached_property
    def reward_levels(self) -> tuple[FloatArray, IntArray]:
        """The different task rewards, increasing, and which of them each [grade, end] gets."""
        values, level = np.unique(self.task[0], return_inverse=True)
        return values, level.reshape(self.task[0].shape)

    @cached_property
    def log_ratio(self) -> tuple[FloatArray, FloatArray] | None:
        """log π/π_ref of the token that stops and of the one that goes on, [cell, t]; None if no KL asks."""
        if self.scheme.kl_in_reward is None and self.scheme.kl_in_loss is None:
            return None
        mine, other = self.policy, self.reference
        if mine is other:
            return np.zeros_like(mine.logits), np.zeros_like(mine.logits)
        with np.errstate(divide="ignore", invalid="ignore"):
            stop = np.where(mine.hazard > 0, mine.log_stop - other.log_stop, 0.0)
            go = np.where(mine.stay > 0, mine.log_stay - other.log_stay, 0.0)
            path = np.where(mine.probability > 0, np.log(mine.probability) - np.log(other.probability), 0.0)
        stop[:, 0] += path
        go[:, 0] += path
        if not (np.isfinite(stop).all() and np.isfinite(go).all()):
            raise ValueError("the KL to the reference is infinite: the policy does what the reference never does "
                             "(a hazard of 0 or 1, or a path of probability 0); use a reference with the same support")
        return stop, go

    @cached_property
    def paid(self) -> tuple[FloatArray, FloatArray] | None:
        """KL in the reward, per token that stops and that goes on, [cell, t]; None if there is none to pay."""
        kl = self.scheme.kl_in_reward
        if kl is None or self.log_ratio is None or kl.coefficient == 0:
            return None
        stop, go = self.log_ratio
        if not (stop.any() or go.any() or kl.content_per_token):
            return None
        return -kl.coefficient * stop, -kl.coefficient * (go + kl.content_per_token)

    @cached_property
    def returns(self) -> FloatArray:
        """Task reward plus all KL paid on the way, [cell or 1, grade, end]."""
        if self.paid is None:
            return self.task
        stop, go = self.paid
        gone = np.concatenate([np.zeros((len(go), 1)), np.cumsum(go, axis=1)], axis=1)
        gone[:, :-1] += stop
        returns: FloatArray = self.task + gone[:, None, :]
        return returns

    @cached_property
    def baseline(self) -> FloatArray:
        """The fixed baseline of Raw per class (0 for others)."""
        inner = self.advantage
        while hasattr(inner, "inner"):
            inner = inner.inner
        given = inner.baseline if isinstance(inner, Raw) else 0.0
        classes = len(self.policy.classes)
        if isinstance(given, tuple) and len(given) != classes:
            _check.fail("baseline", given, f"must be one number or one per prompt class ({classes})")
        return np.broadcast_to(np.asarray(given, dtype=np.float64), (classes,))

    @cached_property
    def errors(self) -> Errors:
        """TD errors of the critic; only for GAE."""
        assert isinstance(self.advantage, GAE)
        gae, policy = self.advantage, self.policy
        if self.scheme.reward.group_relative and isinstance(gae.critic, Exact):
            _check.fail("critic", gae.critic, "is not defined for a reward that compares the lengths of a group",
                        "give its values as critics.Table")
        zero = np.zeros_like(policy.logits)
        stop, go = self.paid if self.paid is not None else (zero, zero)
        share = np.divide(policy.law, policy.ends[:, None], out=np.zeros_like(policy.law),
                          where=policy.ends[:, None] > 0)
        expected = (share * self.task).sum(axis=1)
        values = gae.critic.values(CriticView(
            class_of_cell=policy.class_of_cell, probability=policy.probability, hazard=policy.hazard,
            stay=policy.stay, log_at_risk=policy.log_at_risk[:, :-1], paid_stop=expected[:, :-1] + stop, paid_go=go,
            paid_truncated=expected[:, -1], gamma=gae.gamma))
        beyond = values[:, -1] if gae.bootstrap_truncated else np.zeros(len(values))
        if not np.isfinite(beyond).all():
            _check.fail("bootstrap_truncated", True, "needs a critic with a value beyond max_tokens",
                        "use critics.Constant, critics.Linear, or a critics.Table with max_tokens + 1 columns")
        values = values[:, :-1]
        going = go[:, :-1] + gae.gamma * values[:, 1:] - values[:, :-1]
        last = self.task + np.concatenate([stop - values, (go - values)[:, -1:]], axis=1)[:, None, :]
        last[:, :, -1] += gae.gamma * beyond[:, None]
        return Errors(going=np.column_stack([going, np.zeros(len(going))]), last=last)


@dataclass(frozen=True, kw_only=True, eq=False)
class Errors:
    """TD errors δ: ``going`` [cell, t] at tokens that are not the last (0 at N), ``last`` [cell, grade, end]."""

    going: FloatArray
    last: FloatArray


def by_outcome(x: FloatArray) -> FloatArray:
    """[cell, grade, end] → [cell, outcome, end]: the truncated column becomes an outcome of its own."""
    split = np.zeros((x.shape[0], 3, x.shape[2]))
    split[:, :2, :-1] = x[:, :, :-1]
    split[:, 2, -1] = x[:, :, -1].sum(axis=1)
    return split


def token_sums(step: Step, measures: Measures) -> dict[str, TokenSums]:
    """Coefficient sums by term: ``"policy"``, ``"kl"``, ``"entropy"``, as far as the scheme has them."""
    terms: list[TokenSums] = []
    if measures.response is not None:
        weighted = by_outcome(measures.response)
        terms.append(TokenSums(stop=weighted[:, :2, :-1], go=after(weighted)))
    if measures.gae is not None:
        credited = measures.gae * step.errors.last
        terms.append(_gae(step, measures.gae, credited if measures.extra is None else credited + measures.extra))
    sums = {"policy": terms[0] if len(terms) == 1 else
            TokenSums(stop=terms[0].stop + terms[1].stop, go=terms[0].go + terms[1].go)}
    if measures.plain is not None and step.scheme.kl_in_loss is not None and step.log_ratio is not None:
        kl, (stop, go) = step.scheme.kl_in_loss, step.log_ratio
        weighted = -kl.coefficient * by_outcome(measures.plain)
        sums["kl"] = TokenSums(stop=weighted[:, :2, :-1] * kl.slope(stop)[:, None],
                               go=after(weighted) * kl.slope(go)[:, None])
    if measures.plain is not None and step.scheme.entropy is not None:
        sums["entropy"] = _entropy(step.policy, step.scheme.entropy.coefficient * by_outcome(measures.plain))
    return sums


def _gae(step: Step, measure: FloatArray, paid: FloatArray) -> TokenSums:
    """F_t = m_t + δ_t Σ_{end>t} μ(end) + γλ F_{t+1}, m_t = μ(t)·δ_last(t); F - m belongs to those who go on."""
    assert isinstance(step.advantage, GAE)
    gae, errors = step.advantage, step.errors
    credited = by_outcome(paid)
    stop = credited[:, :2, :-1]
    if isinstance(gae.gae_lambda, LengthAdaptive):
        return TokenSums(stop=stop, go=_adaptive(gae, step, by_outcome(measure), credited))
    source = errors.going[:, None] * after(by_outcome(measure))
    source[:, :2] += stop
    source[:, 2, -1] += credited[:, 2, -1]
    total = discounted_sum(source, gae.gamma * gae.gae_lambda)
    total[:, :2] -= stop
    return TokenSums(stop=stop, go=total)


def _adaptive(gae: GAE, step: Step, measure: FloatArray, credited: FloatArray) -> FloatArray:
    """The same sums where λ depends on T: Σ_{end>t} of μ·Â_t(T), all pairs (t, T) in blocks, O(N²)."""
    going = step.errors.going
    total = np.zeros((*measure.shape[:2], going.shape[1]))
    for ends, power, base in _adaptive_blocks(gae, step.policy.length, going):
        total += np.einsum("cet,tu->ceu", credited[:, :, ends], power)
        if base is not None:
            total += np.einsum("cet,ctu->ceu", measure[:, :, ends], base)
    return total - np.pad(credited[:, :2, :-1], ((0, 0), (0, 1), (0, 0)))


def _adaptive_blocks(gae: GAE, length: FloatArray, going: FloatArray, block: int = 256):  # type: ignore[no-untyped-def]
    """Blocks of ends with x^{T-t}·1[t <= T] as [end, t] and Σ_{u=t}^{T-1} x^{u-t} δ_u as [cell, end, t] (or None)."""
    assert isinstance(gae.gae_lambda, LengthAdaptive)
    positions = np.arange(1.0, going.shape[1] + 1.0)
    for start in range(0, len(length), block):
        ends = slice(start, start + block)
        x = gae.gamma * gae.gae_lambda(length[ends])[:, None]
        gap = length[ends][:, None] - positions
        power = np.where(gap >= 0, np.power(x, np.maximum(gap, 0.0)), 0.0)
        base = None
        if going.any():
            base = np.where(gap > 0, going[:, None, :], 0.0)
            shift, factor = 1, x
            while shift < going.shape[1]:  # doubling: after k rounds each entry sums 2^k terms of the recurrence
                base[:, :, :-shift] += factor * base[:, :, shift:]
                shift, factor = 2 * shift, factor * factor
        yield ends, power, base


def advantage_sums(step: Step) -> tuple[FloatArray, FloatArray]:
    """Σ_t Â_t and Σ_t Â_t² of a response under GAE, by how it ended: [cell, grade, end]; for whitening.

    Â_t = a_t + x^{T-t} (δ_last - a_T) with x = γλ and a_t = Σ_{u>=t} x^{u-t} δ_u, so both are running sums.
    """
    assert isinstance(step.advantage, GAE)
    gae, errors, length = step.advantage, step.errors, step.policy.length
    if isinstance(gae.gae_lambda, LengthAdaptive):
        first, second = np.zeros_like(errors.last), np.zeros_like(errors.last)
        for ends, power, base in _adaptive_blocks(gae, length, errors.going):
            tail = errors.last[:, :, ends, None] * power
            tail = tail if base is None else tail + base[:, None]
            first[:, :, ends], second[:, :, ends] = tail.sum(axis=-1), (tail**2).sum(axis=-1)
        return first, second
    x = gae.gamma * gae.gae_lambda
    tail = discounted_sum(errors.going, x)

    def at_ends(y: FloatArray) -> FloatArray:
        return np.concatenate([y, y[:, -1:]], axis=1)[:, None, :]

    ones = np.ones_like(tail)
    excess = errors.last - at_ends(tail)
    first = at_ends(np.cumsum(tail, axis=1)) + excess * at_ends(running_sum(ones, x))
    second = (at_ends(np.cumsum(tail**2, axis=1)) + 2.0 * excess * at_ends(running_sum(tail, x))
              + excess**2 * at_ends(running_sum(ones, x * x)))
    return first, second


def _entropy(policy: Policy, weighted: FloatArray) -> TokenSums:
    """∇H = E_a[-log π(a) · score] at visited states; at the first token H is joint over paths and stopping."""
    visits = after(weighted) + weighted[:, :, :-1]
    shared = np.zeros((len(policy.classes), 3))
    np.add.at(shared, policy.class_of_cell, visits[:, :, 0])
    visits[:, :, 0] = policy.probability[:, None] * shared[policy.class_of_cell]
    surprise_stop = -np.where(policy.hazard > 0, policy.log_stop, 0.0)
    surprise_go = -np.where(policy.stay > 0, policy.log_stay, 0.0)
    path = -np.log(np.where(policy.probability > 0, policy.probability, 1.0))
    surprise_stop[:, 0] += path
    surprise_go[:, 0] += path
    return TokenSums(stop=visits * (policy.hazard * surprise_stop)[:, None],
                     go=visits * (policy.stay * surprise_go)[:, None])


def logit_gradient(policy: Policy, sums: TokenSums) -> tuple[FloatArray, FloatArray]:
    """g(t) = (1 - h) Σ_stop - h Σ_go, [cell, t]; for the paths C_k - π_k Σ_l C_l with C the first token, [cell]."""
    stops = policy.stay * sums.stop.sum(axis=1) - policy.hazard * sums.go.sum(axis=1)
    first = sums.first.sum(axis=1)
    totals = np.bincount(policy.class_of_cell, weights=first)
    return stops, first - policy.probability * totals[policy.class_of_cell]
