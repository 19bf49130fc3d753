"""Notes that answer the question at hand: there where something is the case, and not elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import lossim as ls
from lossim.advantages import GroupMean, Raw
from lossim.penalties import KL

POLICY = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=9), wrong=ls.lengths.geometric(mean=14),
                               max_tokens=48)
NEVER = ls.PromptClass("never", weight=0.7, paths=[ls.Path("wrong", length=ls.lengths.geometric(mean=14),
                                                           p_correct=0.0)])
MIXED = ls.Policy([replace(POLICY.classes[0], name="some", weight=0.3), NEVER], max_tokens=48)
GRPO = ls.schemes.grpo()


def notes(scheme: ls.Scheme, policy: ls.Policy = POLICY, **how: object) -> dict[str, str]:
    return {note.code: str(note) for note in ls.drift(scheme, policy, **how).notes}


def test_nothing_is_said_where_nothing_is_the_case() -> None:
    assert notes(GRPO) == {}
    assert notes(ls.schemes.ppo(), MIXED) == {}


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "abs"])
def test_a_kl_without_a_pull_is_told_where_its_coefficient_changes_nothing(estimator: str) -> None:
    """The note stands exactly where the drift is the same with and without the KL."""
    far = POLICY.moved(np.full(POLICY.motion.size, 0.2))
    for reference in (None, far):
        held = replace(GRPO, penalties=(KL(coefficient=0.5, estimator=estimator),))
        same = float(ls.drift(held, POLICY, reference=reference).length) == pytest.approx(
            float(ls.drift(GRPO, POLICY).length), rel=1e-12)
        assert ("no pull" in notes(held, reference=reference)) == same
    assert "no pull" not in notes(replace(GRPO, penalties=(KL(coefficient=0.0, estimator=estimator),)))


def test_a_kl_in_the_reward_that_pays_nothing_is_told() -> None:
    paid = replace(GRPO, advantage=Raw(), penalties=(KL(coefficient=0.5, place="reward"),))
    assert "takes nothing off" in notes(paid)["no pull"]
    far = POLICY.moved(np.full(POLICY.motion.size, 0.2))
    assert "no pull" not in notes(paid, reference=far)
    priced = replace(paid, penalties=(KL(coefficient=0.5, place="reward", content_per_token=0.01),))
    assert "no pull" not in notes(priced)


def test_a_kl_to_the_old_policy_has_no_pull_on_policy() -> None:
    held = replace(GRPO, penalties=(KL(coefficient=0.5, estimator="k2", to="old"),))
    assert notes(held)["no pull"].endswith("the policy drew the batch itself")


def test_a_class_that_is_paid_alike_is_named() -> None:
    said = notes(GRPO, MIXED)["paid alike"]
    assert said.startswith("the reward moves nothing in 'never' (70% of the prompts)")
    still = ls.drift(GRPO, MIXED, "monte_carlo", rng=np.random.default_rng(0), batches=16)
    assert "paid alike" in {note.code for note in still.notes}
    everywhere = notes(GRPO, replace(MIXED, classes=[replace(NEVER, weight=1.0)]))["paid alike"]
    assert everywhere.startswith("the reward moves nothing anywhere")
    assert "paid alike" not in notes(replace(GRPO, advantage=Raw()), MIXED)
    assert "paid alike" not in notes(replace(GRPO, advantage=GroupMean(),
                                             reward=ls.Reward(shaping=ls.rewards.LinearPenalty(slope=0.01))), MIXED)


@pytest.mark.parametrize(("rate", "size"), [(0.02, 8), (0.98, 8), (0.1, 4), (0.5, 2), (0.5, 8), (0.3, 4)])
def test_dead_groups_are_told_where_most_are(rate: float, size: int) -> None:
    """Their share by hand: q^G + (1 - q)^G, with q the chance of a right answer."""
    policy = ls.policies.two_paths(solve_rate=rate, right=ls.lengths.geometric(mean=9),
                                   wrong=ls.lengths.geometric(mean=14), max_tokens=400)
    dead = rate**size + (1.0 - rate) ** size
    said = notes(ls.schemes.grpo(group_size=size), policy)
    assert ("dead groups" in said) == (dead >= 0.5)
    if dead >= 0.5:
        assert said["dead groups"].startswith(f"{dead:.0%} of all groups are dead")


def test_removed_responses_do_not_keep_a_group_alive() -> None:
    """Cut responses alone are paid otherwise; once removed, all groups are dead, and a run says so as well."""
    always = ls.policies.two_paths(solve_rate=1.0, right=ls.lengths.geometric(mean=20),
                                   wrong=ls.lengths.geometric(mean=20), max_tokens=16)
    assert "paid alike" not in notes(GRPO, always)
    removed = replace(GRPO, truncation="remove")
    assert "paid alike" in notes(removed, always)
    assert not np.any(ls.drift(removed, always).update.value)
    assert "paid alike" in {note.code for note in ls.train(removed, always, steps=1).notes}


@pytest.mark.parametrize(("rule", "done"), [("mask", "masked"), ("remove", "removed")])
def test_how_many_responses_are_out_of_the_loss(rule: str, done: str) -> None:
    long = POLICY.recapped(10)
    cut = 0.4 * (1.0 - 1.0 / 9.0) ** 10 + 0.6 * (1.0 - 1.0 / 14.0) ** 10
    found = notes(replace(GRPO, truncation=rule), long)["out of the loss"]
    assert found.startswith(f"{cut:.0%} of the responses are truncated and {done}")
    assert "out of the loss" not in notes(GRPO, long)
    assert "out of the loss" not in notes(replace(GRPO, truncation=rule), POLICY.recapped(400))


def test_grades_that_no_path_gives() -> None:
    odd = replace(GRPO, reward=ls.Reward(grades={"partly": 0.5}))
    assert notes(odd)["grades"] == "the reward pays partly, a grade that no path here gives"
    graded = ls.Policy([ls.PromptClass("all", paths=[ls.Path("only", length=ls.lengths.geometric(mean=9), p_correct=0.3,
                                                             grades={"partly": 0.2})])], max_tokens=48)
    assert "grades" not in notes(odd, graded)


def test_answers_of_a_reference_that_come_at_other_times() -> None:
    def working(mean: float) -> ls.Policy:
        work = ls.Work(answer=ls.lengths.geometric(mean=mean), done=ls.lengths.geometric(mean=5))
        return ls.Policy([ls.PromptClass("all", paths=[ls.Path("thinks", length=ls.lengths.geometric(mean=20),
                                                               p_correct=0.0, work=work)])], max_tokens=64)

    held = replace(GRPO, penalties=(KL(coefficient=0.1, estimator="k3"),))
    said = notes(held, working(8.0), reference=working(12.0))
    assert said["work"].startswith("answers come at other times in the reference than in the policy (all / thinks)")
    assert "work" not in notes(held, working(8.0), reference=working(8.0))
    assert "work" not in notes(GRPO, working(8.0), reference=working(12.0))
    assert "work" in notes(GRPO, working(8.0), old_policy=working(12.0))


def test_a_run_says_what_holds_at_its_start() -> None:
    odd = replace(GRPO, reward=ls.Reward(grades={"partly": 0.5}), group_size=1)
    codes = {note.code for note in ls.train(odd, POLICY, steps=1).notes}
    assert {"grades", "group of one"} <= codes
    assert "no pull" not in {note.code for note in ls.train(ls.schemes.grpo(kl=0.1), POLICY, steps=2).notes}
