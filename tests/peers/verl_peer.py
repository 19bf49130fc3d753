"""verl 0.9.1: its advantage estimators, its ``ppo_loss`` with all that this calls, its rollout weights."""

from __future__ import annotations

from functools import cache
from typing import Any
from unittest.mock import patch

import torch
from verl.trainer.config import AlgoConfig
from verl.trainer.ppo import core_algos, rollout_corr_helper
from verl.workers.config import ActorConfig, PolicyLossConfig
from verl.workers.utils import losses

from tests.peers.rows import Rows


def advantages(rows: Rows, estimator: str, *, gamma: float = 1.0, gae_lambda: float = 1.0, std: bool = True,
               whiten: bool = True, kl_in_reward: float = 0.0) -> torch.Tensor:
    """Advantages [response, t] of an estimator that verl registers under that name.

    The mask is an integer tensor, as in verl's trainer. ``whiten=False`` replaces verl's whitening, which cannot be
    switched off, by the identity. KL in the reward is paid per token, as by ``apply_kl_penalty``.
    """
    mask, paid = rows.mask.long(), rows.token_rewards()
    if kl_in_reward:
        paid = paid - kl_in_reward * core_algos.kl_penalty(rows.old, rows.reference_log_prob, "kl") * mask
    given: dict[str, Any] = {
        "gae": {"values": rows.values, "gamma": gamma, "lam": gae_lambda},
        "grpo": {"index": rows.group, "norm_adv_by_std_in_grpo": std},
        "remax": {"reward_baselines": rows.baseline},
        "reinforce_plus_plus": {},
    }.get(estimator, {"index": rows.group})
    if estimator != "gae":
        given["config"] = AlgoConfig(gamma=gamma, norm_adv_by_std_in_grpo=std)
    with patch.object(core_algos.verl_F, "masked_whiten", core_algos.verl_F.masked_whiten if whiten else _unwhitened):
        made, _ = core_algos.get_adv_estimator_fn(estimator)(token_level_rewards=paid, response_mask=mask, **given)
    return made * mask


def _unwhitened(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return values


class _Padded(dict[str, Any]):
    """Stands for verl's TensorDict of rows that are padded already."""

    def select(self, *names: str) -> _Padded:
        return self

    def to_padded_tensor(self) -> _Padded:
        return self


@cache
def _actor(mode: str, aggregation: str, constant: float | None, low: float, high: float, dual: float,
           temperatures: tuple[float, float], dro: float | None, kl: tuple[str, float] | None, entropy: float
           ) -> ActorConfig:
    return ActorConfig(strategy="fsdp", rollout_n=1, use_dynamic_bsz=True, loss_agg_mode=aggregation,
                       loss_scale_factor=constant, clip_ratio_low=low, clip_ratio_high=high, clip_ratio_c=dual,
                       tau_pos=temperatures[0], tau_neg=temperatures[1], entropy_coeff=entropy,
                       policy_loss=PolicyLossConfig(loss_mode=mode, dro_beta=dro), use_kl_loss=kl is not None,
                       **({} if kl is None else {"kl_loss_type": kl[0], "kl_loss_coef": kl[1]}))


NEVER = 1e9
"""A dual clip out of reach: verl's vanilla loss always has one."""


def loss(rows: Rows, advantages: torch.Tensor, *, mode: str = "vanilla", aggregation: str = "token-mean",
         counting: str = "all", constant: float | None = None, low: float = 0.2, high: float = 0.2,
         dual: float = NEVER, temperatures: tuple[float, float] = (1.0, 1.05), dro: float | None = None,
         kl: tuple[str, float] | None = None, entropy: float = 0.0, weight: torch.Tensor | None = None
         ) -> torch.Tensor:
    """verl's ``ppo_loss``: the policy loss registered as ``mode``, its aggregation, KL and entropy.

    ``counting="all"`` passes the number of rows as the global batch size, as verl's trainer does; with ``"kept"``
    the function counts the rows that have a token.
    """
    config = _actor(mode, aggregation, constant, low, high, dual, temperatures, dro, kl, entropy)
    data = _Padded(response_mask=rows.mask, old_log_probs=rows.old, advantages=advantages, dp_size=1,
                   batch_num_tokens=None, global_batch_size=len(rows.mask) if counting == "all" else None)
    if weight is not None:
        data["rollout_is_weights"] = weight
    if kl is not None:
        data["ref_log_prob"] = rows.reference_log_prob
    output = {"log_probs": rows.log_prob} | ({"entropy": rows.entropy} if entropy else {})
    with patch.object(losses, "no_padding_2_padding", lambda padded, data: padded):
        made, _ = losses.ppo_loss(config, output, data)
    return made


def rollout_weights(rows: Rows, level: str, threshold: float | str) -> torch.Tensor:
    """Weights for rollout mismatch: ``threshold`` is verl's, a number to truncate or "low_high" to zero outside."""
    weights, _ = rollout_corr_helper.compute_rollout_correction_weights(
        rows.old - rows.rollout_log_prob, rows.mask.long(), rollout_is=level, rollout_is_threshold=threshold)
    return weights


def gdpo(rows: Rows, rewards: torch.Tensor, weights: tuple[float, ...] | None = None) -> torch.Tensor:
    """Advantages [response, t] of GDPO from ``rewards`` [response, component]; masks without gaps."""
    names = [f"reward {k}" for k in range(rewards.shape[1])]
    prompt = torch.ones(len(rows.mask), 1, dtype=torch.long)
    made, _ = core_algos.compute_gdpo_outcome_advantage(
        token_level_rewards=rows.token_rewards(), response_mask=rows.mask.long(), index=rows.group,
        config=AlgoConfig(gdpo_reward_keys=names, gdpo_reward_weights=weights),
        non_tensor_batch=dict(zip(names, rewards.numpy().T, strict=True)),
        batch={"prompts": prompt, "attention_mask": torch.cat([prompt, rows.mask.long()], dim=1)})
    return made
