"""A critic that nobody gave: computed as V = 0, said to be assumed, with others that may be meant."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lossim as ls
from lossim import advantages, critics, rewards, schemes
from lossim.schemes import short

POLICY = ls.Policy([
    ls.PromptClass("sometimes", weight=0.4, paths=[
        ls.Path("thinks", probability=0.8, length=ls.lengths.geometric(mean=12), p_correct=0.0, work=ls.Work(
            answer=ls.lengths.geometric(mean=5), never=0.2, done=ls.lengths.geometric(mean=4))),
        ls.Path("guesses", probability=0.2, length=ls.lengths.geometric(mean=3), p_correct=0.3)]),
    ls.PromptClass("never", weight=0.6, paths=[ls.Path("fails", length=ls.lengths.geometric(mean=9), p_correct=0.0)])],
    max_tokens=24, coordinates=ls.coordinates(sharing=0.7, class_sharing=0.7, path_scale=3.0))
PRESETS: dict[str, Callable[..., ls.Scheme]] = {"ppo": schemes.ppo, "vapo": schemes.vapo}
PLAIN = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=6), wrong=ls.lengths.geometric(mean=9),
                              max_tokens=24)
SAID = "V = 0 (assumed: no critic was given)"


def numbers(result: Any) -> dict[str, Any]:
    """All that a result holds but how it was asked for, and what is said of other critics."""
    return {name: value for name, value in result.to_dict().items() if name not in ("provenance", "doubts", "range")}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_compute_as_with_no_value_and_say_that_it_is_assumed(name: str) -> None:
    assumed, zero = PRESETS[name](), PRESETS[name](critic=critics.Zero())
    ours, theirs = ls.drift(assumed, POLICY), ls.drift(zero, POLICY)
    assert numbers(ours) == numbers(theirs)
    assert f"critic={SAID}" in str(ours)
    assert f"critic={SAID}" in repr(assumed)
    assert SAID not in str(theirs)
    sampled = [numbers(ls.drift(scheme, POLICY, "monte_carlo", rng=np.random.default_rng(0), batches=32))
               for scheme in (assumed, zero)]
    assert sampled[0] == sampled[1]
    assert "NotGiven()" in ours.provenance["scheme"]["advantage"]


def test_a_run_is_that_of_no_value() -> None:
    for options in ({}, {"method": "stochastic", "replicates": 2}):
        rng = {"rng": np.random.default_rng(3)} if options else {}
        more = {"rng": np.random.default_rng(3)} if options else {}
        ours = ls.train(schemes.ppo(), POLICY, steps=2, **options, **rng)
        theirs = ls.train(schemes.ppo(critic=critics.Zero()), POLICY, steps=2, **options, **more)
        np.testing.assert_array_equal(ours.coordinates, theirs.coordinates)
        assert ours.critic is None


def test_it_is_a_value_like_the_others() -> None:
    critic = critics.NotGiven()
    assert critic == critics.NotGiven()
    assert critic != critics.Zero()
    assert repr(critic) == "NotGiven()"
    assert (str(critic), short(critic)) == (SAID, SAID)
    assert pickle.loads(pickle.dumps(critic)) == critic
    assert critic.repeated(3) == critic
    assert ls.compare(schemes.ppo(), schemes.ppo()) == {}
    assert list(ls.compare(schemes.ppo(), schemes.ppo(critic=critics.Zero()))) == ["advantage"]
    assert hash(schemes.ppo().advantage) == hash(schemes.ppo().advantage)


def test_only_what_nobody_gave_has_alternatives() -> None:
    names = dict(critics.NotGiven().alternatives)
    assert names["V = 0"] == critics.Zero()
    assert names["the mean of each class"] == critics.ClassMean()
    assert names["exact"] == critics.Exact()
    assert names["half of exact"] == critics.Scaled(critic=critics.Exact(), factor=0.5)
    for critic in (*names.values(), critics.Constant(value=0.0), critics.RunningMean(rate=0.1),
                   critics.LearnedTable(rate=0.1), critics.Table(table=[[0.0]])):
        assert critic.alternatives == ()
    for preset in PRESETS.values():
        gae = preset().advantage.token_level
        assert gae is not None
        assert gae.critic == critics.NotGiven()
    assert advantages.ReturnToGo().critic.alternatives == ()


def of(critic: critics.Critic, whiten: bool = False) -> ls.Scheme:
    return schemes.ppo(gae_lambda=0.9, critic=critic, whiten=whiten)


@pytest.mark.parametrize("policy", [PLAIN, POLICY], ids=["paths", "work"])
def test_alternatives_of_a_policy_are_what_they_say(policy: ls.Policy) -> None:
    """Each once more as a table or number: returns from the law for the mean, and half of what Exact says."""
    drifts = {name: ls.drift(of(critic), policy) for name, critic in critics.NotGiven().alternatives}
    weight = policy.probability[policy.layout.path_of_cell][:, None, None] * policy.law
    paid = (weight * np.array([1.0, -1.0])[:, None]).sum(axis=(1, 2))
    by_class = np.bincount(policy.class_of_cell, weights=paid)
    table = critics.Table(table=np.tile(by_class[:, None], (1, 24)))
    same = {"V = 0": critics.Constant(value=0.0), "the mean of each class": table}
    for name, critic in same.items():
        np.testing.assert_allclose(drifts[name].update.value, ls.drift(of(critic), policy).update.value, atol=1e-13)
    # The update is linear in V: half of the exact critic is halfway.
    halfway = (drifts["V = 0"].update.value + drifts["exact"].update.value) / 2.0
    np.testing.assert_allclose(drifts["half of exact"].update.value, halfway, atol=1e-13)
    lengths = [float(drift.length_per_kl) for drift in drifts.values()]
    assert max(lengths) - min(lengths) > 0.05


def test_a_running_mean_settles_at_the_mean_of_each_class() -> None:
    critic = critics.RunningMean(rate=0.5, pretrain=60)
    run = ls.train(of(critic), POLICY, steps=1, optimizer=ls.optimizers.SGD(learning_rate=0.1))
    mean = ls.drift(of(critics.ClassMean()), POLICY)
    np.testing.assert_allclose(run.coordinates[1], 0.1 * mean.update.value, atol=1e-13)


@pytest.mark.parametrize("whiten", [False, True])
def test_alternatives_of_a_log(whiten: bool) -> None:
    """On a log of one class the mean is a number: that of its rewards. The audit says all of them."""
    scheme = of(critics.NotGiven(), whiten)
    log = PLAIN.sample(np.random.default_rng(0), prompts=200, group_size=4, reward=scheme.reward)
    found = {name: ls.audit(log, of(critic, whiten), replicates=20, what_if=False)[0] for name, critic in
             critics.NotGiven().alternatives}
    assumed = ls.audit(log, scheme, replicates=20)
    assert f"critic={SAID}" in str(assumed)
    constant = ls.audit(log, of(critics.Constant(value=float(log.rewards.mean())), whiten), replicates=20,
                        what_if=False)[0]
    for name, other in (("V = 0", assumed[0]), ("the mean of each class", constant)):
        np.testing.assert_allclose(float(found[name].length), float(other.length), rtol=1e-9)
    for name in found:
        assert np.isfinite(float(found[name].length_per_kl))
        assert float(found[name].length_per_kl.stderr) > 0
    if not whiten:
        half, ends = float(found["half of exact"].length), [float(found[name].length) for name in ("V = 0", "exact")]
        assert half == pytest.approx(sum(ends) / 2.0, rel=1e-9)


def test_the_value_that_stops_the_drift_is_looked_for_from_0() -> None:
    log = PLAIN.sample(np.random.default_rng(0), prompts=100, group_size=4, reward=of(critics.Zero()).reward)
    ours, theirs = ({stop.knob: stop for stop in ls.audit(log, of(critic), replicates=20)[0].stops}
                    for critic in (critics.NotGiven(), critics.Zero()))
    knob = "value of a constant critic"
    assert ours[knob].now == 0.0
    assert ours[knob].needed == theirs[knob].needed
    assert f"with the critic {SAID}" in str(ours["λ"])
    assert "with the critic Zero()" in str(theirs["λ"])


def test_on_padded_tokens_it_is_no_value() -> None:
    batch = ls.tokens.Batch(mask=[[1, 1, 1], [1, 1, 0]], reward=[1.0, -1.0], group=[0, 1])
    ours, theirs = (ls.tokens.advantages(advantages.GAE(critic=critic), batch)
                    for critic in (critics.NotGiven(), critics.Zero()))
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("trainer", ["verl", "openrlhf"])
def test_a_config_does_not_say_which_critic(trainer: Any) -> None:
    parsed = ls.read_config({}, trainer=trainer)
    gae = parsed.scheme.advantage.token_level
    assert gae is not None
    assert gae.critic == critics.NotGiven()
    (entry,) = [entry for entry in parsed.assumed if entry.key == "critic"]
    assert (entry.value, entry.why) == (critics.NotGiven(), "a config does not say in what state its critic is")
    assert f"critic = {SAID}: a config does not say in what state its critic is" in "\n".join(parsed.notes)
    zero = ls.read_config({}, trainer=trainer, critic=critics.Zero())
    small = {"prompts_per_step": 4, "minibatches": 1}
    assert numbers(ls.drift(replace(parsed.scheme, **small), PLAIN)) == numbers(
        ls.drift(replace(zero.scheme, **small), PLAIN))


def test_what_knows_pay_is_refused_where_a_reward_compares_a_group() -> None:
    compared = rewards.Reward(shaping=rewards.LengthZScore(alpha=0.1))
    for critic in (critics.Exact(), critics.ClassMean(), critics.Scaled(critic=critics.Exact(), factor=0.5)):
        scheme = replace(of(critic), reward=compared, group_size=4)
        with pytest.raises(ValueError, match="is not defined for a reward that compares the responses of a group"):
            ls.drift(scheme, PLAIN, "monte_carlo", rng=np.random.default_rng(0), batches=16)
    given = replace(of(critics.NotGiven()), reward=compared, group_size=4)
    assert ls.drift(given, PLAIN, "monte_carlo", rng=np.random.default_rng(0), batches=16).length.n == 16
