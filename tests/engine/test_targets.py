"""Rewards that pay by a target of the prompt: class by class, by enumeration, sampled, in a run and on a log."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lossim as ls
from arrays import FloatArray
from lossim import advantages, aggregation, penalties, rewards, surrogates
from lossim.rewards import LCPOExact, LCPOMax

TARGETS = (2.0, 5.0)
SHAPINGS = {"exact": LCPOExact(alpha=0.1), "max": LCPOMax(alpha=0.15, delta=0.4)}
SHARES = (0.3, 0.7)


def plain(name: str, target: float) -> Any:
    """The same as a shaping that knows one target."""
    if name == "exact":
        return lambda reward, length, outcome: reward - 0.1 * abs(target - length)
    return lambda reward, length, outcome: reward * np.clip(0.15 * (target - length) + 0.4, 0.0, 1.0)


def prompts(index: int, **fields: Any) -> ls.PromptClass:
    """One of two classes, with a path that has work."""
    work = ls.Work(answer=ls.lengths.geometric(mean=2 + index), done=ls.lengths.geometric(mean=2))
    return ls.PromptClass("ab"[index], paths=[
        ls.Path("right", probability=0.6, length=ls.lengths.geometric(mean=3 + index), p_correct=0.8),
        ls.Path("works", probability=0.4, length=ls.lengths.geometric(mean=4), p_correct=0.0, work=work)], **fields)


def policy(indices: tuple[int, ...] = (0, 1), apart: bool = False, **fields: Any) -> ls.Policy:
    """Both classes with their targets, or one of them alone."""
    coordinates = ls.coordinates(class_sharing=0.0) if apart else ls.coordinates()
    weights = {"weight": 1.0} if len(indices) == 1 else {}
    return ls.Policy([prompts(i, **{"weight": SHARES[i], "target": TARGETS[i], **weights}) for i in indices],
                     max_tokens=6, coordinates=coordinates)


SCHEMES: dict[str, dict[str, Any]] = {
    "group mean": {"advantage": advantages.GroupMean()},
    "group std": {"advantage": advantages.GroupStandardized()},
    "leave one out, equal groups dropped": {"advantage": advantages.LeaveOneOut(), "dynamic_sampling": "drop"},
    "OPO": {"advantage": advantages.OPO()},
    "pass@k": {"advantage": advantages.PassK()},
    "GAE": {"advantage": advantages.GAE(gae_lambda=0.9, critic=ls.critics.Exact())},
    "KL in the reward": {"advantage": advantages.GroupMean(), "penalties": (
        penalties.KL(coefficient=0.2, place="reward"),)},
    "KL in the reward, std": {"advantage": advantages.GroupStandardized(), "truncation": "remove", "penalties": (
        penalties.KL(coefficient=0.2, place="reward"),)},
}


@pytest.mark.parametrize("name", SHAPINGS)
@pytest.mark.parametrize("kind", SCHEMES)
def test_classes_are_paid_each_by_its_target(kind: str, name: str) -> None:
    """Groups are of one class, so the gradient of each is that of the class alone, paid by a rule with its target."""
    scheme = ls.Scheme(aggregation=aggregation.SequenceMeanTokenMean(), surrogate=surrogates.PolicyGradient(),
                       group_size=3, prompts_per_step=2, **SCHEMES[kind])
    both = ls.drift(replace(scheme, reward=ls.Reward(shaping=SHAPINGS[name])), policy(), reference=moved(policy()))
    rows = []
    reward = 0.0
    for i, share in enumerate(SHARES):
        alone = ls.drift(replace(scheme, reward=ls.Reward(shaping=plain(name, TARGETS[i]))), policy((i,)),
                         reference=moved(policy((i,))))
        rows.append(share * np.asarray(alone.hazard_gradient.value))
    np.testing.assert_allclose(both.hazard_gradient.value, np.concatenate(rows), rtol=1e-9, atol=1e-13)
    # The mean reward is the mean over the classes, and so is its change where classes share nothing.
    apart = ls.drift(replace(scheme, reward=ls.Reward(shaping=SHAPINGS[name])), policy(apart=True),
                     reference=moved(policy()))
    for i, share in enumerate(SHARES):
        alone = ls.drift(replace(scheme, reward=ls.Reward(shaping=plain(name, TARGETS[i]))), policy((i,), apart=True),
                         reference=moved(policy((i,))))
        reward += share**2 * float(alone.reward)
    assert float(apart.reward) == pytest.approx(reward, rel=1e-9)


def moved(start: ls.Policy) -> ls.Policy:
    """Another policy, the same in each class whichever others there are."""
    shift = np.linspace(0.3, -0.2, start.max_tokens) * np.ones((len(start.cell_names), 1))
    return start.shifted(shift, np.zeros(len(start.path_weight)))


def test_a_sum_over_all_groups_written_out() -> None:
    """Groups of two of both classes, with rewards by the formula, against what drift says, exact and sampled."""
    start = ls.Policy([ls.PromptClass("short", weight=0.4, target=1, paths=[
        ls.Path("all", length=ls.lengths.table([0.3, 0.5]), p_correct=0.5)]), ls.PromptClass(
            "long", weight=0.6, target=2, paths=[
                ls.Path("all", length=ls.lengths.table([0.2, 0.6]), p_correct=0.25)])], max_tokens=2)
    scheme = ls.Scheme(reward=ls.Reward(shaping=LCPOExact(alpha=0.3)), advantage=advantages.GroupMean(), group_size=2,
                       prompts_per_step=1, aggregation=aggregation.SequenceMeanTokenSum())
    gradient = np.zeros((2, 2))
    for c, (share, target) in enumerate([(0.4, 1.0), (0.6, 2.0)]):
        atoms = [(grade, end, start.law[c, grade, end]) for grade in range(2) for end in range(3)]
        for group in itertools.product(atoms, repeat=2):
            chance = share * np.prod([p for _, _, p in group])
            paid = np.array([float(grade == 0) - 0.3 * abs(target - min(end + 1, 2)) for grade, end, _ in group])
            for (_, end, _), advantage in zip(group, paid - paid.mean(), strict=True):
                for t in range(min(end, 1) + 1):
                    gradient[c, t] += chance * advantage / 2.0 * (float(end == t) - start.hazard[c, t])
    np.testing.assert_allclose(ls.drift(scheme, start).hazard_gradient.value, gradient, atol=1e-14)
    sampled = ls.drift(scheme, start, "monte_carlo", rng=np.random.default_rng(3), batches=64 * 1000).hazard_gradient
    assert (np.abs(sampled.value - gradient) < 4.0 * sampled.stderr + 1e-12).all()


def test_exact_and_sampled_agree_in_every_number() -> None:
    """What is read off by class or grade, with its spread from step to step."""
    scheme = ls.schemes.grpo(reward=ls.Reward(shaping=LCPOMax(alpha=0.1)), group_size=4, prompts_per_step=4)
    exact = ls.drift(scheme, policy())
    sampled = ls.drift(scheme, policy(), "monte_carlo", rng=np.random.default_rng(0), batches=64 * 600)
    for name in ("length", "reward", "accuracy", "length_by_class", "step_std", "alignment", "length_per_reward"):
        one, other = getattr(exact, name), getattr(sampled, name)
        assert np.all(np.abs(one.value - other.value) < 4.0 * other.stderr), name


def test_targets_in_groups_that_compare_too() -> None:
    """Both kinds in one reward: sampled, by the targets of the classes."""
    both = ls.Reward(shaping=(LCPOExact(alpha=0.1), rewards.KimiLength(weight=0.2)))
    length = np.array([[1, 3], [1, 3]])
    right = np.ones((2, 2), dtype=bool)
    np.testing.assert_allclose(both.group_values(length, right, False, target=[[2.0], [5.0]]),
                               [[1 - 0.1 + 0.1, 1 - 0.1 - 0.1], [1 - 0.4 + 0.1, 1 - 0.2 - 0.1]])
    scheme = ls.schemes.grpo(reward=both, group_size=4, prompts_per_step=4)
    found = ls.drift(scheme, policy(), "monte_carlo", rng=np.random.default_rng(0), batches=640)
    assert np.isfinite(found.length.value)
    with pytest.raises(ls.NoClosedForm, match="KimiLength compares the responses of a group"):
        ls.drift(scheme, policy())


def test_other_settings_are_tried_under_it() -> None:
    """One change at a time keeps the targets; what holds length is found, and forgets none either."""
    scheme = ls.schemes.grpo(reward=ls.Reward(shaping=LCPOExact(alpha=0.1)), group_size=4, prompts_per_step=4)
    changed = ls.what_if(scheme, policy())["reward 1 if correct, else -1"]
    by_hand = ls.drift(replace(scheme, reward=replace(scheme.reward, incorrect=-1.0)), policy())
    assert changed.length.value == pytest.approx(by_hand.length.value, rel=1e-12)
    price = ls.stops(scheme, policy(), "penalty").stops[0].needed
    priced = replace(scheme, reward=ls.Reward(shaping=(LCPOExact(alpha=0.1), rewards.LinearPenalty(slope=price))))
    assert ls.drift(priced, policy()).length.value == pytest.approx(0.0, abs=1e-3 * abs(by_hand.length.value))


@pytest.mark.parametrize("method", ["mean_field", "stochastic"])
def test_a_run_pays_by_targets(method: str) -> None:
    scheme = ls.schemes.dr_grpo(reward=ls.Reward(shaping=LCPOExact(alpha=0.1)), group_size=4, prompts_per_step=64)
    more = {"rng": np.random.default_rng(0), "replicates": 3} if method == "stochastic" else {}
    run = ls.train(scheme, policy(), method=method, steps=2,  # type: ignore[arg-type]
                   optimizer=ls.optimizers.SGD(learning_rate=0.1), **more)
    start = policy()
    paid = sum(share * float(np.sum(start.arrays.cell_probability[start.class_cells[i], None, None]
                                    * start.law[start.class_cells[i]] * table(TARGETS[i])))
               for i, share in enumerate(SHARES))
    reward = np.asarray(run.reward)
    np.testing.assert_allclose(reward[0], paid, rtol=1e-12)
    assert (reward[-1] > reward[0]).all()


def table(target: float) -> FloatArray:
    """What right and wrong responses of each end are paid."""
    length = np.minimum(np.arange(7) + 1.0, 6.0)
    return np.array([[1.0], [0.0]]) - 0.1 * np.abs(target - length)


def test_a_log_pays_by_its_targets() -> None:
    """The rule on a log with targets, as on one that was paid by it; sampled from a policy with targets."""
    start = policy().with_paths("one")
    rule = ls.Reward(shaping=LCPOExact(alpha=0.1))
    log = start.sample(np.random.default_rng(0), prompts=40, group_size=4, reward=rule)
    targets = np.asarray(log.targets)
    np.testing.assert_array_equal(targets, np.array(TARGETS)[np.asarray(log.classes)])
    np.testing.assert_allclose(log.rewards, 1.0 * np.asarray(log.correct) - 0.1 * np.abs(targets - log.lengths))
    scheme = ls.schemes.grpo()
    by_rule = ls.audit(replace(log, rewards=np.zeros(len(log))), scheme, reward=rule, what_if=False)[0]
    as_logged = ls.audit(log, scheme, what_if=False)[0]
    assert by_rule.length.value == pytest.approx(as_logged.length.value, rel=1e-12)
    with pytest.raises(ValueError, match=r"targets must be in the log: LCPOExact pays by the target of a prompt, got "
                                         r"None; give Rollouts\(targets=...\)"):
        ls.audit(replace(log, targets=None), scheme, reward=rule)


def test_targets_are_read_from_a_column() -> None:
    rows = [{"prompt": "a", "length": 3, "reward": 1.0, "target": "gold", "extra": {"num_tokens": 100}},
            {"prompt": "a", "length": 5, "reward": 0.0, "target": "gold", "extra": {"num_tokens": 400}}]
    assert ls.Rollouts.read(rows).targets is None  # such a column holds the right answer
    found = ls.Rollouts.read(rows, columns={"target": "extra.num_tokens"}).targets
    np.testing.assert_array_equal(found, [100.0, 400.0])
    known = [{**row, "target_length": 7} for row in rows]
    np.testing.assert_array_equal(ls.Rollouts.read(known).targets, [7.0, 7.0])
    with pytest.raises(ValueError, match="target must be at least 1 token, got 0"):
        ls.Rollouts.read([{**row, "target_length": 0} for row in rows])


@pytest.mark.parametrize(("shaping", "paid", "length", "expected"), [
    (LCPOExact(), 1.0, 1500, 0.85), (LCPOExact(), 0.0, 500, -0.15), (LCPOExact(alpha=1 / 3000), 1.0, 4000, 0.0),
    (LCPOMax(), 1.0, 1000, 0.5), (LCPOMax(), 1.0, 500, 0.65), (LCPOMax(), 1.0, 3000, 0.0), (LCPOMax(), 0.0, 10, 0.0),
    (LCPOMax(alpha=1 / 1000), 1.0, 500, 1.0), (LCPOMax(alpha=1 / 1000), 1.0, 1500, 0.0),
    (LCPOMax(delta=1), 1.0, 1, 1.0),
])
def test_by_hand(shaping: rewards.TargetShaping, paid: float, length: int, expected: float) -> None:
    """Of a target of 1000 tokens; 1/3000 and 1/1000 are those of the released code."""
    value = ls.Reward(correct=paid, shaping=shaping).values(length, True, False, target=1000)
    assert value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: prompts(0, target=0.5), r"target of class 'a' must lie in \[1, inf\], got 0.5"),
    (lambda: prompts(0, target=float("nan")), r"target of class 'a' must"),
    (lambda: policy().with_targets([]), r"targets must hold at least one target"),
    (lambda: policy().with_targets([100, 0]), r"targets\[1\] must be at least 1"),
    (lambda: ls.Reward(shaping=LCPOMax()).values([3], True, False),
     r"target must be given: LCPOMax pays by the target of a prompt, got None; use PromptClass\(target=...\)"),
    (lambda: ls.drift(ls.schemes.grpo(reward=ls.Reward(shaping=LCPOMax())), ls.Policy(
        [prompts(0, weight=0.5, target=3), prompts(1, weight=0.5)], max_tokens=6)),
     r"target of class 'b' must be given: LCPOMax pays by the target of a prompt, got None; use PromptClass"),
    (lambda: ls.Rollouts([3], [1.0], [0], targets=[0.0]), r"targets\[0\] must be at least 1"),
])
def test_bad_targets_are_met_with_value_rule_and_fix(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_classes_for_targets_share_the_weight() -> None:
    split = policy().with_targets([1, 4])
    assert [(each.name, each.target) for each in split.classes] == [
        ("a, target 1", 1.0), ("a, target 4", 4.0), ("b, target 1", 1.0), ("b, target 4", 4.0)]
    np.testing.assert_allclose(split.class_weight, [0.15, 0.15, 0.35, 0.35])
    assert split.mean_length == pytest.approx(policy().mean_length, rel=1e-12)
