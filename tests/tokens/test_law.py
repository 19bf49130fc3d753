"""The token level against the plain reference: a drawn batch, written as padded tokens, moves the logits the same."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import lossim as ls
import reference as ref
import translate
from batches import as_batch, drawn, step_of
from lossim.advantages import GAE, Raw, Whitened
from lossim.policies import Draws
from tables import KINDS, OLD_PENALTIES, RULES, SAMPLINGS, SURROGATES, TRUNCATIONS, setup


def log_probs(policy: ls.Policy, draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """log π of each token [response, t] of one batch, the path's at the first, and which tokens there are."""
    cell, end = draws.cell[0].ravel(), draws.end[0].ravel()
    t = np.arange(policy.max_tokens)
    mask = t < policy.length[end][:, None]
    with np.errstate(divide="ignore"):
        path = np.log(policy.probability)[cell]
    log_prob = np.where(t == end[:, None], policy.log_stop[cell], policy.log_stay[cell])
    log_prob[:, 0] += path
    return np.where(mask, log_prob, 0.0), mask


def as_tokens(scheme: ls.Scheme, draws: Draws, policy: ls.Policy, reference: ls.Policy, old: ls.Policy
              ) -> ls.tokens.Batch:
    """One sampled batch as a trainer holds it."""
    shape = draws.cell[0].shape
    cell, end = draws.cell[0].ravel(), draws.end[0].ravel()
    log_prob, mask = log_probs(policy, draws)
    advantage, values, baseline = scheme.advantage, None, None
    if isinstance(advantage, Whitened):
        advantage = advantage.inner
    if isinstance(advantage, GAE):
        values = advantage.critic.table[cell].copy()
        first = np.bincount(policy.class_of_cell, weights=old.probability * advantage.critic.table[:, 0])
        values[:, 0] = first[policy.class_of_cell[cell]]
    if isinstance(advantage, Raw) and isinstance(advantage.baseline, tuple):
        baseline = np.array(advantage.baseline)[policy.class_of_cell[cell]]
    truncated = end == policy.max_tokens
    return ls.tokens.Batch(
        mask=mask, reward=scheme.reward.values(policy.length[end], draws.grade[0].ravel() == 0, truncated),
        group=np.repeat(np.arange(shape[0]), shape[1]), log_prob=log_prob,
        old_log_prob=None if old is policy else log_probs(old, draws)[0],
        reference_log_prob=log_probs(reference, draws)[0], values=values, truncated=truncated,
        baseline=baseline, max_tokens=policy.max_tokens)


def update(policy: ls.Policy, draws: Draws, gradient: np.ndarray) -> np.ndarray:
    """Minus the gradient of a loss in the log probabilities, carried on to the logits of hazards and paths."""
    cell, end = draws.cell[0].ravel(), draws.end[0].ravel()
    t = np.arange(policy.max_tokens)
    mask = t < policy.length[end][:, None]
    score = np.where(t == end[:, None], policy.stay[cell], -policy.hazard[cell]) * mask
    stops = np.zeros_like(policy.logits)
    np.add.at(stops, cell, -gradient * score)
    paths = np.zeros(len(policy.paths))
    for first, own in zip(-gradient[:, 0], cell, strict=True):
        mates = policy.class_of_cell == policy.class_of_cell[own]
        paths[mates] -= first * policy.probability[mates]
        paths[own] += first
    return np.concatenate([stops.ravel(), paths])


def check(world: ref.World, scheme: ls.Scheme, setting: ref.Setting, policies: dict[str, ls.Policy],
          rng: np.random.Generator, label: str) -> None:
    draws, policy = drawn(step_of(scheme, **policies), rng), policies["policy"]
    result = ls.tokens.loss(scheme, as_tokens(scheme, draws, **policies))
    truth = translate.flat(world, ref.batch_update(world, setting, as_batch(policy, draws)))
    np.testing.assert_allclose(update(policy, draws, result.gradient), truth, rtol=1e-10,
                               atol=1e-10 * max(1.0, np.abs(truth).max()), err_msg=label)
    assert result.loss == pytest.approx(sum(result.terms.values()), rel=1e-12)
    assert (result.gradient[~result.mask] == 0).all()


NO_VOCABULARY = [penalty for penalty in OLD_PENALTIES if penalty not in ("entropy", "all", "reward")]


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("kind", [*KINDS, "maxrl", "pass at k", "gpg", "population whitened gpg"])
def test_gradient_of_a_batch(kind: str, name: str) -> None:
    """Advantage × surrogate × random other slots, on batches of an older policy."""
    if "gae" in kind and name == "gmpo":
        return
    rng = np.random.default_rng(sum(map(ord, kind + name)))
    for seed in range(2):
        rule, truncation, sampling, penalty, paid = (str(rng.choice(options)) for options in (
            RULES, TRUNCATIONS, SAMPLINGS, NO_VOCABULARY, tuple(translate.REWARDS)))
        world, scheme, setting, policies = setup(seed, name, kind=kind, rule=rule, truncation=truncation,
                                                 sampling=sampling, penalty=penalty, paid=paid, max_tokens=4,
                                                 deadline=(3.0, "response") if seed else None,
                                                 group_size=int(rng.integers(2, 5)), prompts=3)
        check(world, scheme, setting, policies, rng, f"{kind} {name} {rule} {truncation} {sampling} {penalty} {paid}")


@pytest.mark.parametrize(("rule", "truncation"), list(itertools.product(RULES, TRUNCATIONS)))
def test_on_policy_with_kl_in_the_reward(rule: str, truncation: str) -> None:
    """No price for content here: a token batch has the log ratios of whole tokens."""
    kl = ls.penalties.KL(coefficient=0.4, place="reward")
    for seed, kind in enumerate(("raw", "leave one out", "gae", "gae adaptive", "standardized", "whitened gae")):
        world = ref.random_world(np.random.default_rng(seed), classes=2, paths=2, max_tokens=4, reference=True)
        scheme, setting = translate.both(world, np.random.default_rng(seed), kind=kind, rule=rule, group_size=3,
                                         truncation=truncation, prompts=2, paid="any shape")
        if rule == "1/T" and kind in ("raw", "leave one out", "standardized"):  # and one that reads signs
            scheme, setting = translate.both(world, np.random.default_rng(seed), kind=kind, rule="balanced",
                                             group_size=3, truncation=truncation, prompts=2, paid="any shape")
        scheme, setting = (translate.replace(scheme, penalties=(kl,)), translate.replace(setting, kl_reward=(0.4, 0.0)))
        policy, reference = translate.policies(world)
        policies = {"policy": policy, "reference": reference, "old": policy}
        check(world, scheme, setting, policies, np.random.default_rng(seed), f"{kind} {rule}")
