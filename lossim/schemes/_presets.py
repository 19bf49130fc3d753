"""Presets: each is a function whose body is the recipe."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from lossim._support import checks
from lossim.advantages import (
    GAE,
    OPO,
    Advantage,
    GroupMean,
    GroupStandardized,
    LeaveOneOut,
    LengthAdaptive,
    Raw,
    ReturnToGo,
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
from lossim.critics import Critic, NotGiven
from lossim.penalties import KL, Entropy
from lossim.rewards import Reward, SoftOverlong
from lossim.schemes._scheme import Scheme
from lossim.surrogates import CISPO, GMPO, GSPO, SAPO, PPOClip

ZERO_ONE = Reward(correct=1.0, incorrect=0.0)
PLUS_MINUS = Reward(correct=1.0, incorrect=-1.0)


def _kl(coefficient: float, *, estimator: Literal["k1", "k3"], place: Literal["loss", "reward"]) -> tuple[KL, ...]:
    """One KL term, checked, or none at a coefficient of 0."""
    penalty = KL(coefficient=coefficient, estimator=estimator, place=place)
    return (penalty,) if coefficient else ()


def ppo(*, gae_lambda: float = 0.95, gamma: float = 1.0, critic: Critic = NotGiven(), whiten: bool = False,
        aggregation: Aggregation = SequenceMeanTokenMean(), reward: Reward = PLUS_MINUS,
        penalties: tuple[KL | Entropy, ...] = (), group_size: int = 1, prompts_per_step: int = 512) -> Scheme:
    """PPO on ±1: GAE with a critic given as data, mean over responses of the token mean.

    Unless a critic is given V = 0 is assumed, and said so. Trainers also whiten the advantages over the tokens of a
    step; that is off here so that the drift is exact at any batch size, and ``whiten=True`` turns it on.
    Source: arXiv 1707.06347, 1506.02438.

    >>> ppo(gae_lambda=1.0).advantage
    GAE(gamma=1.0, gae_lambda=1.0, critic=NotGiven(), bootstrap_truncated=False)
    """
    advantage: Advantage = GAE(gamma=gamma, gae_lambda=gae_lambda, critic=critic)
    if checks.flag("whiten", whiten):
        advantage = Whitened(inner=advantage)
    return Scheme(name="ppo", reward=reward, advantage=advantage, surrogate=PPOClip(), aggregation=aggregation,
                  penalties=penalties, group_size=group_size, prompts_per_step=prompts_per_step)


def vapo(*, alpha: float = 0.05, critic: Critic = NotGiven(), reward: Reward = PLUS_MINUS, group_size: int = 16,
         prompts_per_step: int = 32) -> Scheme:
    """VAPO's actor: λ(T) = 1 - 1/(αT), clip-higher, token-mean over the step, ±1. Source: arXiv 2504.05118.

    Unless a critic is given V = 0 is assumed, and said so. Its language-model loss on positives is not modelled. Exact
    takes O(max_tokens²) here.
    """
    return Scheme(name="vapo", reward=reward, advantage=GAE(gae_lambda=LengthAdaptive(alpha=alpha), critic=critic),
                  surrogate=PPOClip(high=0.28), aggregation=TokenMean(), group_size=group_size,
                  prompts_per_step=prompts_per_step)


def grpo(*, reward: Reward = ZERO_ONE, eps: float = 1e-6, kl: float = 0.0, group_size: int = 8,
         prompts_per_step: int = 64) -> Scheme:
    """GRPO: (R - mean)/std of the group, mean over responses of the token mean, k3 in the loss.

    The paper's KL coefficient is 0.04; here it is 0 unless given, as trainers now have it. Source: arXiv 2402.03300.
    """
    return Scheme(name="grpo", reward=reward, advantage=GroupStandardized(eps=eps), surrogate=PPOClip(),
                  aggregation=SequenceMeanTokenMean(), penalties=_kl(kl, estimator="k3", place="loss"),
                  group_size=group_size, prompts_per_step=prompts_per_step)


def dr_grpo(*, reward: Reward = ZERO_ONE, constant: float | None = None, group_size: int = 8,
            prompts_per_step: int = 64) -> Scheme:
    """Dr. GRPO: R - mean of the group, token sums over a constant (None: max_tokens). Source: arXiv 2503.20783.

    OpenRLHF's ``dr_grpo`` drops the std alone and keeps the token mean; verl's divides by a width that need not be
    constant.
    """
    return Scheme(name="dr_grpo", reward=reward, advantage=GroupMean(), surrogate=PPOClip(),
                  aggregation=ConstantNormalizer(constant=constant), group_size=group_size,
                  prompts_per_step=prompts_per_step)


def dapo(*, reward: Reward | None = None, max_tokens: int | None = None, buffer: int | None = None, eps: float = 1e-6,
         group_size: int = 16, prompts_per_step: int = 32) -> Scheme:
    """DAPO: group std, clip-higher, token-mean over the step, equal groups resampled, ±1 (unless a reward is given).

    With ``max_tokens`` and ``buffer`` the soft overlong punishment is added to the reward. TRL's default loss type of
    this name is the aggregation alone.
    Source: arXiv 2503.14476.
    """
    if (max_tokens is None) != (buffer is None):
        checks.fail("buffer", buffer, f"must be given together with max_tokens ({max_tokens!r})")
    if reward is not None and buffer is not None:
        checks.fail("reward", reward, "cannot be given together with max_tokens and buffer",
                    "put rewards.SoftOverlong into its shaping")
    if reward is None:
        reward = PLUS_MINUS
    if max_tokens is not None and buffer is not None:
        reward = replace(PLUS_MINUS, shaping=SoftOverlong(max_tokens=max_tokens, buffer=buffer))
    return Scheme(name="dapo", reward=reward, advantage=GroupStandardized(eps=eps), surrogate=PPOClip(high=0.28),
                  aggregation=TokenMean(), dynamic_sampling="resample", group_size=group_size,
                  prompts_per_step=prompts_per_step)


def rloo(*, reward: Reward = ZERO_ONE, kl: float = 0.0, group_size: int = 4, prompts_per_step: int = 128) -> Scheme:
    """RLOO: leave-one-out baseline, token sum, k1 in the reward, no clip. Source: arXiv 2402.14740."""
    return Scheme(name="rloo", reward=reward, advantage=LeaveOneOut(), aggregation=SequenceMeanTokenSum(),
                  penalties=_kl(kl, estimator="k1", place="reward"), group_size=group_size,
                  prompts_per_step=prompts_per_step)


def reinforce_plus_plus(*, reward: Reward = ZERO_ONE, kl: float = 0.0, prompts_per_step: int = 512) -> Scheme:
    """REINFORCE++: the return whitened over the tokens of the step, token-mean, k1 in the reward.

    A token is credited with the KL from it on, not with that before it. Source: arXiv 2501.03262.
    """
    penalties = _kl(kl, estimator="k1", place="reward")
    credit: Advantage = ReturnToGo() if penalties else Raw()  # without pay on the way they are the same
    return Scheme(name="reinforce_plus_plus", reward=reward, advantage=Whitened(inner=credit), surrogate=PPOClip(),
                  aggregation=TokenMean(), penalties=penalties, group_size=1, prompts_per_step=prompts_per_step)


def reinforce_plus_plus_baseline(*, reward: Reward = ZERO_ONE, group_size: int = 8, prompts_per_step: int = 64
                                 ) -> Scheme:
    """REINFORCE++-baseline: R - mean of the group, whitened over the tokens of the step, token-mean.

    Source: arXiv 2501.03262.
    """
    return Scheme(name="reinforce_plus_plus_baseline", reward=reward, advantage=Whitened(inner=GroupMean()),
                  surrogate=PPOClip(), aggregation=TokenMean(), group_size=group_size,
                  prompts_per_step=prompts_per_step)


def remax(*, greedy_reward: float | tuple[float, ...], reward: Reward = ZERO_ONE, prompts_per_step: int = 512
          ) -> Scheme:
    """ReMax: R minus the reward of the greedy response, given per prompt class; token sum. Source: arXiv 2310.10505.

    A greedy response is not drawn from the policy, so its reward is an input.
    """
    return Scheme(name="remax", reward=reward, advantage=Raw(baseline=greedy_reward),
                  aggregation=SequenceMeanTokenSum(), group_size=1, prompts_per_step=prompts_per_step)


def opo(*, reward: Reward = ZERO_ONE, group_size: int = 8, prompts_per_step: int = 64) -> Scheme:
    """OPO: length-weighted baseline of the group, token-mean over the step, on-policy. Source: arXiv 2505.23585."""
    return Scheme(name="opo", reward=reward, advantage=OPO(), aggregation=TokenMean(), group_size=group_size,
                  prompts_per_step=prompts_per_step)


def gspo(*, reward: Reward = ZERO_ONE, group_size: int = 8, prompts_per_step: int = 64) -> Scheme:
    """GSPO: group std, one ratio per response, mean over responses of the token mean. Source: arXiv 2507.18071.

    On-policy it is GRPO. verl 0.9.1 honours its configured aggregation here, later heads hard-code this one.
    """
    return Scheme(name="gspo", reward=reward, advantage=GroupStandardized(), surrogate=GSPO(),
                  aggregation=SequenceMeanTokenMean(), group_size=group_size, prompts_per_step=prompts_per_step)


def gmpo(*, reward: Reward = ZERO_ONE, group_size: int = 8, prompts_per_step: int = 64) -> Scheme:
    """GMPO: group std, geometric mean of clipped ratios; its gradient has 1/T. Source: arXiv 2507.20673."""
    return Scheme(name="gmpo", reward=reward, advantage=GroupStandardized(), surrogate=GMPO(),
                  aggregation=SequenceMeanTokenMean(), group_size=group_size, prompts_per_step=prompts_per_step)


def cispo(*, reward: Reward = ZERO_ONE, group_size: int = 8, prompts_per_step: int = 64) -> Scheme:
    """CISPO: group std, clipped ratio as a weight, token-mean over the step. Source: arXiv 2506.13585."""
    return Scheme(name="cispo", reward=reward, advantage=GroupStandardized(), surrogate=CISPO(),
                  aggregation=TokenMean(), group_size=group_size, prompts_per_step=prompts_per_step)


def sapo(*, reward: Reward = ZERO_ONE, group_size: int = 8, prompts_per_step: int = 64) -> Scheme:
    """SAPO: group std, a soft gate on the ratio, mean over responses of the token mean. Source: arXiv 2511.20347."""
    return Scheme(name="sapo", reward=reward, advantage=GroupStandardized(), surrogate=SAPO(),
                  aggregation=SequenceMeanTokenMean(), group_size=group_size, prompts_per_step=prompts_per_step)


def luspo(*, reward: Reward = ZERO_ONE, eps: float = 1e-4, group_size: int = 8, prompts_per_step: int = 64) -> Scheme:
    """LUSPO: GSPO with token sums, so that long responses weigh what they are long. Source: arXiv 2602.05261."""
    return Scheme(name="luspo", reward=reward, advantage=GroupStandardized(eps=eps),
                  surrogate=GSPO(low=2e-3, high=2.5e-3),
                  aggregation=SequenceMeanTokenSum(), group_size=group_size, prompts_per_step=prompts_per_step)


def delta_l(*, alpha: float = 0.75, reward: Reward = ZERO_ONE, group_size: int = 8, prompts_per_step: int = 64
            ) -> Scheme:
    """ΔL normalisation: group std, weights T^-α over their mean in the step. Source: arXiv 2509.07558."""
    return Scheme(name="delta_l", reward=reward, advantage=GroupStandardized(), surrogate=PPOClip(),
                  aggregation=LengthPower(alpha=alpha), group_size=group_size, prompts_per_step=prompts_per_step)


def presets() -> dict[str, Callable[..., Scheme]]:
    """All presets by name. Each can be called without arguments but ``remax``, which needs ``greedy_reward``.

    >>> presets()["dr_grpo"](group_size=4).advantage
    GroupMean(group_of_one='zero')
    >>> list(presets())[:4]
    ['ppo', 'vapo', 'grpo', 'dr_grpo']
    """
    every = (ppo, vapo, grpo, dr_grpo, dapo, rloo, reinforce_plus_plus, reinforce_plus_plus_baseline, remax, opo, gspo,
             gmpo, cispo, sapo, luspo, delta_l)
    return {preset.__name__: preset for preset in every}
