"""verl's own functions on random padded batches: advantages, losses with their gradients, KL, rollout weights.

Everything is float64 and agrees to 1e-10, unless verl rounds to float32 on the way; each such case says where.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

import lossim as ls
from lossim import advantages as adv
from lossim import aggregation as agg
from lossim import penalties, surrogates
from tests.peers import verl_peer
from tests.peers.ragged import batch, compare, draw, masked, same
from tests.peers.rows import Rows

SEEDS = range(40)
FLOAT32 = 1e-6
"""Where verl computes in float32 throughout."""
BESSEL = 1e-7
"""Where one factor is float32: n/(n-1) of masked_whiten, the divisor 1 + 1e-6 of a group of one, n/#paid of gpg."""


def seen_by_verl(rows: Rows) -> Rows:
    """verl's critic has no value behind the last token."""
    return replace(rows, values=rows.values[:, :-1])


ADVANTAGES: dict[str, tuple[adv.Advantage, dict[str, Any], dict[str, Any], float]] = {
    "grpo": (adv.GroupStandardized(), {}, {"group_sizes": (2, 4)}, 1e-10),
    "grpo, groups of one": (adv.GroupStandardized(), {}, {}, BESSEL),
    "grpo, no std": (adv.GroupMean(group_of_one="raw"), {"std": False}, {}, 1e-10),
    "grpo_vectorized": (adv.GroupStandardized(), {}, {}, FLOAT32),
    "grpo_passk": (adv.PassK(), {}, {"group_sizes": (2, 4)}, 1e-10),
    "grpo_passk, no std": (adv.PassK(standardize=False), {"std": False}, {"group_sizes": (2, 4)}, 1e-10),
    "rloo": (adv.LeaveOneOut(group_of_one="raw"), {}, {}, 1e-10),
    "rloo_vectorized": (adv.LeaveOneOut(group_of_one="zero"), {}, {}, 1e-10),
    "opo": (adv.OPO(group_of_one="raw"), {}, {"empty": False}, 1e-10),
    "gpg": (adv.GPG(group_of_one="raw"), {}, {}, BESSEL),
    "remax": (adv.Raw(), {}, {}, 1e-10),
    "reinforce_plus_plus": (adv.Whitened(inner=adv.GAE(gae_lambda=1.0)), {}, {}, BESSEL),
    "reinforce_plus_plus, discounted": (adv.Whitened(inner=adv.GAE(gae_lambda=1.0, gamma=0.9)), {"gamma": 0.9}, {},
                                        BESSEL),
    "reinforce_plus_plus_baseline": (adv.Whitened(inner=adv.GroupMean(group_of_one="raw")), {}, {}, BESSEL),
    "gae": (adv.GAE(gamma=0.95, gae_lambda=0.8), {"gamma": 0.95, "gae_lambda": 0.8, "whiten": False}, {}, 1e-10),
    "gae, whitened": (adv.Whitened(inner=adv.GAE(gae_lambda=0.9)), {"gae_lambda": 0.9}, {}, BESSEL),
}


@pytest.mark.parametrize("name", ADVANTAGES)
def test_advantages(name: str) -> None:
    estimator, options, drawn, rtol = ADVANTAGES[name]
    for seed in SEEDS:
        rows = draw(seed, **drawn)
        theirs = verl_peer.advantages(seen_by_verl(rows), name.split(",")[0], **options)
        without = {"values": None} if name.startswith("reinforce") else {}  # a critic that REINFORCE++ has not
        same(ls.tokens.advantages(estimator, batch(rows, **without)), theirs.numpy(), rtol=rtol, case=seed)


@pytest.mark.parametrize("name", ["grpo", "rloo", "gae", "reinforce_plus_plus"])
def test_kl_in_the_reward(name: str) -> None:
    """Each token is paid -β·log π_old/π_ref before the advantages are taken."""
    estimator, options, drawn, rtol = ADVANTAGES[name]
    scheme = ls.Scheme(advantage=estimator, aggregation=agg.TokenMean(),
                       penalties=(penalties.KL(coefficient=0.3, place="reward"),))
    for seed in SEEDS:
        rows = draw(seed, off_policy=bool(seed % 2), **drawn)
        theirs = verl_peer.advantages(seen_by_verl(rows), name, kl_in_reward=0.3, **options)
        without = {"values": None} if name.startswith("reinforce") else {}
        same(ls.tokens.advantages(scheme, batch(rows, **without)), theirs.numpy(), rtol=rtol, case=seed)


LOSSES: dict[str, tuple[surrogates.Surrogate, dict[str, Any]]] = {
    "vanilla": (surrogates.PPOClip(dual=3.0), {"dual": 3.0}),
    "vanilla, clip higher": (surrogates.PPOClip(low=0.1, high=0.3), {"low": 0.1, "high": 0.3}),
    "vanilla, dual clip": (surrogates.PPOClip(dual=1.4), {"dual": 1.4}),
    "gpg": (surrogates.PolicyGradient(), {}),
    "cispo": (surrogates.CISPO(low=0.2, high=0.3), {"low": 0.2, "high": 0.3}),
    "gspo": (surrogates.GSPO(low=0.1, high=0.15), {"low": 0.1, "high": 0.15}),
}
AGGREGATIONS: dict[str, tuple[agg.Aggregation, dict[str, Any]]] = {
    "token-mean": (agg.TokenMean(), {}),
    "token-sum": (agg.TokenSum(), {}),
} | {f"{mode}, {counting}": (rule(counting=counting, **constant), {"counting": counting, **constant})
     for counting in ("all", "kept") for mode, rule, constant in (
         ("seq-mean-token-mean", agg.SequenceMeanTokenMean, {}),
         ("seq-mean-token-sum", agg.SequenceMeanTokenSum, {}),
         ("seq-mean-token-sum-norm", agg.ConstantNormalizer, {"constant": 13}))}


def credit_of(rows: Rows, seed: int, *, per_response: bool = False) -> torch.Tensor:
    """Random advantages of both signs, some 0."""
    rng = np.random.default_rng(seed)
    credit = rng.normal(size=rows.mask.shape) * (rng.random(rows.mask.shape) < 0.9)
    return torch.from_numpy(np.repeat(credit[:, :1], credit.shape[1], axis=1) if per_response else credit)


def scheme_of(surrogate: surrogates.Surrogate, aggregation: agg.Aggregation, **slots: Any) -> ls.Scheme:
    return ls.Scheme(**{"advantage": adv.Raw(), "surrogate": surrogate, "aggregation": aggregation} | slots)


@pytest.mark.parametrize(("name", "rule"), [*product(LOSSES, AGGREGATIONS)])
def test_losses(name: str, rule: str) -> None:
    """Every surrogate under every aggregation, advantages per token."""
    (surrogate, options), (aggregation, more) = LOSSES[name], AGGREGATIONS[rule]
    for seed in SEEDS:
        rows = draw(seed, off_policy=seed % 5 != 0)
        credit = credit_of(rows, seed)
        theirs = verl_peer.loss(rows, credit, mode=name.split(",")[0], aggregation=rule.split(",")[0], **options,
                                **more)
        ours = ls.tokens.loss(scheme_of(surrogate, aggregation), batch(rows), advantages=credit.numpy())
        compare(ours, theirs, rows, case=seed)


@pytest.mark.parametrize(("mode", "counting"), [("sapo", "all"), ("sapo", "kept"), ("geo_mean", "all")])
def test_losses_that_choose_their_aggregation(mode: str, counting: str) -> None:
    """verl's SAPO and GMPO ignore loss_agg_mode: a mean over responses of the mean over tokens."""
    surrogate = surrogates.SAPO(negative=1.3) if mode == "sapo" else surrogates.GMPO(low=0.3, high=0.4)
    options = {"temperatures": (1.0, 1.3)} if mode == "sapo" else {"low": 0.3, "high": 0.4}
    aggregation = agg.SequenceMeanTokenMean(counting=counting)  # type: ignore[arg-type]
    for seed in SEEDS:
        rows = draw(seed, off_policy=seed % 5 != 0)
        credit = credit_of(rows, seed, per_response=mode == "geo_mean")
        theirs = verl_peer.loss(rows, credit, mode=mode, counting=counting, **options)
        ours = ls.tokens.loss(scheme_of(surrogate, aggregation), batch(rows), advantages=credit.numpy())
        compare(ours, theirs, rows, case=seed)


@pytest.mark.parametrize("rule", AGGREGATIONS)
def test_dro(rule: str) -> None:
    aggregation, more = AGGREGATIONS[rule]
    scheme = scheme_of(surrogates.PolicyGradient(), aggregation,
                       penalties=(penalties.KL(coefficient=0.4, estimator="k2", to="old"),))
    for seed in SEEDS:
        rows = draw(seed)
        credit = credit_of(rows, seed)
        theirs = verl_peer.loss(rows, credit, mode="dro", aggregation=rule.split(",")[0], dro=0.4, **more)
        compare(ls.tokens.loss(scheme, batch(rows), advantages=credit.numpy()), theirs, rows, case=seed)


@pytest.mark.parametrize("divergence", ["tv", "kl"])
def test_dppo(divergence: str) -> None:
    """CISPO's truncated weight and a mask by how far the token's probability moved; verl's cap is 3."""
    low, high, cap = 0.05, 0.08, 1.5
    scheme = scheme_of(surrogates.CISPO(low=1.0, high=cap - 1.0), agg.TokenMean())
    dropped = 0.0
    for seed in SEEDS:
        rows = draw(seed)
        credit = credit_of(rows, seed)
        theirs = verl_peer.loss(rows, credit, mode=f"dppo_{divergence}", low=low, high=high, dual=cap)
        ours = batch(rows)
        keep = ls.tokens.dppo_mask(ours, credit.numpy(), low=low, high=high, divergence=divergence)  # type: ignore[arg-type]
        compare(ls.tokens.loss(scheme, ours, advantages=credit.numpy(), weight=keep), theirs, rows, case=seed)
        dropped += (1.0 - keep)[ours.mask].mean() / len(SEEDS)
    assert 0.1 < dropped < 0.9


@pytest.mark.parametrize(("estimator", "gradient"), [
    *product(["k1", "k2", "k3", "abs"], ["own"]), *product(["k1", "k3", "abs"], ["straight_through"])])
def test_kl_in_the_loss(estimator: str, gradient: str) -> None:
    """With the loss's own aggregation; a "+" in verl binds the gradient of k2 to the value of another estimator."""
    term = penalties.KL(coefficient=0.2, estimator=estimator, gradient=gradient)  # type: ignore[arg-type]
    name = estimator + "+" * (gradient == "straight_through")
    for seed, rule in product(SEEDS, ("token-mean", "seq-mean-token-mean, all")):
        aggregation, more = AGGREGATIONS[rule]
        rows = draw(seed)
        credit = credit_of(rows, seed)
        theirs = verl_peer.loss(rows, credit, aggregation=rule.split(",")[0], kl=(name, 0.2), **more)
        ours = ls.tokens.loss(scheme_of(surrogates.PPOClip(), aggregation, penalties=(term,)), batch(rows),
                              advantages=credit.numpy())
        compare(ours, theirs, rows, case=(seed, rule))


def test_where_verl_holds_numbers_within_bounds() -> None:
    """verl caps k3 at 10 and log ratios at ±20, and there is no slope beyond; lossim has neither bound."""
    def number(x: float) -> torch.Tensor:
        return torch.full((1, 1), x, dtype=torch.float64)

    rows = Rows(log_prob=number(-4.0).requires_grad_(), old_log_prob=number(-25.0), reference_log_prob=number(-1.0),
                mask=torch.ones(1, 1, dtype=torch.bool), reward=torch.zeros(1), truncated=torch.zeros(1) > 0,
                group=np.zeros(1, dtype=np.int64))
    k3 = (penalties.KL(coefficient=1.0, estimator="k3"),)
    for credit, theirs, terms, bound, free in (
            (0.0, verl_peer.loss(rows, number(0.0), kl=("k3", 1.0)), k3, 10.0, np.exp(3.0) - 1.0 - 3.0),
            (-1.0, verl_peer.loss(rows, number(-1.0), dual=1e12), (), np.exp(20.0), np.exp(21.0))):
        (slope,) = torch.autograd.grad(theirs, rows.log_prob)
        assert (theirs.item(), slope.item()) == (pytest.approx(bound), 0.0)
        ours = ls.tokens.loss(scheme_of(surrogates.PPOClip(), agg.TokenMean(), penalties=terms), batch(rows),
                              advantages=[credit])
        assert ours.loss == pytest.approx(free)
        assert ours.gradient.item() != 0.0


@pytest.mark.parametrize(("level", "threshold", "bounds"), [
    ("token", 1.3, {"high": 1.3}), ("sequence", 1.3, {"high": 1.3}),
    ("token", "0.8_1.3", {"low": 0.8, "high": 1.3, "outside": "zero"}),
    ("sequence", "0.2_5.0", {"low": 0.2, "high": 5.0, "outside": "zero"})])
def test_rollout_weights(level: str, threshold: float | str, bounds: dict[str, Any]) -> None:
    """TIS and IcePop: the weights, and the loss they weigh."""
    scheme = scheme_of(surrogates.PPOClip(), agg.TokenMean(),
                       penalties=(penalties.KL(coefficient=0.2, estimator="k3"),))
    for seed in SEEDS:
        rows = draw(seed, off_policy=bool(seed % 2))
        credit, ours = credit_of(rows, seed), batch(rows)
        theirs = verl_peer.rollout_weights(rows, level, threshold)
        weight = ls.tokens.importance_weights(ours, level=level, **bounds)  # type: ignore[arg-type]
        same(weight, theirs.numpy(), case=seed)
        loss = verl_peer.loss(rows, credit, kl=("k3", 0.2), weight=theirs)
        compare(ls.tokens.loss(scheme, ours, advantages=credit.numpy(), weight=weight), loss, rows, case=seed)


RECIPES: dict[str, tuple[ls.Scheme, str, dict[str, Any], dict[str, Any], float]] = {
    "grpo": (ls.schemes.grpo(kl=0.1), "grpo", {}, {"aggregation": "seq-mean-token-mean", "kl": ("k3", 0.1)}, BESSEL),
    "dr_grpo": (scheme_of(surrogates.PPOClip(), agg.ConstantNormalizer(constant=9.0),
                          advantage=adv.GroupMean(group_of_one="raw")), "grpo", {"std": False},
                {"aggregation": "seq-mean-token-sum-norm", "constant": 9}, 1e-10),
    "ppo": (ls.schemes.ppo(whiten=True), "gae", {"gae_lambda": 0.95}, {"aggregation": "seq-mean-token-mean"}, BESSEL),
    "dapo": (replace(ls.schemes.dapo(), dynamic_sampling="none"), "grpo", {}, {"high": 0.28}, BESSEL),
    "gspo": (ls.schemes.gspo(), "grpo", {}, {"mode": "gspo", "low": 3e-4, "high": 4e-4,
                                             "aggregation": "seq-mean-token-mean"}, BESSEL),
    "rloo, masked": (replace(ls.schemes.rloo(), advantage=adv.LeaveOneOut(group_of_one="raw"), truncation="mask"),
                     "rloo", {}, {"mode": "gpg", "aggregation": "seq-mean-token-sum"}, 1e-10),
    "opo, masked": (scheme_of(surrogates.PPOClip(), agg.TokenMean(), advantage=adv.OPO(group_of_one="raw"),
                              truncation="mask"), "opo", {}, {}, 1e-10),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes(name: str) -> None:
    """From rewards to the gradient; truncated responses leave the loss after the advantages are known."""
    scheme, estimator, of_advantage, of_loss, rtol = RECIPES[name]
    for seed in SEEDS:
        rows = draw(seed, empty=name != "opo, masked")
        trained = masked(rows) if scheme.truncation == "mask" else rows
        if not trained.mask.any():
            continue  # verl divides 0 by 0
        credit = verl_peer.advantages(seen_by_verl(rows), estimator, **of_advantage)
        ours = ls.tokens.loss(scheme, batch(rows))
        same(ours.advantages, (credit * trained.mask).numpy(), rtol=rtol, case=seed)
        compare(ours, verl_peer.loss(trained, credit, **of_loss), rows, rtol=rtol, case=seed)


@pytest.mark.parametrize("weights", [None, (1.0, 0.5, 2.0)])
def test_gdpo(weights: tuple[float, ...] | None) -> None:
    """Each reward standardised in its group, the sum whitened over tokens; verl takes the rewards as float32."""
    for seed in SEEDS:
        rows = draw(seed, gaps=False, empty=False)
        rewards = np.random.default_rng(seed).integers(0, 3, size=(len(rows.group), 3)).astype(np.float64)
        theirs = verl_peer.gdpo(rows, torch.from_numpy(rewards), weights)
        ours = ls.tokens.gdpo(rewards, batch(rows), weights=weights)
        same(ours, theirs.numpy(), rtol=1e-5, case=seed)
