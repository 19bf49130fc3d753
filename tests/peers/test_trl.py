"""TRL's own trainers on random padded batches, from sampled completions to the gradient of the loss, to 1e-10."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import lossim as ls
from lossim import advantages as adv
from lossim import aggregation as agg
from lossim import penalties, surrogates
from tests.peers import trl_peer
from tests.peers.ragged import batch, compare, draw, same
from tests.peers.rows import Rows

SEEDS = range(40)
LONGEST = 9
"""max_completion_length: longer than any of the rows."""

GRPO = adv.GroupStandardized(eps=1e-4)
AGGREGATIONS: dict[str, agg.Aggregation] = {
    "grpo": agg.SequenceMeanTokenMean(),
    "bnpo": agg.TokenMean(),
    "dr_grpo": agg.ConstantNormalizer(),
    "dapo": agg.TokenMean(),
    "luspo": agg.SequenceMeanTokenSum(),
}
RANGE = {"low": 0.1, "high": 0.15}
TRL_RANGE = {"epsilon_low": 0.1, "epsilon_high": 0.15}


def scheme(surrogate: surrogates.Surrogate, aggregation: agg.Aggregation, **slots: Any) -> ls.Scheme:
    return ls.Scheme(**{"advantage": GRPO, "surrogate": surrogate, "aggregation": aggregation} | slots)


def kl(estimator: str = "k3", **options: Any) -> tuple[penalties.KL, ...]:
    return (penalties.KL(coefficient=0.3, estimator=estimator, **options),)  # type: ignore[arg-type]


CASES: dict[str, tuple[ls.Scheme, dict[str, Any]]] = {
    **{f"{name}, token": (scheme(surrogates.PPOClip(**RANGE), rule), {"loss_type": name, **TRL_RANGE})
       for name, rule in AGGREGATIONS.items()},
    **{f"{name}, sequence": (scheme(surrogates.GSPO(**RANGE), rule),
                             {"loss_type": name, "importance_sampling_level": "sequence", **TRL_RANGE})
       for name, rule in AGGREGATIONS.items()},
    "delta": (scheme(surrogates.PPOClip(delta=1.3, **RANGE), agg.TokenMean()), {"delta": 1.3, **TRL_RANGE}),
    "cispo": (scheme(surrogates.CISPO(low=1.0, high=0.4), agg.TokenMean()), {"loss_type": "cispo",
                                                                              "epsilon_high": 1.4}),
    "sapo": (scheme(surrogates.SAPO(positive=0.9, negative=1.3), agg.SequenceMeanTokenMean()),
             {"loss_type": "sapo", "sapo_temperature_pos": 0.9, "sapo_temperature_neg": 1.3}),
    "vespo": (scheme(surrogates.VESPO(), agg.TokenMean()), {"loss_type": "vespo"}),
    "vespo, other numbers": (
        scheme(surrogates.VESPO(positive=(1.5, 0.7), negative=(0.6, 1.1)), agg.TokenMean()),
        {"loss_type": "vespo", "vespo_k_pos": 1.5, "vespo_lambda_pos": 0.7, "vespo_k_neg": 0.6,
         "vespo_lambda_neg": 1.1}),
    "off-policy mask": (
        scheme(surrogates.OffPolicyMask(inner=surrogates.PPOClip(), threshold=0.1), agg.SequenceMeanTokenMean()),
        {"loss_type": "grpo", "off_policy_mask_threshold": 0.1}),
    "off-policy mask of cispo": (
        scheme(surrogates.OffPolicyMask(inner=surrogates.CISPO(low=1.0, high=0.4), threshold=0.05), agg.TokenMean()),
        {"loss_type": "cispo", "epsilon_high": 1.4, "off_policy_mask_threshold": 0.05}),
    "no std": (scheme(surrogates.PPOClip(), agg.ConstantNormalizer(), advantage=adv.GroupMean()),
               {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    "std of the batch": (
        scheme(surrogates.PPOClip(), agg.TokenMean(), advantage=adv.GroupStandardized(eps=1e-4, scope="batch")),
        {"scale_rewards": "batch"}),
    "k3": (scheme(surrogates.PPOClip(), agg.TokenMean(), penalties=kl()),
           {"beta": 0.3, "use_bias_correction_kl": False}),
    "k3, bias-corrected": (
        scheme(surrogates.PPOClip(), agg.SequenceMeanTokenMean(), penalties=kl(gradient="bias_corrected")),
        {"loss_type": "grpo", "beta": 0.3}),
    "k3, bias-corrected, dapo": (
        scheme(surrogates.CISPO(low=1.0, high=0.4), agg.TokenMean(), penalties=kl(gradient="bias_corrected")),
        {"loss_type": "cispo", "epsilon_high": 1.4, "beta": 0.3}),
    "masked": (scheme(surrogates.PPOClip(), agg.SequenceMeanTokenMean(), truncation="mask"),
               {"loss_type": "grpo", "mask_truncated_completions": True}),
    "masked, dapo": (scheme(surrogates.PPOClip(), agg.TokenMean(), truncation="mask", penalties=kl()),
                     {"mask_truncated_completions": True, "beta": 0.3, "use_bias_correction_kl": False}),
    "masked, gspo": (scheme(surrogates.GSPO(**RANGE), agg.ConstantNormalizer(), truncation="mask"),
                     {"loss_type": "dr_grpo", "importance_sampling_level": "sequence",
                      "mask_truncated_completions": True, **TRL_RANGE}),
}


def check(mine: ls.Scheme, rows: Rows, theirs: tuple[torch.Tensor, torch.Tensor], *,
          weigh: Callable[[ls.tokens.Batch], np.ndarray] | None = None, case: object = "") -> None:
    """Advantages, loss and gradient."""
    seen = batch(rows, max_tokens=LONGEST)
    ours = ls.tokens.loss(mine, seen, weight=None if weigh is None else weigh(seen))
    inside = rows.mask & ~rows.truncated[:, None] if mine.truncation == "mask" else rows.mask
    same(ours.advantages, (theirs[1][:, None] * inside).numpy(), case=case)
    compare(ours, theirs[0], rows, case=case)


@pytest.mark.parametrize("name", CASES)
def test_grpo(name: str) -> None:
    mine, options = CASES[name]
    for seed in SEEDS:
        rows = draw(seed, group_sizes=(2, 4), equal_groups=True, off_policy=seed % 5 != 0)
        check(mine, rows, trl_peer.grpo(rows, max_completion_length=LONGEST, **options), case=seed)


@pytest.mark.parametrize("loss_type", ["dapo", "cispo", "grpo", "dr_grpo", "luspo"])
def test_micro_batches(loss_type: str) -> None:
    """A step in micro-batches of one response: all but bnpo give what the whole step gives."""
    surrogate = surrogates.CISPO(low=1.0, high=0.4) if loss_type == "cispo" else surrogates.PPOClip()
    options = {"epsilon_high": 1.4} if loss_type == "cispo" else {}
    mine = scheme(surrogate, AGGREGATIONS.get(loss_type, agg.TokenMean()))
    for seed in SEEDS:
        rows = draw(seed, group_sizes=(2, 4), equal_groups=True)
        theirs = trl_peer.grpo(rows, loss_type=loss_type, max_completion_length=LONGEST,
                               micro_batches=len(rows.group), **options)
        check(mine, rows, theirs, case=seed)


@pytest.mark.parametrize(("mode", "level", "outside"), [
    ("token_truncate", "token", "clip"), ("token_mask", "token", "zero"),
    ("sequence_truncate", "sequence", "clip"), ("sequence_mask", "sequence", "zero")])
@pytest.mark.parametrize("low", [None, 0.7])
def test_rollout_weights(mode: str, level: str, outside: str, low: float | None) -> None:
    """What vLLM said otherwise weighs the policy term, not the KL."""
    mine = scheme(surrogates.PPOClip(), agg.SequenceMeanTokenMean(), penalties=kl())
    for seed in SEEDS:
        rows = draw(seed, group_sizes=(2, 4), equal_groups=True, off_policy=bool(seed % 2))
        theirs = trl_peer.grpo(rows, loss_type="grpo", beta=0.3, use_bias_correction_kl=False, use_vllm=True,
                               vllm_importance_sampling_mode=mode, vllm_importance_sampling_clip_min=low,
                               vllm_importance_sampling_clip_max=1.4)
        check(mine, rows, theirs, case=seed, weigh=lambda seen: ls.tokens.importance_weights(
            seen, level=level, low=low or 0.0, high=1.4, outside=outside))  # type: ignore[arg-type]


@pytest.mark.parametrize("beta", [0.0, 0.3])
@pytest.mark.parametrize("truncation", ["keep", "mask"])
def test_rloo(beta: float, truncation: str) -> None:
    """On-policy: the ratio of whole responses that TRL's RLOO clips is 1 there.

    TRL takes the KL in the reward over the tokens in the loss, so a truncated response that is masked pays none; here
    it pays as any other. Agreement where policy and reference agree on these.
    """
    mine = scheme(surrogates.PolicyGradient(), agg.SequenceMeanTokenSum(), advantage=adv.LeaveOneOut(),
                  penalties=(penalties.KL(coefficient=beta, place="reward"),), truncation=truncation)
    for seed in SEEDS:
        rows = draw(seed, group_sizes=(2, 4), equal_groups=True, gaps=False, empty=False, off_policy=False)
        (slope,) = torch.autograd.grad(
            trl_peer.rloo(rows, beta=beta, mask_truncated_completions=truncation == "mask")[0], rows.log_prob)
        if truncation == "mask":
            rows = replace(rows, reference_log_prob=torch.where(
                rows.truncated[:, None], rows.old, rows.reference_log_prob))
        same(ls.tokens.loss(mine, batch(rows)).gradient, slope.numpy(), case=seed)


def test_vespo_under_vllm() -> None:
    """TRL puts the sampler's ratio into VESPO's own: the same as a ratio to the sampler, as far as nothing is cut."""
    mine, options = CASES["vespo"]
    for seed in SEEDS:
        rows = draw(seed, group_sizes=(2, 4), equal_groups=True)
        loss, _ = trl_peer.grpo(rows, use_vllm=True, vllm_importance_sampling_mode="token_truncate",
                                vllm_importance_sampling_clip_max=1e9, **options)
        compare(ls.tokens.loss(mine, batch(rows, old_log_prob=rows.rollout_log_prob)), loss, rows, case=seed)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (1.0, 0.5, 2.0)])
def test_gdpo(weights: tuple[float, ...]) -> None:
    for seed in SEEDS:
        rows = draw(seed, group_sizes=(2, 4), equal_groups=True)
        rewards = np.random.default_rng(seed).integers(0, 3, size=(len(rows.group), 3)).astype(np.float64)
        _, theirs = trl_peer.grpo(rows, multi_objective_aggregation="normalize_then_sum", reward_weights=weights,
                                  rewards=torch.from_numpy(rewards))
        ours = ls.tokens.gdpo(rewards, batch(rows), weights=weights, eps=1e-4, over="responses")
        same(ours, (theirs[:, None] * rows.mask).numpy(), case=seed)


def test_cosine_reward_is_trls(monkeypatch: pytest.MonkeyPatch) -> None:
    """TRL's own function on lengths up to beyond its curve, with grades that are given instead of told from text."""
    module = pytest.importorskip("trl.rewards.accuracy_rewards")
    rng = np.random.default_rng(0)
    length = rng.integers(1, 3000, size=200)
    right = rng.random(200) < 0.5
    monkeypatch.setattr(module, "accuracy_reward", lambda *args, **kwargs: right.astype(float).tolist())
    theirs = module.get_cosine_scaled_reward(max_len=2000)(
        [[{"content": ""}]] * 200, [""] * 200, [[1] * int(tokens) for tokens in length])
    mine = ls.Reward(shaping=ls.rewards.Cosine(max_tokens=2000, correct=(1.0, 0.5), incorrect=(-1.0, -0.5)))
    np.testing.assert_allclose(mine.values(length, right, False), theirs, rtol=1e-12)
