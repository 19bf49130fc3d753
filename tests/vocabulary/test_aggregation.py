"""Aggregation: weights of real batches by plain loops, and where one rule reduces to another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lossim as ls
import reference as ref
import translate
from lossim import advantages, aggregation

Array = np.ndarray[Any, np.dtype[np.float64]]
SEEDS = st.integers(0, 2**32 - 1)
CAP = 9

RULES = {
    "1/T": (aggregation.SequenceMeanTokenMean(), "sequence_mean_token_mean", {}),
    "1/T, kept": (aggregation.SequenceMeanTokenMean(counting="kept"), "sequence_mean_token_mean", {"counting": "kept"}),
    "sum": (aggregation.SequenceMeanTokenSum(), "sequence_mean_token_sum", {}),
    "sum, kept": (aggregation.SequenceMeanTokenSum(counting="kept"), "sequence_mean_token_sum", {"counting": "kept"}),
    "constant": (aggregation.ConstantNormalizer(), "constant", {}),
    "constant, kept": (aggregation.ConstantNormalizer(constant=5.0, counting="kept"), "constant",
                       {"constant": 5.0, "counting": "kept"}),
    "token sum": (aggregation.TokenSum(), "token_sum", {}),
    "token mean": (aggregation.TokenMean(), "token_mean_step", {}),
    "token mean, group": (aggregation.TokenMean(scope="group"), "token_mean_group", {}),
    "turns": (aggregation.TurnMean(tokens_per_turn=3), "turns", {"turn": 3}),
    "turns of the step": (aggregation.TurnMean(tokens_per_turn=3, scope="step"), "turns_step", {"turn": 3}),
    "ΔL": (aggregation.LengthPower(), "length_power", {"alpha": 0.75}),
    "ΔL, constant": (aggregation.LengthPower(alpha=0.3, constant=5.0), "length_power", {"alpha": 0.3, "constant": 5.0}),
}


def by_loops(name: str, lengths: Array, in_loss: Array) -> Array:
    """n · weight of each response, one by one."""
    _, rule, fields = RULES[name]
    prompts, size = lengths.shape
    n, kept = lengths.size, [(g, i) for g, i in np.ndindex(*lengths.shape) if in_loss[g, i]]
    count = len(kept) if fields.get("counting") == "kept" else n
    constant, alpha = fields.get("constant", CAP), fields.get("alpha", 0.0)
    weights = np.zeros(lengths.shape)

    def turns(length: float) -> int:
        turn = fields.get("turn", 1)
        return len({t // turn for t in range(int(length))})

    for g, i in kept:
        length = lengths[g, i]
        own_group = sum(lengths[g, k] for k in range(size) if in_loss[g, k])
        weights[g, i] = n * {
            "sequence_mean_token_mean": 1.0 / (count * length),
            "sequence_mean_token_sum": 1.0 / count,
            "constant": 1.0 / (count * constant),
            "token_sum": 1.0,
            "token_mean_step": 1.0 / sum(lengths[at] for at in kept),
            "token_mean_group": 1.0 / (prompts * own_group),
            "turns": 1.0 / (n * turns(length)),
            "turns_step": 1.0 / sum(turns(lengths[at]) for at in kept),
            "length_power": length**-alpha / (constant * sum(lengths[at] ** -alpha for at in kept)),
        }[rule]
    return weights


@settings(max_examples=25)
@pytest.mark.parametrize("name", RULES)
@given(seed=SEEDS, prompts=st.integers(1, 4), size=st.integers(1, 5), kept=st.sampled_from([0.0, 0.3, 1.0]))
def test_weights_of_a_batch_by_plain_loops(name: str, seed: int, prompts: int, size: int, kept: float) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, CAP + 1, size=(prompts, size)).astype(float)
    in_loss = rng.random((prompts, size)) < kept
    weights = RULES[name][0].weights(lengths, in_loss, CAP)
    np.testing.assert_allclose(weights, by_loops(name, lengths, in_loss), rtol=1e-13)


@pytest.mark.parametrize("name", RULES)
def test_many_batches_at_once(name: str) -> None:
    rng = np.random.default_rng(0)
    lengths, in_loss = rng.integers(1, CAP + 1, size=(6, 3, 4)).astype(float), rng.random((6, 3, 4)) < 0.6
    rule = RULES[name][0]
    whole = rule.weights(lengths, in_loss, CAP)
    for batch in range(6):
        np.testing.assert_allclose(whole[batch], rule.weights(lengths[batch], in_loss[batch], CAP), rtol=1e-15)


@pytest.mark.parametrize(("name", "total"), [
    ("1/T", 1.0), ("1/T, kept", 1.0), ("token mean", 1.0), ("token mean, group", 1.0), ("ΔL", None)])
def test_means_have_weights_that_add_up_to_one(name: str, total: float | None) -> None:
    """Over all tokens, divided by n. ΔL: Σ T^-α·T over N·Σ T^-α, the weighted mean length over N."""
    lengths = np.array([[1.0, 4.0, 9.0], [2.0, 2.0, 7.0]])
    weights = RULES[name][0].weights(lengths, np.ones((2, 3), dtype=bool), CAP)
    share = lengths**-0.75 / (lengths**-0.75).sum()
    expected = (share * lengths).sum() / CAP if total is None else total
    assert (weights * lengths).sum() / lengths.size == pytest.approx(expected)


@pytest.mark.parametrize("name", RULES)
def test_a_step_with_nothing_in_the_loss_weighs_nothing(name: str) -> None:
    assert (RULES[name][0].weights(np.ones((2, 3)), np.zeros((2, 3), dtype=bool), CAP) == 0).all()


def test_a_response_is_not_told_apart_from_others_of_its_length() -> None:
    for rule, _, _ in RULES.values():
        weights = rule.weights(np.array([[3.0, 3.0, 5.0]]), np.ones((1, 3), dtype=bool), CAP)
        assert weights[0, 0] == weights[0, 1]


# ---- the trainers' words ----


@pytest.mark.parametrize(("rule", "verl", "trl"), [
    (aggregation.SequenceMeanTokenMean(), "seq-mean-token-mean", "grpo"),
    (aggregation.SequenceMeanTokenSum(), "seq-mean-token-sum", "luspo"),
    (aggregation.ConstantNormalizer(), "seq-mean-token-sum-norm", "dr_grpo"),
    (aggregation.TokenMean(), "token-mean", "dapo")])
def test_words_of_trainers(rule: aggregation.Aggregation, verl: str, trl: str) -> None:
    assert (rule.verl, rule.trl) == (verl, trl)


# ---- where one reduces to another ----


def drift(rule: aggregation.Aggregation, seed: int, **slots: Any) -> Array:
    world = ref.random_world(np.random.default_rng(seed), paths=(2, 1), max_tokens=4)
    policy, _ = translate.policies(world)
    scheme = ls.Scheme(**{"advantage": advantages.GroupStandardized(), "aggregation": rule, "group_size": 3,
                          "prompts_per_step": 2, "reward": ls.Reward(correct=1.0, incorrect=-1.0)} | slots)
    return translate.engine_flat(ls.drift(scheme, policy))


REDUCTIONS = {
    "a constant is the sum over it": (
        aggregation.ConstantNormalizer(constant=7.0), aggregation.SequenceMeanTokenSum(), 1 / 7.0),
    "no constant is max_tokens": (aggregation.ConstantNormalizer(), aggregation.ConstantNormalizer(constant=4.0), 1.0),
    "a sum over the step is n means": (aggregation.TokenSum(), aggregation.SequenceMeanTokenSum(), 6.0),
    "ΔL with α = 0": (aggregation.LengthPower(alpha=0.0, constant=7.0), aggregation.ConstantNormalizer(constant=7.0),
                      1.0),
    "kept, with nothing masked": (aggregation.SequenceMeanTokenMean(counting="kept"),
                                  aggregation.SequenceMeanTokenMean(), 1.0),
}


@settings(max_examples=10)
@pytest.mark.parametrize("name", REDUCTIONS)
@given(seed=SEEDS)
def test_reduces_to(name: str, seed: int) -> None:
    one, other, factor = REDUCTIONS[name]
    np.testing.assert_allclose(drift(one, seed), factor * drift(other, seed), atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_length_power_one_is_near_one_over_length_in_a_large_step(seed: int) -> None:
    """T^-1 over its mean in the step, which a thousand prompts know well: 1/T over E[1/T]."""
    policy, _ = translate.policies(ref.random_world(np.random.default_rng(seed), paths=(2, 1), max_tokens=4))
    per_token = policy.cell_weight @ (policy.ends @ (1.0 / policy.length))
    power = drift(aggregation.LengthPower(alpha=1.0, constant=1.0), seed, prompts_per_step=1000)
    plain = drift(aggregation.SequenceMeanTokenMean(), seed, prompts_per_step=1000) / per_token
    np.testing.assert_allclose(power, plain, atol=2e-3 * np.abs(plain).max())


@pytest.mark.parametrize("seed", range(6))
def test_token_mean_of_a_large_step_is_the_token_sum_over_its_mean(seed: int) -> None:
    policy, _ = translate.policies(ref.random_world(np.random.default_rng(seed), paths=(2, 1), max_tokens=4))
    mean = drift(aggregation.TokenMean(), seed, prompts_per_step=1000)
    plain = drift(aggregation.SequenceMeanTokenSum(), seed, prompts_per_step=1000) / policy.mean_length
    np.testing.assert_allclose(mean, plain, atol=2e-3 * np.abs(plain).max())


@pytest.mark.parametrize("seed", range(6))
def test_masked_responses_that_count_only_shrink_the_step(seed: int) -> None:
    """Fixed baseline, one response a step: "all" weighs a kept response 1 and so does "kept"; and with many, "kept"
    divides by the share that is kept."""
    slots = {"advantage": advantages.Raw(), "truncation": "mask", "group_size": 1}
    policy, _ = translate.policies(ref.random_world(np.random.default_rng(seed), paths=(2, 1), max_tokens=4))
    alone = {counting: drift(aggregation.SequenceMeanTokenSum(counting=counting), seed, prompts_per_step=1, **slots)
             for counting in ("all", "kept")}
    np.testing.assert_allclose(alone["kept"], alone["all"], atol=1e-13)
    many = drift(aggregation.SequenceMeanTokenSum(counting="kept"), seed, prompts_per_step=2000, **slots)
    expected = alone["all"] / (1.0 - policy.truncation_rate)
    np.testing.assert_allclose(many, expected, atol=2e-3 * np.abs(expected).max())
