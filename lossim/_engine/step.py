"""What one step of a scheme sees: who draws, what responses are paid, who counts, how old and new policy differ."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lossim._support import checks
from lossim._support.positions import along
from lossim._support.types import BoolArray, FloatArray, IntArray
from lossim.advantages import GAE, GPG, OPO, GroupMean, LeaveOneOut, Raw, ResponseAdvantage, Whitened
from lossim.aggregation import Aggregation
from lossim.critics import CriticView, Exact
from lossim.policies import Policy
from lossim.schemes import Scheme

__all__ = ["Errors", "Gains", "Step"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Gains:
    """Gain of a surrogate for one sign of the advantage: of the response [cell, end] times of the token [cell, t]."""

    response: FloatArray
    stop: FloatArray
    go: FloatArray


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What one step of a scheme on a policy sees: rewards, log ratios, who counts. All [cell, grade, end] or less."""

    scheme: Scheme
    policy: Policy
    reference: Policy
    old: Policy

    def __post_init__(self) -> None:
        mine = self.policy
        for name, other in (("reference", self.reference), ("old_policy", self.old)):
            if mine.cell_names != other.cell_names or mine.max_tokens != other.max_tokens:
                checks.fail(name, other, "must have the classes, paths and max_tokens of the policy")
        if not np.array_equal(mine.class_weight, self.old.class_weight):
            checks.fail("old_policy", self.old, "must have the class weights of the policy", "use reweighted(...)")
        if not np.array_equal(mine.correctness, self.old.correctness):
            checks.fail("old_policy", self.old, "must be graded as the policy is (p_correct, p_correct_truncated)")
        _ = self.kl_slope, self.paid, self.drawn_ratio, self.task, self.baseline

    @property
    def advantage(self) -> GAE | ResponseAdvantage:
        """The estimator, without whitening; the raw return for those that give it to groups of one."""
        given = self.scheme.advantage
        inner = given.inner if isinstance(given, Whitened) else given
        if self.scheme.group_size == 1 and isinstance(inner, (GroupMean, LeaveOneOut, OPO)) \
                and not isinstance(inner, GPG) and inner.group_of_one == "raw":
            return Raw()
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

    def own_weight(self, rule: Aggregation) -> FloatArray:
        """The factors of n·weight that a response brings by itself, [end]; 0 out of the loss."""
        own: FloatArray = (self.in_loss * rule.prefactor(self.policy.length, self.policy.max_tokens)
                           * rule.scale(self.scheme.group_size, self.scheme.prompts_per_step))
        return own

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
    def kl_slope(self) -> tuple[FloatArray, FloatArray] | None:
        """-β·dk/d log π of the token that stops and of the one that goes on, [cell, t]; None without KL in the loss."""
        kl = self.scheme.kl_in_loss
        if kl is None:
            return None
        zero = np.zeros_like(self.policy.logits)
        drawn = (zero, zero) if self.drawn_ratio is None else self.drawn_ratio
        held = drawn if kl.to == "old" else _log_ratio(self.policy, self.reference, "the reference")
        stop, go = (-kl.coefficient * kl.slope(d, r) for d, r in zip(held, drawn, strict=True))
        return stop, go

    @cached_property
    def paid(self) -> tuple[FloatArray, FloatArray] | None:
        """KL in the reward, per token that stops and that goes on, [cell, t]; None if there is none to pay."""
        kl = self.scheme.kl_in_reward
        if kl is None or kl.coefficient == 0:
            return None
        stop, go = _log_ratio(self.old, self.reference, "the reference")
        if not (stop.any() or go.any() or kl.content_per_token):
            return None
        return -kl.coefficient * stop, -kl.coefficient * (go + kl.content_per_token)

    @cached_property
    def drawn_ratio(self) -> tuple[FloatArray, FloatArray] | None:
        """log π/π_old of the token that stops and of the one that goes on, [cell, t]; None on-policy."""
        if self.old is self.policy:
            return None
        mine, other = self.policy, self.old
        clash = (np.isinf(mine.logits) | np.isinf(other.logits)) & (mine.logits != other.logits)
        if clash.any() or ((mine.probability > 0) != (other.probability > 0)).any():
            raise ValueError("the old policy must have hazards of 0 and 1 and paths of probability 0 exactly where the "
                             f"policy has them, or ratios are 0 or infinite{_clash(mine, other, clash)}")
        return _log_ratio(mine, other, "the old policy")

    @property
    def signed(self) -> bool:
        """Whether the update has to tell positive from negative advantages."""
        return self.drawn_ratio is not None and self.scheme.surrogate.signed

    def gains(self, sign: int, cells: slice = slice(None)) -> Gains | None:
        """The surrogate's gains for advantages of that sign, of some cells; None on-policy, where they are 1."""
        if self.drawn_ratio is None:
            return None
        surrogate, (stop, go) = self.scheme.surrogate, (ratio[cells] for ratio in self.drawn_ratio)
        total = along(surrogate.response_part(stop, sign), surrogate.response_part(go, sign))
        return Gains(response=surrogate.response_gain(total, self.policy.length, sign),
                     stop=surrogate.token_gain(stop, sign), go=surrogate.token_gain(go, sign))

    @cached_property
    def returns(self) -> FloatArray:
        """Task reward plus all KL paid on the way, [cell or 1, grade, end]."""
        if self.paid is None:
            return self.task
        returns: FloatArray = self.task + along(*self.paid)[:, None, :]
        return returns

    @cached_property
    def baseline(self) -> FloatArray:
        """The fixed baseline of Raw per class (0 for others)."""
        inner = self.advantage.innermost if isinstance(self.advantage, ResponseAdvantage) else None
        given = inner.baseline if isinstance(inner, Raw) else 0.0
        classes = len(self.policy.class_weight)
        if isinstance(given, tuple) and len(given) != classes:
            checks.fail("baseline", given, f"must be one number or one per prompt class ({classes})")
        return np.broadcast_to(np.asarray(given, dtype=np.float64), (classes,))

    @cached_property
    def paid_or_nothing(self) -> tuple[FloatArray, FloatArray]:
        """KL in the reward, per token that stops and that goes on, [cell, t]."""
        zero = np.broadcast_to(0.0, self.old.logits.shape)
        return (zero, zero) if self.paid is None else self.paid

    @property
    def expected_pay(self) -> FloatArray:
        """E[task reward | cell, end], [cell, end]."""
        right, wrong = self.task[0]
        expected: FloatArray = wrong + self.old.correctness * (right - wrong)
        return expected

    @cached_property
    def critic_view(self) -> CriticView:
        """What a critic may look at: law and pay of the policy that draws; only for GAE."""
        assert isinstance(self.advantage, GAE)
        policy, (stop, go), expected = self.old, self.paid_or_nothing, self.expected_pay
        return CriticView(
            class_of_cell=policy.class_of_cell, probability=policy.probability, hazard=policy.hazard,
            stay=policy.stay, log_at_risk=policy.log_at_risk[:, :-1], paid_stop=expected[:, :-1] + stop, paid_go=go,
            paid_truncated=expected[:, -1], gamma=self.advantage.gamma)

    @cached_property
    def errors(self) -> Errors:
        """TD errors of the critic; only for GAE."""
        assert isinstance(self.advantage, GAE)
        gae, (stop, go) = self.advantage, self.paid_or_nothing
        if self.scheme.reward.group_relative and isinstance(gae.critic, Exact):
            checks.fail("critic", gae.critic, "is not defined for a reward that compares the lengths of a group",
                        "give its values as critics.Table")
        values = gae.critic.values(self.critic_view)
        beyond = values[:, -1] if gae.bootstrap_truncated else np.zeros(len(values))
        if not np.isfinite(beyond).all():
            checks.fail("bootstrap_truncated", True, "needs a critic with a value beyond max_tokens",
                        "use critics.Constant, critics.Linear, or a critics.Table with max_tokens + 1 columns")
        values = values[:, :-1]
        going = go[:, :-1] + gae.gamma * values[:, 1:] - values[:, :-1]
        last = np.concatenate([stop - values, (go - values)[:, -1:]], axis=1)[:, None, :] + self.task
        last[:, :, -1] += gae.gamma * beyond[:, None]
        return Errors(going=np.column_stack([going, np.zeros(len(going))]), last=last)


@dataclass(frozen=True, kw_only=True, eq=False)
class Errors:
    """TD errors δ: ``going`` [cell, t] at tokens that are not the last (0 at N), ``last`` [cell, grade, end]."""

    going: FloatArray
    last: FloatArray


def _log_ratio(mine: Policy, other: Policy, name: str) -> tuple[FloatArray, FloatArray]:
    """log of mine over other's probability of stopping and of going on, with the path's at the first token."""
    if mine is other:
        return np.zeros_like(mine.logits), np.zeros_like(mine.logits)
    with np.errstate(divide="ignore", invalid="ignore"):
        stop = np.where(mine.hazard > 0, mine.log_stop - other.log_stop, 0.0)
        go = np.where(mine.stay > 0, mine.log_stay - other.log_stay, 0.0)
        path = np.where(mine.probability > 0, np.log(mine.probability) - np.log(other.probability), 0.0)
    stop[:, 0] += path
    go[:, 0] += path
    infinite = ~(np.isfinite(stop) & np.isfinite(go))
    if infinite.any():
        raise ValueError(f"the ratio to {name} is infinite: the policy does what {name} never does (a hazard of 0 or "
                         f"1, or a path of probability 0){_clash(mine, other, infinite)}")
    return stop, go


def _clash(mine: Policy, other: Policy, where: BoolArray) -> str:
    """The first place where two policies differ in what they never do, and the way out."""
    place = ""
    if where.any():
        cell, t = (int(i) for i in np.argwhere(where)[0])
        place = (f": on {' / '.join(mine.cell_names[cell])} at position {t + 1} the hazards are "
                 f"{mine.hazard[cell, t]:.3g} and {other.hazard[cell, t]:.3g}")
    return place + ("; get one policy from the other by moved(...) with a move that does not overflow, or fit smooth "
                    "laws such as lengths.lognormal")
