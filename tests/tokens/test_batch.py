"""Padded batches: plain loops, invariances, small functions, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lossim as ls
from lossim import advantages, aggregation, critics, penalties, schemes, surrogates, tokens

RULES = (aggregation.SequenceMeanTokenMean(), aggregation.SequenceMeanTokenSum(counting="kept"), aggregation.TokenSum(),
         aggregation.ConstantNormalizer(constant=7.0), aggregation.TokenMean(), aggregation.TokenMean(scope="group"),
         aggregation.LengthPower(alpha=0.5, constant=3.0))


GOOD: dict[str, Any] = dict(mask=[[1, 1], [1, 0]], reward=[1.0, 0.0], group=[0, 0], log_prob=-np.ones((2, 2)))


def random_batch(seed: int, *, rows: int = 7, width: int = 6, gaps: bool = False, **more: Any) -> dict[str, Any]:
    """Arguments of a batch: ragged groups, a row without tokens, garbage outside the mask."""
    rng = np.random.default_rng(seed)
    length = rng.integers(1, width + 1, size=rows)
    length[rng.integers(rows)] = 0
    mask = np.arange(width) < length[:, None]
    if gaps:
        mask &= rng.random(mask.shape) < 0.7

    def column(scale: float) -> np.ndarray:
        return np.where(mask, -scale * rng.random(mask.shape), np.nan)

    base = column(2.0)
    return dict(mask=mask, reward=rng.normal(size=rows).round(1), group=rng.integers(0, 3, size=rows),
                log_prob=base, old_log_prob=np.minimum(base + rng.normal(scale=0.3, size=mask.shape), 0.0),
                reference_log_prob=column(2.0), rollout_log_prob=column(2.0), values=rng.normal(size=(rows, width + 1)),
                truncated=length == width, max_tokens=width) | more


def plain_gae(batch: tokens.Batch, gamma: float, lam: Any, bootstrap: bool) -> np.ndarray:
    """Token by token, from the last one of the mask."""
    result = np.zeros(batch.mask.shape)
    for i, mask in enumerate(batch.mask):
        places = np.flatnonzero(mask)
        decay = max(0.0, 1 - 1 / max(lam.alpha * len(places), 1)) if len(places) and not isinstance(lam, float) else lam
        ahead = value_ahead = 0.0
        if bootstrap and batch.truncated[i] and len(places):
            value_ahead = batch.values[i, places[-1] + 1]
        for t in places[::-1]:
            delta = batch.token_reward[i, t] + gamma * value_ahead - batch.values[i, t]
            ahead = delta + gamma * decay * ahead
            value_ahead, result[i, t] = batch.values[i, t], ahead
    return result


@given(seed=st.integers(0, 2**32 - 1), gamma=st.sampled_from([0.0, 0.9, 1.0]), gaps=st.booleans(),
       lam=st.sampled_from([0.0, 0.95, 1.0, advantages.LengthAdaptive(alpha=0.4)]), bootstrap=st.booleans())
def test_gae_is_the_recurrence(seed: int, gamma: float, gaps: bool, lam: Any, bootstrap: bool) -> None:
    batch = tokens.Batch(**random_batch(seed, gaps=gaps))
    given = advantages.GAE(gamma=gamma, gae_lambda=lam, bootstrap_truncated=bootstrap)
    np.testing.assert_allclose(tokens.advantages(given, batch), plain_gae(batch, gamma, lam, bootstrap), atol=1e-13)


def test_gae_of_many_responses_is_that_of_each() -> None:
    """More numbers than one block holds."""
    arguments = random_batch(0, rows=300, width=700, gaps=True)
    whole = tokens.advantages(advantages.GAE(gae_lambda=0.9), tokens.Batch(**arguments))
    for i in (0, 93, 94, 299):
        row = {name: value if name == "max_tokens" else value[i:i + 1] for name, value in arguments.items()}
        np.testing.assert_allclose(tokens.advantages(advantages.GAE(gae_lambda=0.9), tokens.Batch(**row)),
                                   whole[i:i + 1], atol=1e-13)


SCHEMES = (
    *(ls.Scheme(advantage=advantages.GroupStandardized(), aggregation=rule, surrogate=surrogates.PPOClip(dual=1.5),
                penalties=(penalties.KL(coefficient=0.1, estimator="k3"),)) for rule in RULES),
    *(ls.Scheme(advantage=advantages.LeaveOneOut(), aggregation=RULES[0], surrogate=surrogate) for surrogate in (
        surrogates.ImportanceWeight(), surrogates.SAPO(), surrogates.GSPO(low=0.1, high=0.2),
        surrogates.GMPO(low=0.2, high=0.2), surrogates.OffPolicyMask(inner=surrogates.SAPO(), threshold=0.1))),
    *(ls.Scheme(advantage=advantages.GroupMean(), aggregation=RULES[0], penalties=(
        penalties.KL(coefficient=0.3, estimator=estimator, gradient=gradient, to=to),))
      for estimator, gradient, to in (("k1", "own", "reference"), ("k2", "own", "old"), ("abs", "own", "reference"),
                                      ("k3", "bias_corrected", "reference"), ("k1", "bias_corrected", "reference"))))


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_gradient_is_the_derivative_of_the_loss(scheme: ls.Scheme) -> None:
    """Central differences, with advantages held fixed; the ratio of GSPO and GMPO is a whole response's."""
    arguments = random_batch(3)
    held = tokens.advantages(scheme, tokens.Batch(**arguments))
    result = tokens.loss(scheme, tokens.Batch(**arguments), advantages=held)
    step, at = 1e-6, np.argwhere(arguments["mask"])
    for row, column in at:
        sides = []
        for sign in (+1, -1):
            moved = arguments["log_prob"].copy()
            moved[row, column] += sign * step
            sides.append(tokens.loss(scheme, tokens.Batch(**arguments | {"log_prob": moved}), advantages=held).loss)
        slope = (sides[0] - sides[1]) / (2 * step)
        assert result.gradient[row, column] == pytest.approx(slope, rel=1e-5, abs=1e-8)
    assert np.count_nonzero(result.gradient) > 5


@pytest.mark.parametrize("surrogate", [surrogates.PolicyGradient(), surrogates.CISPO(low=0.2, high=0.2),
                                       surrogates.TOPR(), surrogates.VESPO()], ids=repr)
def test_a_weight_is_held_fixed(surrogate: surrogates.Surrogate) -> None:
    """Where the ratio is a weight the loss is linear in log π, with the gradient as its coefficients."""
    scheme = ls.Scheme(advantage=advantages.GroupMean(), aggregation=RULES[4], surrogate=surrogate)
    batch = tokens.Batch(**random_batch(5))
    result = tokens.loss(scheme, batch)
    assert result.loss == pytest.approx(float((result.gradient * batch.log_prob).sum()), rel=1e-12)


@pytest.mark.parametrize("scheme", [*SCHEMES, schemes.reinforce_plus_plus(), schemes.ppo(whiten=True), schemes.vapo()],
                         ids=str)
def test_order_padding_and_names_of_prompts_do_not_matter(scheme: ls.Scheme) -> None:
    arguments = random_batch(8)
    result = tokens.loss(scheme, tokens.Batch(**arguments))
    order = np.random.default_rng(0).permutation(len(arguments["mask"]))
    names = np.array(["b", "c", "a"])[arguments["group"]]
    changed = {}
    for name, value in (arguments | {"group": names}).items():
        column = value if name == "max_tokens" else value[order]
        if name != "max_tokens" and np.ndim(column) == 2:
            filler = False if name == "mask" else np.nan if name != "values" else 9.0
            column = np.pad(column, ((0, 0), (0, 3)), constant_values=filler)
        changed[name] = column
    again = tokens.loss(scheme, tokens.Batch(**changed))
    assert again.loss == pytest.approx(result.loss, rel=1e-12, abs=1e-15)
    np.testing.assert_allclose(again.gradient[:, :-3], result.gradient[order], rtol=1e-11, atol=1e-15)
    np.testing.assert_array_equal(again.gradient[:, -3:], 0.0)


def test_importance_weights() -> None:
    batch = tokens.Batch(**random_batch(11))
    ratio = np.exp(batch.old_log_prob - batch.rollout_log_prob)
    for i, mask in enumerate(batch.mask):
        own = ratio[i, mask]
        levels = {"token": own, "sequence": np.full(len(own), np.prod(own)),
                  "geometric": np.full(len(own), np.prod(own) ** (1 / max(len(own), 1)))}
        for level, rho in levels.items():
            clipped = tokens.importance_weights(batch, level=level, low=0.5, high=1.5)[i, mask]
            np.testing.assert_allclose(clipped, np.clip(rho, 0.5, 1.5), rtol=1e-12)
            masked = tokens.importance_weights(batch, level=level, low=0.5, high=1.5, outside="zero")[i, mask]
            np.testing.assert_allclose(masked, np.where((rho >= 0.5) & (rho <= 1.5), rho, 0.0), rtol=1e-12)
    assert (tokens.importance_weights(batch)[~batch.mask] == 0).all()


def test_a_weight_scales_the_policy_term_alone() -> None:
    scheme, arguments = SCHEMES[0], random_batch(12)
    batch = tokens.Batch(**arguments)
    weight = tokens.importance_weights(batch)
    one, two = tokens.loss(scheme, batch), tokens.loss(scheme, batch, weight=weight)
    assert two.terms["kl"] == one.terms["kl"]
    kl_only = tokens.loss(scheme, batch, weight=np.zeros_like(weight))
    np.testing.assert_allclose(two.gradient, kl_only.gradient + weight * (one.gradient - kl_only.gradient), atol=1e-15)
    np.testing.assert_array_equal(two.weights, one.weights)


@pytest.mark.parametrize("divergence", ["tv", "kl"])
def test_dppo_mask(divergence: str) -> None:
    batch = tokens.Batch(**random_batch(13, rows=40))
    credit = np.random.default_rng(0).normal(size=batch.mask.shape)
    kept = tokens.dppo_mask(batch, credit, low=0.1, high=0.05, divergence=divergence)
    for i, t in np.ndindex(batch.mask.shape):
        p, q = math.exp(batch.log_prob[i, t]), math.exp(batch.old_log_prob[i, t])
        if divergence == "tv":
            expected = p - q <= 0.05 if credit[i, t] > 0 else q - p <= 0.1
        else:
            apart = q * math.log(q / p) + (1 - q) * math.log((1 - q + 1e-8) / (1 - p + 1e-8))
            back, bound = (p <= q, 0.05) if credit[i, t] > 0 else (p >= q, 0.1)
            expected = apart <= bound or back
        assert kept[i, t] == float(batch.mask[i, t] and expected)
    assert 0 < kept.sum() < batch.mask.sum()


@pytest.mark.parametrize("over", ["tokens", "responses"])
def test_gdpo(over: str) -> None:
    batch = tokens.Batch(**random_batch(14))
    rewards, weights = np.random.default_rng(1).normal(size=(7, 2)), np.array([1.0, 0.3])
    score = np.zeros(7)
    for group in range(batch.group.max() + 1):
        mine = batch.group == group
        for component, weight in zip(rewards.T, weights, strict=True):
            own = component[mine]
            standard = own.std(ddof=1) + 1e-6 if len(own) > 1 else 1 + 1e-6
            score[mine] += weight * ((own - own.mean()) if len(own) > 1 else own) / standard
    if over == "responses":
        score = (score - score.mean()) / (score.std(ddof=1) + 1e-6)
    else:
        every = np.repeat(score, batch.mask.sum(axis=1))
        score = (score - every.mean()) / np.sqrt(every.var(ddof=1) + 1e-8)
    result = tokens.gdpo(rewards, batch, weights=weights, over=over)
    np.testing.assert_allclose(result, np.where(batch.mask, score[:, None], 0.0), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("scheme", [schemes.ppo(), schemes.grpo(), schemes.dapo(), schemes.reinforce_plus_plus(),
                                    schemes.opo(), schemes.delta_l(), schemes.gspo(), schemes.gmpo(),
                                    schemes.rloo(), schemes.vapo()], ids=str)
@pytest.mark.parametrize("mask", [[[1]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]], ids=["one token", "no token", "equal"])
def test_small_and_empty_batches_have_finite_losses(scheme: ls.Scheme, mask: list[list[int]]) -> None:
    rows = len(mask)
    batch = tokens.Batch(mask=mask, log_prob=-np.ones(np.shape(mask)), reward=np.zeros(rows), group=np.zeros(rows),
                         max_tokens=2)
    result = tokens.loss(scheme, batch)
    assert result.loss == 0.0
    np.testing.assert_array_equal(result.gradient, 0.0)


def test_a_fully_masked_response_counts_in_the_baseline_of_its_group() -> None:
    batch = tokens.Batch(mask=[[1, 1], [0, 0]], reward=[1.0, 0.0], group=[0, 0])
    np.testing.assert_allclose(tokens.advantages(advantages.GroupMean(), batch), [[0.5, 0.5], [0.0, 0.0]])


def test_kl_in_the_reward_is_paid_token_by_token() -> None:
    """To a response-level estimator as its sum, to GAE where it falls."""
    arguments = random_batch(15)
    kl = penalties.KL(coefficient=0.2, place="reward")
    batch = tokens.Batch(**arguments)
    price = 0.2 * (batch.old_log_prob - batch.reference_log_prob)
    paid = tokens.Batch(**arguments | {"reward": batch.token_reward - price})
    for estimator in (advantages.Raw(), advantages.LeaveOneOut(), advantages.GAE(gae_lambda=0.9)):
        scheme = ls.Scheme(advantage=estimator, aggregation=RULES[0], penalties=(kl,))
        held = arguments["mask"].any(axis=1)
        unpaid = tokens.Batch(**arguments | {"reward": batch.token_reward})
        np.testing.assert_allclose(tokens.advantages(scheme, unpaid)[held], tokens.advantages(estimator, paid)[held],
                                   atol=1e-13)


def test_a_fixed_baseline_reaches_through_wrappers() -> None:
    estimator = advantages.PositiveOnly(inner=advantages.Raw(baseline=0.5))
    arguments: dict[str, Any] = dict(mask=[[1, 1], [1, 0]], reward=[1.0, 0.2], group=[0, 0])
    np.testing.assert_allclose(tokens.advantages(estimator, tokens.Batch(**arguments)), [[0.5, 0.5], [0.0, 0.0]])
    given = tokens.Batch(**arguments, baseline=[0.9, 0.1])
    np.testing.assert_allclose(tokens.advantages(estimator, given), [[0.1, 0.1], [0.1, 0.0]])


def test_whitening_far_from_zero() -> None:
    """A small spread on a large offset is no rounding where it is summed from differences."""
    near, far = (tokens.Batch(mask=[[1, 1], [1, 0]], reward=[offset, offset + 1.0], group=[0, 1])
                 for offset in (0.0, 1e7))
    whitened = advantages.Whitened(inner=advantages.Raw())
    np.testing.assert_allclose(tokens.advantages(whitened, far), tokens.advantages(whitened, near), rtol=1e-7)


@pytest.mark.parametrize("surrogate", [surrogates.ImportanceWeight(), surrogates.PPOClip(dual=3.0), surrogates.SAPO(),
                                       surrogates.GSPO(), surrogates.GMPO(), surrogates.CISPO(), surrogates.TOPR(),
                                       surrogates.VESPO()], ids=repr)
@pytest.mark.parametrize("reward", [-1.0, 0.0, 1.0])
def test_ratios_that_overflow_leave_finite_losses(surrogate: surrogates.Surrogate, reward: float) -> None:
    scheme = ls.Scheme(advantage=advantages.Raw(), aggregation=RULES[0], surrogate=surrogate)
    for one, other in ((0.0, -2000.0), (-2000.0, 0.0)):
        batch = tokens.Batch(mask=[[1]], reward=[reward], group=[0], log_prob=[[one]], old_log_prob=[[other]])
        result = tokens.loss(scheme, batch)
        assert np.isfinite(result.loss)
        assert np.isfinite(result.gradient).all()


def test_a_batch_can_be_changed_by_replace_and_not_in_place() -> None:
    batch = tokens.Batch(**GOOD)
    moved = replace(batch, log_prob=-2.0 * np.ones((2, 2)))
    assert moved.log_prob[0, 0] == -2.0
    np.testing.assert_array_equal(moved.total, batch.total)
    for name in ("mask", "reward", "group", "log_prob"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(batch, name)[0] = 0
    result = tokens.loss(schemes.grpo(), batch)
    result.mask[0, 0] = False  # the result's own
    assert batch.mask[0, 0]


def test_rounding_above_zero_is_zero() -> None:
    batch = tokens.Batch(**GOOD | {"log_prob": [[1e-9, -1.0], [-1.0, math.nan]]})
    assert batch.log_prob.max() == 0.0




@pytest.mark.parametrize(("bad", "words"), [
    (dict(mask=[1, 1]), "mask"), (dict(mask=np.zeros((0, 3))), "mask"), (dict(mask=[[1, 2], [1, 0]]), r"mask\[0, 1\]"),
    (dict(reward=[1.0]), "reward"), (dict(reward=[1.0, math.nan]), r"reward\[1\]"),
    (dict(reward=[[1.0, math.inf], [0.0, 0.0]]), r"reward\[0, 1\].*inside the mask"),
    (dict(group=[0]), "group"), (dict(group=[0.0, math.nan]), "group"),
    (dict(log_prob=-np.ones((2, 3))), "log_prob"), (dict(log_prob=np.ones((2, 2))), r"log_prob\[0, 0\].*at most 0"),
    (dict(log_prob=[[-1.0, -math.inf], [-1.0, 0.0]]), r"log_prob\[0, 1\].*finite"),
    (dict(values=np.ones((2, 4))), "values"), (dict(truncated=[True]), "truncated"), (dict(baseline=[1.0]), "baseline"),
    (dict(max_tokens=0), "max_tokens"), (dict(max_tokens=1), "at least 2, the length of the longest response"),
    (dict(mask=[[1, 1], [1]]), "rows of one length"), (dict(log_prob=[[-1.0], [-1.0, -1.0]]), "rows of one length"),
    (dict(reward=[[1.0, 0.0], [0.0, 1.0]]), r"reward\[1, 1\].*0 outside the mask"),
    (dict(truncated=[3, 4]), r"truncated\[0\].*0 or 1"), (dict(group=[None, None]), "numbers or strings"),
    (dict(group=["1", 1]), "one kind"), (dict(reward=["x"] * 500), r"\.\.\.")])
def test_bad_batches(bad: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        tokens.Batch(**GOOD | bad)


@pytest.mark.parametrize(("call", "words"), [
    (lambda b: tokens.loss(schemes.grpo(kl=0.1), b), "reference_log_prob"),
    (lambda b: tokens.loss(replace(schemes.grpo(), truncation="mask"), b), "truncated"),
    (lambda b: tokens.loss(replace(schemes.grpo(), penalties=(penalties.Entropy(coefficient=0.1),)), b), "vocabulary"),
    (lambda b: tokens.loss("grpo", b), "Scheme"), (lambda b: tokens.advantages("grpo", b), "estimator"),
    (lambda b: tokens.advantages(advantages.GAE(critic=critics.Exact()), b), "values"),
    (lambda b: tokens.advantages(advantages.GAE(bootstrap_truncated=True),
                                 tokens.Batch(**GOOD, values=np.ones((2, 2)))), "one more column"),
    (lambda b: tokens.advantages(advantages.Raw(baseline=(0.1, 0.2)), b), "baseline"),
    (lambda b: tokens.loss(schemes.grpo(), b, advantages=[1.0]), "advantages"),
    (lambda b: tokens.loss(schemes.grpo(), b, weight=np.full((2, 2), np.nan)), "weight"),
    (lambda b: tokens.loss(schemes.grpo(), tokens.Batch(mask=[[1]], reward=[1.0], group=[0])), "log_prob"),
    (lambda b: tokens.loss(schemes.dr_grpo(), b), "max_tokens"),
    (lambda b: tokens.loss(schemes.grpo(), {}), "tokens.Batch"),
    (lambda b: tokens.loss(schemes.rloo(kl=0.1), b, advantages=[1.0, -1.0]), "must not act on rewards"),
    (lambda b: tokens.loss(replace(schemes.grpo(), dynamic_sampling="drop"), b, advantages=[1.0, -1.0]), "not act"),
    (lambda b: tokens.importance_weights(b), "rollout_log_prob"),
    (lambda b: tokens.importance_weights(tokens.Batch(**GOOD, rollout_log_prob=-np.ones((2, 2))), low=3.0),
     r"at least low \(3\)"),
    (lambda b: tokens.importance_weights(tokens.Batch(**GOOD, rollout_log_prob=-np.ones((2, 2))), level="tokn"),
     "did you mean 'token'"),
    (lambda b: tokens.dppo_mask(b, [1.0, 1.0]), "old_log_prob"),
    (lambda b: tokens.gdpo([1.0, 2.0], b), "rewards"),
    (lambda b: tokens.gdpo([[1.0], [2.0]], b, weights=[1, 2]), "weights"),
])
def test_what_is_missing_is_named(call: Any, words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        call(tokens.Batch(**GOOD))


@pytest.mark.parametrize("bootstrap", [False, True])
def test_values_in_a_gap_are_never_read(bootstrap: bool) -> None:
    """NaN at a tool's tokens, with a value behind the last token or without; only what is read has to be finite."""
    mask = np.array([[1, 0, 1, 0], [1, 1, 0, 1], [0, 0, 0, 0]])
    behind = [[0.1, np.nan, 0.2, 0.3, np.nan], [0.1, 0.2, np.nan, 0.3, 0.4], [np.nan] * 5]
    given: dict[str, Any] = dict(mask=mask, reward=[1.0, 0.0, 1.0], group=[0, 0, 0], truncated=[True, True, False])
    gae = advantages.GAE(gae_lambda=0.5, gamma=0.9, bootstrap_truncated=bootstrap)
    found = tokens.advantages(gae, tokens.Batch(values=behind, **given))
    # Token by token, past the gaps.
    expected = np.zeros(mask.shape)
    for row, (places, after) in enumerate((([0, 2], 0.3), ([0, 1, 3], 0.4))):
        value = [*(behind[row][t] for t in places), after if bootstrap else 0.0]
        credit = 0.0
        for i in reversed(range(len(places))):
            paid = given["reward"][row] if i == len(places) - 1 else 0.0
            credit = paid + 0.9 * value[i + 1] - value[i] + 0.45 * credit
            expected[row, places[i]] = credit
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    if not bootstrap:
        filled = np.nan_to_num(np.array(behind)[:, :4], nan=7.0)
        np.testing.assert_array_equal(found, tokens.advantages(gae, tokens.Batch(values=filled, **given)))
    for row, column in ((0, 2), (0, 3), (1, 4)):
        bad = np.array(behind)
        bad[row, column] = np.inf
        with pytest.raises(ValueError, match=rf"values\[{row}, {column}\].*finite"):
            tokens.Batch(values=bad, **given)
