"""Attribution: Shapley values by axioms and by orders, and shares that are differences of drifts and of audits."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lossim as ls
from lossim import schemes
from lossim._changes.shapley import differing, mixtures, players_of, shapley
from lossim.advantages import GAE, GroupMean
from lossim.aggregation import ConstantNormalizer, TokenMean
from lossim.surrogates import PPOClip

POLICY = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=12),
                               wrong=ls.lengths.geometric(mean=8), max_tokens=48)
GRPO, DR_GRPO = schemes.grpo(group_size=4), schemes.dr_grpo(group_size=4)
DAPO = schemes.dapo(group_size=4, prompts_per_step=64, reward=ls.Reward())
LOG = POLICY.sample(np.random.default_rng(0), prompts=120, group_size=4)
SOME = {"numbers": st.floats(-1e3, 1e3)}


def tokens(scheme: ls.Scheme, policy: ls.Policy = POLICY) -> float:
    return float(ls.drift(scheme, policy).length_per_kl)


def shares(found: ls.Attribution) -> dict[str, float]:
    return {each.name: float(each.length_per_kl) for each in found.shares}


def assert_adds_up(found: ls.Attribution) -> None:
    for first, last, mine in found.legs:
        for unit in ("length_per_kl", "length"):
            total = sum(float(getattr(each, unit)) for each in mine)
            before, after = (float(getattr(each, unit)) for each in (first, last))
            assert abs(total - (after - before)) <= 1e-12 * max(abs(before), abs(after)), unit


# --- the values ---------------------------------------------------------------------------------------------------

games = st.integers(1, 5).flatmap(lambda k: st.lists(SOME["numbers"], min_size=1 << k, max_size=1 << k)).map(np.array)


@given(games)
def test_a_value_is_the_mean_gain_over_all_orders_of_joining(values: np.ndarray) -> None:
    players = len(values).bit_length() - 1
    orders = list(permutations(range(players)))
    gains = np.zeros(players)
    for order in orders:
        coalition = 0
        for player in order:
            gains[player] += values[coalition | 1 << player] - values[coalition]
            coalition |= 1 << player
    np.testing.assert_allclose(shapley(values), gains / len(orders), rtol=1e-12, atol=1e-9)


@given(games)
def test_values_add_up_to_what_all_have_over_none(values: np.ndarray) -> None:
    assert abs(shapley(values).sum() - (values[-1] - values[0])) <= 1e-12 * np.abs(values).max() * len(values)


@given(games, st.data())
def test_a_player_that_changes_nothing_gets_exactly_nothing(values: np.ndarray, data: st.DataObject) -> None:
    player = data.draw(st.integers(0, len(values).bit_length() - 2))
    numbers = np.arange(len(values))
    assert shapley(values[numbers & ~(1 << player)])[player] == 0.0


@given(games.filter(lambda values: len(values) > 2))
def test_players_that_do_the_same_get_the_same(values: np.ndarray) -> None:
    numbers = np.arange(len(values))
    swapped = (numbers & ~3) | (numbers & 1) << 1 | (numbers & 2) >> 1
    first, second, *_ = shapley(values + values[swapped])
    assert first == pytest.approx(second, rel=1e-12, abs=1e-9)


# --- mixtures -----------------------------------------------------------------------------------------------------

EVERY = {name: make(greedy_reward=0.5) if name == "remax" else make() for name, make in schemes.presets().items()}


@pytest.mark.parametrize("name", EVERY)
def test_every_mixture_of_presets_is_a_scheme(name: str) -> None:
    before = EVERY[name]
    for after in EVERY.values():
        slots = differing(before, after)
        players = players_of(before, after, slots)
        assert sorted(slot for player in players for slot in player) == sorted(slots)
        mixed = mixtures(before, after, players)
        assert (mixed[0], mixed[-1]) == (replace(before, name=mixed[0].name), replace(after, name=mixed[-1].name))


def test_slots_that_make_no_scheme_apart_are_taken_together() -> None:
    found = ls.attribute(schemes.ppo(group_size=4), POLICY, relative_to=schemes.gmpo(group_size=4))
    assert [each.slots for each in found.shares] == [("reward",), ("advantage", "surrogate"), ("prompts_per_step",)]
    assert any("advantage and surrogate change together" in note for note in found.notes)
    assert_adds_up(found)
    both = ls.attribute(replace(schemes.grpo(), group_size=1, advantage=ls.advantages.Raw()), POLICY,
                        relative_to=schemes.rloo())
    assert "advantage and group_size" in shares(both)


# --- on a policy --------------------------------------------------------------------------------------------------


def test_two_slots_by_hand() -> None:
    before, after = replace(GRPO, aggregation=TokenMean()), replace(GRPO, advantage=GroupMean(), group_size=8)
    before = replace(before, group_size=8)
    start, end = tokens(before), tokens(after)
    advantage_first = tokens(replace(before, advantage=GroupMean()))
    aggregation_first = tokens(replace(before, aggregation=GRPO.aggregation))
    found = shares(ls.attribute(after, POLICY, relative_to=before))
    assert found == {
        "advantage": pytest.approx(((advantage_first - start) + (end - aggregation_first)) / 2.0, rel=1e-10, abs=1e-10),
        "aggregation": pytest.approx(((aggregation_first - start) + (end - advantage_first)) / 2.0, rel=1e-10)}


def test_one_slot_has_the_whole_difference_under_every_kernel() -> None:
    other = replace(GRPO, aggregation=ConstantNormalizer())
    share, = ls.attribute(other, POLICY, relative_to=GRPO).shares
    one, two = ls.drift(GRPO, POLICY), ls.drift(other, POLICY)
    assert float(share.length_per_kl) == pytest.approx(float(two.length_per_kl) - float(one.length_per_kl), rel=1e-10)
    assert float(share.length) == pytest.approx(float(two.length) - float(one.length), rel=1e-10)
    by_hand = two.doubts[0].lengths - one.doubts[0].lengths
    np.testing.assert_allclose(share.doubts[0].lengths, by_hand, rtol=1e-9, atol=1e-9)
    assert share.range == pytest.approx((by_hand.min(), by_hand.max()))
    assert share.undecided == (by_hand.min() < 0 < by_hand.max())


def test_a_path_goes_leg_by_leg_and_adds_up() -> None:
    found = ls.attribute([DR_GRPO, DAPO], POLICY, relative_to=GRPO)
    assert [each.change for each in found.drifts] == ["grpo", "dr_grpo", "dapo"]
    assert [float(each.length_per_kl) for each in found.drifts] == pytest.approx(
        [tokens(each) for each in (GRPO, DR_GRPO, DAPO)], rel=1e-10)
    assert_adds_up(found)
    alone = ls.attribute(DAPO, POLICY, relative_to=DR_GRPO)
    assert shares(alone) == {each.name: float(each.length_per_kl) for each in found.legs[1][2]}
    back = ls.attribute(DR_GRPO, POLICY, relative_to=DAPO)
    assert shares(back) == pytest.approx({name: -x for name, x in shares(alone).items()}, abs=1e-9)


def test_what_changes_nothing_has_no_share() -> None:
    other = replace(GRPO, surrogate=PPOClip(high=0.3), ppo_epochs=2, aggregation=TokenMean())
    found = ls.attribute(other, POLICY, relative_to=GRPO)
    assert (shares(found)["surrogate"], shares(found)["ppo_epochs"]) == (0.0, 0.0)
    assert float(found["aggregation"].length_per_kl) == pytest.approx(tokens(other) - tokens(GRPO), rel=1e-10)
    assert "ppo_epochs does not bear on a first step" in found.notes
    assert_adds_up(found)


def test_a_critic_that_nobody_gave_is_a_doubt_of_the_shares_too() -> None:
    plain, decayed = (schemes.ppo(gae_lambda=x, group_size=4) for x in (1.0, 0.9))
    found = ls.attribute(decayed, POLICY, relative_to=plain)
    share, = found.shares
    kernel, critic = share.doubts
    assert (kernel.unknown, critic.unknown) == ("kernel", "critic")
    assert float(share.length_per_kl) == critic.lengths[0]
    for name, length in zip(critic.options[1:], critic.lengths[1:], strict=True):
        given = dict(plain.advantage.assumed_critics)[name]
        by_hand = [tokens(replace(each, advantage=GAE(gae_lambda=x, critic=given)))
                   for each, x in ((plain, 1.0), (decayed, 0.9))]
        assert length == pytest.approx(by_hand[1] - by_hand[0], rel=1e-9, abs=1e-9), name
    assert any(note.startswith("no critic was given") for note in found.notes)


def test_sampled_shares_add_up_and_are_those_of_the_sums_within_their_errors() -> None:
    small = [replace(each, prompts_per_step=16) for each in (GRPO, DR_GRPO)]
    found = ls.attribute(small[1], POLICY, relative_to=small[0], method="monte_carlo", batches=128,
                         rng=np.random.default_rng(1))
    exact = ls.attribute(small[1], POLICY, relative_to=small[0])
    assert_adds_up(found)
    for mine, theirs in zip(found.shares, exact.shares, strict=True):
        assert abs(float(mine.length_per_kl) - float(theirs.length_per_kl)) < 4.0 * mine.length_per_kl.stderr
    # The same random numbers under every mixture: a difference is known better than what it is between.
    assert found["aggregation"].length_per_kl.stderr < found.drifts[0].length_per_kl.stderr


# --- on a log -----------------------------------------------------------------------------------------------------


def test_on_a_log_shares_are_differences_of_audits() -> None:
    other = replace(GRPO, aggregation=TokenMean(), reward=ls.Reward(incorrect=-1.0))
    found = ls.attribute(other, LOG, relative_to=GRPO, replicates=50)
    audits = ls.audit(LOG, [GRPO, other], what_if=False, replicates=50)
    lengths = [float(each.length_per_kl) for each in audits.findings]
    assert [float(each.length_per_kl) for each in found.drifts] == pytest.approx(lengths, rel=1e-10)
    assert shares(found) == {"aggregation": pytest.approx(lengths[1] - lengths[0], rel=1e-9), "reward": 0.0}
    assert "reward does not bear on an audit, which pays as logged" in found.notes
    share = found["aggregation"].length_per_kl
    assert (share.method, share.n) == ("bootstrap", 50)
    assert 0.0 < share.stderr < found.drifts[0].length_per_kl.stderr  # redrawn alike
    assert found.drifts[0].length.stderr == pytest.approx(audits[0].length.stderr, rel=1e-10)
    assert_adds_up(ls.attribute([DR_GRPO, DAPO], LOG, relative_to=GRPO, replicates=20))


# --- asked and printed ----------------------------------------------------------------------------------------------


def test_what_is_wrong_is_said() -> None:
    for wrong, said in ((GRPO, "must differ in a slot from 'grpo'"), ([], "at least one scheme"),
                        ([DR_GRPO, DR_GRPO], "must differ in a slot from 'dr_grpo'"),
                        (replace(GRPO, name="renamed"), "must differ in a slot")):
        with pytest.raises(ValueError, match=said):
            ls.attribute(wrong, POLICY, relative_to=GRPO)
    for wrong in ("dapo", ["dapo"]):
        with pytest.raises(TypeError, match="scheme"):
            ls.attribute(wrong, POLICY, relative_to=GRPO)
    with pytest.raises(TypeError, match="relative_to must be a Scheme"):
        ls.attribute(GRPO, POLICY, relative_to="grpo")
    with pytest.raises(ValueError, match="batches must be at least 128"):
        ls.attribute(DR_GRPO, POLICY, relative_to=GRPO, method="monte_carlo", rng=np.random.default_rng(0), batches=16)


def test_schemes_of_one_name_are_numbered() -> None:
    found = ls.attribute(replace(GRPO, group_size=8), POLICY, relative_to=GRPO)
    assert [each.change for each in found.drifts] == ["grpo 1", "grpo 2"]
    assert len(found.legs[0][2]) == 1


def test_a_mixture_without_a_closed_form_says_so_and_can_be_sampled() -> None:
    shaped = schemes.grpo(group_size=4, reward=ls.Reward(shaping=ls.rewards.KimiLength(weight=0.1)))
    with pytest.raises(ls.NoClosedForm, match="monte_carlo"):
        ls.attribute(shaped, POLICY, relative_to=GRPO)
    found = ls.attribute(shaped, POLICY, relative_to=GRPO, method="monte_carlo", batches=128,
                         rng=np.random.default_rng(0))
    assert_adds_up(found)


def test_result_is_printed_tabled_and_plain() -> None:
    found = ls.attribute([DR_GRPO, DAPO], POLICY, relative_to=GRPO)
    text = str(found)
    assert text.startswith(f"mean length drifts by {float(found.drifts[0].length_per_kl):+.3f} under grpo, by ")
    assert "SequenceMeanTokenMean → ConstantNormalizer" in text
    table = found.to_dataframe()
    assert list(table["slot"]) == [each.name for each in found.shares]
    assert list(table["length_per_kl"]) == [float(each.length_per_kl) for each in found.shares]
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["verdict"] == found.verdict
    with pytest.raises(KeyError, match="no slot 'penalties' differs; those that do: 'advantage', 'aggregation'"):
        found["penalties"]
    assert all(first is not last for first, last in pairwise(found.drifts))
