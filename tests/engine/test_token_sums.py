"""Sums of coefficients by token: over all outcomes at once as outcome by outcome, and GAE's as a loop adds them up."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls
from batches import gae_errors, step_of
from examples import two_paths
from lossim._engine.exact import expected_measures, token_measures
from lossim._engine.gae import gae_sums
from lossim._engine.gradients import token_sums
from lossim.penalties import KL, Entropy

GAE = ls.schemes.ppo(gae_lambda=0.9, critic=ls.critics.Constant(value=0.4))
WORKS = ls.Policy([ls.PromptClass("a", weight=1.0, paths=[
    ls.Path("direct", probability=0.4, length=ls.lengths.geometric(mean=9), p_correct=0.6),
    ls.Path("thinks", probability=0.6, length=ls.lengths.lognormal(median=14, sigma=0.6), p_correct=0.1,
            work=ls.Work(answer=ls.lengths.geometric(mean=8), never=0.2, done=ls.lengths.geometric(mean=5)))])],
    max_tokens=24)
PENALISED = (KL(coefficient=0.1, estimator="k2"), Entropy(coefficient=0.01))


@pytest.mark.parametrize("scheme", [
    ls.schemes.dr_grpo(), replace(ls.schemes.grpo(), penalties=PENALISED), GAE, replace(GAE, penalties=PENALISED),
    replace(GAE, penalties=(KL(coefficient=0.1, place="reward"),), truncation="mask"),
    replace(GAE, advantage=replace(GAE.advantage, gae_lambda=ls.advantages.LengthAdaptive(alpha=0.1))),
    replace(GAE, advantage=ls.advantages.Whitened(inner=GAE.advantage))], ids=lambda scheme: repr(scheme)[:40])
def test_all_outcomes_at_once(scheme: ls.Scheme) -> None:
    """Where nobody asks for outcomes, the sums over all of them are those of the three added up."""
    moved = WORKS.moved(0.3 * np.random.default_rng(0).standard_normal(WORKS.motion.size))
    for old in (WORKS, moved):
        step = step_of(scheme, WORKS, reference=moved, old=old)
        measures = expected_measures(step).measures
        together = token_sums(step, measures, apart=False).present
        for (term, whole), (same, apart) in zip(together, token_sums(step, measures).present, strict=True):
            assert term == same
            for name in ("stop", "go"):
                sums = getattr(apart, name).sum(axis=1)
                np.testing.assert_allclose(getattr(whole, name).sum(axis=1), sums, rtol=1e-12,
                                           atol=1e-14 * np.abs(sums).max())


def test_rules_of_another_step_are_taken_where_they_are_the_same() -> None:
    """What a scheme says of ends is handed on to steps on other policies, and never to other rewards."""
    step = step_of(ls.schemes.grpo(), WORKS)
    moved = replace(step.policy, logits=step.policy.logits - 0.1)
    later = replace(step, policy=moved, old=moved, known=step.rules)
    assert later.rules is step.rules
    for other in (ls.schemes.grpo(reward=ls.Reward(correct=2.0)), replace(ls.schemes.grpo(), truncation="remove")):
        found = replace(later, scheme=other)
        expected = step_of(other, WORKS)
        np.testing.assert_array_equal(found.task, expected.task)
        np.testing.assert_array_equal(found.in_baseline, expected.in_baseline)
        assert found.rules is not step.rules


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.sampled_from([0.0, 0.5, 0.95, 1.0]), st.integers(0, 2**32 - 1))
def test_gae_by_a_plain_loop(max_tokens: int, gae_lambda: float, seed: int) -> None:
    """Σ over responses of weight · Â_t, each Â_t by its definition, of any weights: signs and zeros among them."""
    rng = np.random.default_rng(seed)
    table = rng.standard_normal((1, max_tokens + 1))
    policy = two_paths(max_tokens=max_tokens)
    step = step_of(ls.schemes.ppo(gae_lambda=gae_lambda, critic=ls.critics.Table(table=table)), policy)
    weight = rng.standard_normal(step.policy.law.shape) * rng.integers(0, 2, step.policy.law.shape)
    errors = gae_errors(step)
    stop = np.zeros((len(weight), max_tokens))
    go = np.zeros_like(stop)
    for cell, grade, end in np.ndindex(weight.shape):
        final = min(end, max_tokens - 1)
        error = [*errors.going[cell, :final], errors.last[cell, grade, end]]
        for t in range(final + 1):
            advantage = sum(gae_lambda ** (u - t) * error[u] for u in range(t, final + 1))
            (stop if t == end else go)[cell, t] += weight[cell, grade, end] * advantage
    for apart in (True, False):
        found = gae_sums(step, token_measures(step, weight), apart=apart)
        np.testing.assert_allclose(found.stop.sum(axis=1), stop, rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(found.go.sum(axis=1), go, rtol=1e-11, atol=1e-11)
