"""A scheme is what a trainer does with a batch: named slots. A preset is a function whose body is its recipe."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal, TypeVar

from lossim import _check
from lossim.advantages import (
    GAE,
    OPO,
    Advantage,
    GroupMean,
    GroupStandardized,
    LeaveOneOut,
    LengthAdaptive,
    Raw,
    ResponseAdvantage,
    Whitened,
)
from lossim.aggregation import (
    Aggregation,
    ConstantNormalizer,
    LengthPower,
    SequenceMeanTokenMean,
    SequenceMeanTokenSum,
    TokenMean,
)
from lossim.critics import Critic, Zero
from lossim.penalties import KL, Entropy
from lossim.rewards import Reward, SoftOverlong
from lossim.surrogates import GMPO, PolicyGradient, Surrogate

__all__ = ["Scheme", "compare", "dapo", "delta_l", "dr_grpo", "grpo", "luspo", "opo", "ppo",
           "reinforce_plus_plus", "reinforce_plus_plus_baseline", "remax", "rloo", "vapo"]

Truncation = Literal["keep", "mask", "remove"]
DynamicSampling = Literal["none", "drop", "resample"]


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Everything between sampled responses and the update, one slot each.

    Attributes:
        reward: task reward of a response, with its length shaping.
        advantage: what tokens are credited with, see :mod:`lossim.advantages`.
        surrogate: what ratios to the policy that drew the batch do, see :mod:`lossim.surrogates`; nothing on-policy.
        aggregation: how token losses become one number, see :mod:`lossim.aggregation`.
        penalties: KL and entropy terms, see :mod:`lossim.penalties`; at most one KL per place and one entropy.
        truncation: what becomes of responses cut at max_tokens: ``"keep"``; ``"mask"`` (they stay in baseline and
            std, and leave the loss and its token counts); ``"remove"`` (they leave all three; a group left with
            fewer than two then contributes nothing under a group-relative advantage).
        dynamic_sampling: what becomes of groups whose task rewards are all equal: ``"none"``; ``"drop"`` (they
            contribute nothing, denominators unchanged); ``"resample"`` (replaced until the step is full).
        group_size: responses per prompt, G.
        prompts_per_step: prompts per optimiser step, P.
        name: shown in print.

    Raises:
        ValueError: slots that do not go together; the message says which and what to use.

    >>> Scheme(advantage=GroupMean(), aggregation=TokenMean(), group_size=8)
    Scheme 'custom': GroupMean(group_of_one='zero') · TokenMean(scope='step') [verl token-mean, TRL dapo]
    · 64 prompts × 8
    """

    reward: Reward = field(default_factory=Reward)
    advantage: Advantage
    surrogate: Surrogate = field(default_factory=PolicyGradient)
    aggregation: Aggregation
    penalties: tuple[KL | Entropy, ...] = ()
    truncation: Truncation = "keep"
    dynamic_sampling: DynamicSampling = "none"
    group_size: int = 8
    prompts_per_step: int = 64
    name: str = "custom"

    def __post_init__(self) -> None:
        for slot, kind in (("reward", Reward), ("advantage", (ResponseAdvantage, GAE, Whitened)),
                           ("aggregation", Aggregation), ("surrogate", Surrogate)):
            if not isinstance(getattr(self, slot), kind):
                _check.fail(slot, getattr(self, slot), f"must be an instance of {slot.capitalize()}",
                            f"see the module lossim.{slot if slot == 'aggregation' else slot + 's'}", TypeError)
        penalties = _check.members("penalties", self.penalties, (KL, Entropy), "penalties.KL and penalties.Entropy",
                                   "write one as (KL(...),)")
        object.__setattr__(self, "penalties", penalties)
        places = [penalty.place if isinstance(penalty, KL) else "entropy" for penalty in penalties]
        if len(set(places)) < len(places):
            _check.fail("penalties", self.penalties, "must hold at most one KL per place and one entropy",
                        "add up their coefficients")
        inner = self.advantage.inner if isinstance(self.advantage, Whitened) else self.advantage
        if isinstance(self.surrogate, GMPO) and isinstance(inner, GAE):
            _check.fail("surrogate", self.surrogate, "needs one advantage per response, which GAE has not",
                        "use surrogates.PPOClip() with GAE")
        _check.choice("truncation", self.truncation, ("keep", "mask", "remove"))
        _check.choice("dynamic_sampling", self.dynamic_sampling, ("none", "drop", "resample"))
        _check.text("name", self.name)
        _check.whole("group_size", self.group_size)
        _check.whole("prompts_per_step", self.prompts_per_step)
        least = self.advantage.least_group_size
        if self.group_size < least:
            _check.fail("group_size", self.group_size, f"must be at least {least} for a leave-one-out baseline",
                        "use advantages.Raw() for single samples")
        if self.dynamic_sampling != "none" and self.group_size < 2:
            _check.fail("group_size", self.group_size, "must be at least 2 for dynamic sampling, which looks for "
                        "unequal rewards in a group", "use dynamic_sampling='none'")

    @property
    def responses_per_step(self) -> int:
        """n = prompts_per_step · group_size."""
        return self.prompts_per_step * self.group_size

    @property
    def kl_in_reward(self) -> KL | None:
        """The KL term of the reward, if any."""
        return next((p for p in self.penalties if isinstance(p, KL) and p.place == "reward"), None)

    @property
    def kl_in_loss(self) -> KL | None:
        """The KL term of the loss, if any."""
        return next((p for p in self.penalties if isinstance(p, KL) and p.place == "loss"), None)

    @property
    def entropy(self) -> Entropy | None:
        """The entropy bonus, if any."""
        return next((p for p in self.penalties if isinstance(p, Entropy)), None)

    def __str__(self) -> str:
        rule = self.aggregation
        parts = [short(self.advantage), f"{short(rule)} [verl {rule.verl}, TRL {rule.trl}]"]
        parts += [] if self.surrogate == PolicyGradient() else [short(self.surrogate)]
        parts += [] if self.reward == Reward() else [repr(self.reward)]
        parts += [repr(penalty) for penalty in self.penalties]
        parts += [] if self.truncation == "keep" else [f"truncated: {self.truncation}"]
        parts += [] if self.dynamic_sampling == "none" else [f"equal groups: {self.dynamic_sampling}"]
        parts += [f"{self.prompts_per_step} prompts × {self.group_size}"]
        return f"Scheme {self.name!r}: " + " · ".join(parts)

    __repr__ = __str__


def short(value: object) -> str:
    """A slot's value as printed, without empty brackets."""
    return repr(value).removesuffix("()")


def compare(one: Scheme, other: Scheme) -> dict[str, tuple[object, object]]:
    """The slots in which two schemes differ, names aside.

    >>> sorted(compare(grpo(), dr_grpo()))
    ['advantage', 'aggregation']
    """
    for name, scheme in (("one", one), ("other", other)):
        if not isinstance(scheme, Scheme):
            _check.fail(name, scheme, "must be a Scheme", "for example schemes.grpo()", TypeError)
    return {slot.name: (getattr(one, slot.name), getattr(other, slot.name)) for slot in fields(Scheme)
            if slot.name != "name" and getattr(one, slot.name) != getattr(other, slot.name)}


T = TypeVar("T")


def _given(value: T | None, default: T) -> T:
    return default if value is None else value


def _kl(coefficient: float, *, estimator: Literal["k1", "k2", "k3"] = "k1", place: Literal["loss", "reward"] = "loss"
        ) -> tuple[KL, ...]:
    penalty = KL(coefficient=coefficient, estimator=estimator, place=place)
    return (penalty,) if coefficient else ()


def ppo(*, gae_lambda: float = 0.95, gamma: float = 1.0, critic: Critic | None = None, whiten: bool = False,
        aggregation: Aggregation | None = None, reward: Reward | None = None,
        penalties: tuple[KL | Entropy, ...] = (), group_size: int = 1, prompts_per_step: int = 512) -> Scheme:
    """PPO on ±1: GAE with a critic given as data (zero unless given), mean over responses of the token mean.

    The reward defaults to +1 for a correct and -1 for any other response. Trainers also whiten the advantages over
    the tokens of a step; that is off here so that the drift is exact at any batch size, and ``whiten=True`` turns it
    on. Source: arXiv 1707.06347, 1506.02438.

    >>> ppo(gae_lambda=1.0).advantage
    GAE(gamma=1.0, gae_lambda=1.0, critic=Zero(), bootstrap_truncated=False)
    """
    advantage: Advantage = GAE(gamma=gamma, gae_lambda=gae_lambda, critic=_given(critic, Zero()))
    return Scheme(name="ppo", reward=_given(reward, Reward(correct=1.0, incorrect=-1.0)),
                  advantage=Whitened(inner=advantage) if _check.flag("whiten", whiten) else advantage,
                  aggregation=_given(aggregation, SequenceMeanTokenMean()), penalties=penalties, group_size=group_size,
                  prompts_per_step=prompts_per_step)


def vapo(*, alpha: float = 0.05, critic: Critic | None = None, reward: Reward | None = None, group_size: int = 16,
         prompts_per_step: int = 32) -> Scheme:
    """VAPO's actor: λ(T) = 1 - 1/(αT), token-mean over the step, ±1. Source: arXiv 2504.05118.

    Its clip-higher does not act on-policy, and its language-model loss on positives is not modelled.
    """
    return Scheme(name="vapo", reward=_given(reward, Reward(correct=1.0, incorrect=-1.0)), aggregation=TokenMean(),
                  advantage=GAE(gae_lambda=LengthAdaptive(alpha=alpha), critic=_given(critic, Zero())),
                  group_size=group_size, prompts_per_step=prompts_per_step)


def grpo(*, reward: Reward | None = None, eps: float = 1e-6, kl: float = 0.0, group_size: int = 8,
         prompts_per_step: int = 64) -> Scheme:
    """GRPO: (R - mean)/std of the group, mean over responses of the token mean, k3 in the loss.

    The paper's KL coefficient is 0.04; here it is 0 unless given, as trainers now have it. Source: arXiv 2402.03300.
    """
    return Scheme(name="grpo", reward=_given(reward, Reward()), advantage=GroupStandardized(eps=eps),
                  aggregation=SequenceMeanTokenMean(), penalties=_kl(kl, estimator="k3"), group_size=group_size,
                  prompts_per_step=prompts_per_step)


def dr_grpo(*, reward: Reward | None = None, constant: float | None = None, group_size: int = 8,
            prompts_per_step: int = 64) -> Scheme:
    """Dr. GRPO: R - mean of the group, token sums over a constant (None: max_tokens). Source: arXiv 2503.20783.

    OpenRLHF's ``dr_grpo`` drops the std alone and keeps the token mean; verl's divides by a width that need not be
    constant.
    """
    return Scheme(name="dr_grpo", reward=_given(reward, Reward()), advantage=GroupMean(),
                  aggregation=ConstantNormalizer(constant=constant), group_size=group_size,
                  prompts_per_step=prompts_per_step)


def dapo(*, reward: Reward | None = None, max_tokens: int | None = None, buffer: int | None = None, eps: float = 1e-6,
         group_size: int = 16, prompts_per_step: int = 32) -> Scheme:
    """DAPO: group std, token-mean over the step, equal groups resampled, ±1.

    With ``max_tokens`` and ``buffer`` the soft overlong punishment is added to the reward; a std over so many
    reward levels then has no closed form. Clip-higher does not act on-policy. TRL's default loss type of this name is
    the aggregation alone. Source: arXiv 2503.14476.
    """
    if (max_tokens is None) != (buffer is None):
        _check.fail("buffer", buffer, f"must be given together with max_tokens ({max_tokens!r})")
    if reward is not None and buffer is not None:
        _check.fail("reward", reward, "cannot be given together with max_tokens and buffer",
                    "put rewards.SoftOverlong into its shaping")
    shaping = None if max_tokens is None or buffer is None else SoftOverlong(max_tokens=max_tokens, buffer=buffer)
    return Scheme(name="dapo", reward=_given(reward, Reward(correct=1.0, incorrect=-1.0, shaping=shaping)),
                  advantage=GroupStandardized(eps=eps), aggregation=TokenMean(), dynamic_sampling="resample",
                  group_size=group_size, prompts_per_step=prompts_per_step)


def rloo(*, reward: Reward | None = None, kl: float = 0.0, group_size: int = 4, prompts_per_step: int = 128
         ) -> Scheme:
    """RLOO: leave-one-out baseline, token sum, k1 in the reward. Source: arXiv 2402.14740."""
    return Scheme(name="rloo", reward=_given(reward, Reward()), advantage=LeaveOneOut(),
                  aggregation=SequenceMeanTokenSum(), penalties=_kl(kl, place="reward"), group_size=group_size,
                  prompts_per_step=prompts_per_step)


def reinforce_plus_plus(*, reward: Reward | None = None, kl: float = 0.0, prompts_per_step: int = 512) -> Scheme:
    """REINFORCE++: the return whitened over the tokens of the step, token-mean, k1 in the reward.

    Source: arXiv 2501.03262.
    """
    return Scheme(name="reinforce_plus_plus", reward=_given(reward, Reward()), advantage=Whitened(inner=Raw()),
                  aggregation=TokenMean(), penalties=_kl(kl, place="reward"), group_size=1,
                  prompts_per_step=prompts_per_step)


def reinforce_plus_plus_baseline(*, reward: Reward | None = None, group_size: int = 8, prompts_per_step: int = 64
                                 ) -> Scheme:
    """REINFORCE++-baseline: R - mean of the group, whitened over the tokens of the step, token-mean.

    Source: arXiv 2501.03262.
    """
    return Scheme(name="reinforce_plus_plus_baseline", reward=_given(reward, Reward()),
                  advantage=Whitened(inner=GroupMean()), aggregation=TokenMean(), group_size=group_size,
                  prompts_per_step=prompts_per_step)


def remax(*, greedy_reward: float | tuple[float, ...], reward: Reward | None = None, prompts_per_step: int = 512
          ) -> Scheme:
    """ReMax: R minus the reward of the greedy response, given per prompt class; token sum. Source: arXiv 2310.10505.

    A greedy response is not drawn from the policy, so its reward is an input.
    """
    return Scheme(name="remax", reward=_given(reward, Reward()), advantage=Raw(baseline=greedy_reward),
                  aggregation=SequenceMeanTokenSum(), group_size=1, prompts_per_step=prompts_per_step)


def opo(*, reward: Reward | None = None, group_size: int = 8, prompts_per_step: int = 64) -> Scheme:
    """OPO: length-weighted baseline of the group, token-mean over the step. Source: arXiv 2505.23585."""
    return Scheme(name="opo", reward=_given(reward, Reward()), advantage=OPO(), aggregation=TokenMean(),
                  group_size=group_size, prompts_per_step=prompts_per_step)


def luspo(*, reward: Reward | None = None, eps: float = 1e-4, group_size: int = 8, prompts_per_step: int = 64
          ) -> Scheme:
    """LUSPO: group std, mean over responses of the token sum: the length bias of 1/T undone. Source: TRL's luspo."""
    return Scheme(name="luspo", reward=_given(reward, Reward()), advantage=GroupStandardized(eps=eps),
                  aggregation=SequenceMeanTokenSum(), group_size=group_size, prompts_per_step=prompts_per_step)


def delta_l(*, alpha: float = 0.75, reward: Reward | None = None, group_size: int = 8, prompts_per_step: int = 64
            ) -> Scheme:
    """ΔL normalisation: group std, weights T^-α over their mean in the step. Source: arXiv 2509.07558."""
    return Scheme(name="delta_l", reward=_given(reward, Reward()), advantage=GroupStandardized(),
                  aggregation=LengthPower(alpha=alpha), group_size=group_size, prompts_per_step=prompts_per_step)
