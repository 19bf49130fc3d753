"""Runs of expected updates: against steps taken by hand, limits, and the claims the project starts from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import _starts
import lossim as ls
from lossim import advantages, aggregation, critics, optimizers, penalties, schemes, surrogates

POLICY = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=9), wrong=ls.lengths.geometric(mean=14),
                               max_tokens=64, coordinates=ls.coordinates(bins=3, sharing=0.7, path_scale=3.0))
NEVER = ls.policies.unsolvable(length=ls.lengths.geometric(mean=40), max_tokens=512)
SUM, MEAN = aggregation.SequenceMeanTokenSum(), aggregation.SequenceMeanTokenMean()


def sgd(rate: float, **options: Any) -> optimizers.SGD:
    return optimizers.SGD(learning_rate=rate, **options)


def test_a_step_is_the_drift_times_the_learning_rate() -> None:
    run = ls.train(schemes.grpo(), POLICY, steps=2, optimizer=sgd(0.3))
    policy, coordinates = POLICY, np.zeros(POLICY.motion.size)
    for step in (1, 2):
        coordinates = coordinates + 0.3 * ls.drift(schemes.grpo(), policy).update.value
        policy = POLICY.moved(coordinates)
        np.testing.assert_allclose(run.coordinates[step], coordinates, rtol=1e-12)
        for mine, theirs in ((run.length, policy.mean_length), (run.accuracy, policy.accuracy),
                             (run.truncation_rate, policy.truncation_rate)):
            assert mine[step] == pytest.approx(theirs, rel=1e-12)
    assert run.policy.mean_length == pytest.approx(policy.mean_length, rel=1e-12)
    assert run.policy_at(0).mean_length == POLICY.mean_length


def test_epochs_and_minibatches_step_on_the_batch_of_one_policy() -> None:
    scheme = replace(schemes.grpo(kl=0.05), ppo_epochs=2, minibatches=2,
                     surrogate=surrogates.PPOClip(low=0.02, high=0.02))
    optimizer = optimizers.AdamW(learning_rate=0.05)
    run = ls.train(scheme, POLICY, steps=2, optimizer=optimizer)
    position = np.zeros(POLICY.motion.size)
    state = optimizer.start(position.shape)
    for step in (1, 2):
        old = POLICY.moved(position)
        for _ in range(4):
            update = ls.drift(scheme, POLICY.moved(position), old_policy=old, reference=POLICY).update.value
            move, state = optimizer.step(state, update, position)
            position = position + move
        np.testing.assert_allclose(run.coordinates[step], position, rtol=1e-9, atol=1e-12)
    assert (run.clip_fraction > 0).all()


def test_what_is_written_down_of_a_policy() -> None:
    run = ls.train(schemes.grpo(), POLICY, steps=6, optimizer=sgd(0.5))
    np.testing.assert_allclose(run.composition + run.within, np.diff(run.length), rtol=1e-10, atol=1e-12)
    end = run.policy
    np.testing.assert_allclose(run.length_by_path[-1], end.mean_length_by_path, rtol=1e-12)
    law, start = end.law.sum(axis=1) * end.cell_weight[:, None], POLICY.law.sum(axis=1) * POLICY.cell_weight[:, None]
    inside = law > 0
    kl = float((law[inside] * np.log(law[inside] / start[inside])).sum())
    assert run.kl_to_start[-1] == pytest.approx(kl, rel=1e-9)
    assert run.kl_to_start[0] == pytest.approx(0.0, abs=1e-12)
    mass, tokens = end.law * end.cell_weight[:, None, None], end.length
    correct = mass[:, 0, :-1]
    assert run.length_by_outcome[-1, 0] == pytest.approx((correct @ tokens[:-1]).sum() / correct.sum(), rel=1e-12)
    solved = POLICY.accuracy
    assert run.dead_groups[0] == pytest.approx(solved**8 + (1 - solved) ** 8, rel=1e-9)
    assert run.reward[-1] == pytest.approx(end.accuracy, rel=1e-12)


def test_the_flow_is_the_limit_of_small_steps() -> None:
    """The error of a first-order method halves with the step."""
    ends = [ls.train(schemes.grpo(), POLICY, steps=2 * parts, optimizer=sgd(0.8 / parts)).coordinates[-1]
            for parts in (8, 16, 32)]
    flow = ls.train(schemes.grpo(), POLICY, steps=2, optimizer=sgd(0.8), method="flow")
    errors = [np.abs(end - flow.coordinates[-1]).max() for end in ends]
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(2.0, rel=0.05)
    np.testing.assert_allclose(flow.coordinates[1], ls.train(schemes.grpo(), POLICY, steps=1, optimizer=sgd(0.8),
                                                             method="flow").coordinates[1], rtol=1e-6)


@pytest.mark.parametrize(("rule", "gae_lambda", "grows"), [
    (MEAN, 1.0, True), (MEAN, 0.95, True), (SUM, 0.95, True), (aggregation.ConstantNormalizer(), 0.95, True),
    (SUM, 1.0, False), (aggregation.ConstantNormalizer(), 1.0, False)])
def test_negative_rewards_lengthen_step_after_step(rule: aggregation.Aggregation, gae_lambda: float, grows: bool
                                                   ) -> None:
    """Unsolvable prompts, reward -1, no critic: under 1/T and under λ < 1, and not under a token sum with λ = 1."""
    scheme = schemes.ppo(gae_lambda=gae_lambda, aggregation=rule)
    run = ls.train(scheme, NEVER, steps=30, optimizer=sgd({MEAN: 0.5, SUM: 0.05}.get(rule, 0.05 * 512)))
    if grows:
        assert (np.diff(run.length) > 0).all()
        assert run.length[-1] > 1.02 * run.length[0]
    else:
        np.testing.assert_allclose(run.length, run.length[0], rtol=1e-9)
    np.testing.assert_array_equal(run.accuracy, 0.0)


def concise(critic: critics.Critic) -> ls.Scheme:
    """Rewards +1, -0.5 and -1 if cut, λ = 0.95, whitened, KL in the reward 0.01, 1/T."""
    return ls.Scheme(reward=ls.Reward(correct=1.0, incorrect=-0.5, truncated=-1.0), aggregation=MEAN,
                     advantage=advantages.Whitened(inner=advantages.GAE(gae_lambda=0.95, critic=critic)),
                     penalties=(penalties.KL(coefficient=0.01, place="reward"),), group_size=8)


def never_then_sometimes(solve_rate: float, right: ls.lengths.Length, wrong: ls.lengths.Length, max_tokens: int
                         ) -> ls.Policy:
    return ls.Policy([
        ls.PromptClass("sometimes", weight=0.0, paths=[
            ls.Path("right", probability=solve_rate, length=right, p_correct=1.0),
            ls.Path("wrong", probability=1 - solve_rate, length=wrong, p_correct=0.0)]),
        ls.PromptClass("never", weight=1.0, paths=[ls.Path("wrong", length=wrong, p_correct=0.0)])],
        max_tokens=max_tokens)


@pytest.mark.parametrize("solve_rate", [0.125, 0.25])
def test_a_second_phase_on_sometimes_solvable_prompts_shortens(solve_rate: float) -> None:
    """With a critic that learns from 0; with one that stays there, only where more than one in five are right."""
    start = never_then_sometimes(solve_rate, ls.lengths.lognormal(median=400, sigma=0.6),
                                 ls.lengths.lognormal(median=1200, sigma=0.6), 4096)
    learning, still = critics.LearnedTable(rate=0.1), critics.Zero()
    first = ls.train(concise(learning), start, steps=20, optimizer=sgd(2.0))
    assert first.length[-1] > 1.05 * first.length[0]
    np.testing.assert_array_equal(first.accuracy, 0.0)
    between = first.policy.reweighted({"sometimes": 1.0})
    second, without = (ls.train(concise(critic), between, steps=40, optimizer=sgd(2.0), reference=start)
                       for critic in (learning, still))
    assert second.length[-1] < 0.95 * second.length[0]
    assert second.accuracy[-1] >= second.accuracy[0]
    assert (without.length[-1] < without.length[0]) == (solve_rate > 0.2)
    assert second.critic is not None
    assert without.critic is None


@pytest.mark.parametrize(("model", "problems", "solve_rate"), [
    ("R1-Distill-Qwen-1.5B", "MATH500", 0.0625), ("R1-Distill-Qwen-1.5B", "AIME24", 0.375),
    ("R1-Distill-Qwen-7B", "MMLU-STEM", 0.125)])
def test_the_two_phases_from_published_lengths(model: str, problems: str, solve_rate: float) -> None:
    """From the mean lengths and at the cap of 20,000 tokens that were published, with wrong answers 1.65 times as long.

    Where few are right, lengths rise on until the critic has caught up.
    """
    right, wrong = (path.length for path in _starts.reasoning_start(problems, model).paths)
    start = never_then_sometimes(solve_rate, right, wrong, 20_000)
    learning = concise(critics.LearnedTable(rate=0.1))
    first = ls.train(learning, start, steps=15, optimizer=sgd(2.0))
    assert first.length[-1] > first.length[0]
    second = ls.train(learning, first.policy.reweighted({"sometimes": 1.0}), steps=80, optimizer=sgd(2.0),
                      reference=start)
    assert second.length[-1] < 0.98 * second.length[0]
    assert (np.diff(second.length[40:]) < 0).all()
    assert second.accuracy[-1] >= second.accuracy[0]


@pytest.mark.parametrize("solve_rate", [0.0, 1.0])
def test_groups_all_right_or_all_wrong_move_by_kl_alone(solve_rate: float) -> None:
    policy = ls.policies.two_paths(solve_rate=solve_rate, right=ls.lengths.geometric(mean=9),
                                   wrong=ls.lengths.geometric(mean=14), max_tokens=64)
    paid = ls.Reward(correct=1.0, incorrect=0.0)
    still = ls.train(schemes.grpo(reward=paid), policy, steps=5, optimizer=sgd(1.0))
    if solve_rate == 0.0:  # with solve rate 1, cut responses are wrong
        np.testing.assert_allclose(still.coordinates, 0.0, atol=1e-15)
        np.testing.assert_allclose(still.dead_groups, 1.0)
    away = policy.moved(np.full(policy.motion.size, 0.3))
    pulled = ls.train(replace(schemes.grpo(reward=paid, kl=0.5), advantage=advantages.GroupMean()), away, steps=50,
                      optimizer=sgd(1.0), reference=policy)
    assert abs(pulled.length[-1] - policy.mean_length) < abs(pulled.length[0] - policy.mean_length)


def test_an_exact_critic_leaves_the_gradient_of_the_reward() -> None:
    """With a token sum, for every λ: the same run."""
    runs = [ls.train(schemes.ppo(gae_lambda=gae_lambda, critic=critics.Exact(), aggregation=SUM), POLICY, steps=10,
                     optimizer=sgd(0.2)) for gae_lambda in (0.0, 0.9, 1.0)]
    for run in runs[1:]:
        np.testing.assert_allclose(run.coordinates, runs[0].coordinates, rtol=1e-8, atol=1e-12)
    assert (np.diff(runs[0].reward) > 0).all()


def test_a_critic_that_learns_follows_the_policy() -> None:
    """At rate 1 it is the exact critic of the policy before; pretraining gets it there before the first step."""
    learned = critics.LearnedTable(rate=1.0, pretrain=1)
    scheme = schemes.ppo(gae_lambda=0.9, critic=learned, aggregation=SUM)
    run = ls.train(scheme, POLICY, steps=3, optimizer=sgd(0.3))
    assert run.critic is not None
    for step in range(3):
        exact = ls.drift(schemes.ppo(gae_lambda=0.9, critic=critics.Exact(per="class"), aggregation=SUM),
                         run.policy_at(step))
        if step == 0:
            np.testing.assert_allclose(run.coordinates[1], 0.3 * exact.update.value, rtol=1e-10)
        table = ls.drift(schemes.ppo(gae_lambda=0.9, critic=critics.Table(table=run.critic[step][:, :-1]),
                                     aggregation=SUM), run.policy_at(step))
        moved = run.coordinates[step + 1] - run.coordinates[step]
        np.testing.assert_allclose(moved, 0.3 * table.update.value, rtol=1e-9)


def test_chaining_goes_on_where_the_run_ended() -> None:
    whole = ls.train(schemes.rloo(), POLICY, steps=6, optimizer=sgd(0.2))
    first = ls.train(schemes.rloo(), POLICY, steps=3, optimizer=sgd(0.2))
    second = ls.train(schemes.rloo(), first.policy, steps=3, optimizer=sgd(0.2))
    np.testing.assert_allclose(second.length, whole.length[3:], rtol=1e-10)
    for cap, cut in ((32, np.greater), (128, np.less)):
        further = ls.train(schemes.rloo(), first.policy.recapped(cap), steps=1)
        assert cut(further.truncation_rate[0], first.truncation_rate[-1])


def test_time_to_a_length() -> None:
    run = ls.train(schemes.ppo(), NEVER, steps=20, optimizer=sgd(0.5))
    middle = float(run.length[10])
    assert run.time_to(length=middle) == 10
    assert run.time_to(length=1e6) is None
    assert run.time_to(length=run.length[0], direction="above") == 0
    assert run.time_to(truncation_rate=float(run.truncation_rate[5])) == 5
    with pytest.raises(ValueError, match="not both"):
        run.time_to(length=1.0, truncation_rate=0.5)


def test_leaving_the_regime_is_noted() -> None:
    run = ls.train(schemes.rloo(), POLICY, steps=60, optimizer=sgd(2.0))
    words = f"from step {int(np.argmax(run.accuracy > 0.95))} P(correct) is above 0.95"
    assert any(words in note for note in run.notes)
    assert run.accuracy[-1] > 0.95


def test_results_print_and_are_strict_json() -> None:
    run = ls.train(schemes.grpo(), POLICY, steps=3)
    assert str(run).splitlines()[:2] == [f"grpo: {run.verdict}", "3 steps (mean field)"]
    change, gained = run.length[-1] - run.length[0], 100 * (run.accuracy[-1] - run.accuracy[0])
    assert run.verdict == (f"undecided: {change:+.3g} tokens and {gained:+.2g} points of accuracy in 3 steps here, but "
                           "which way hangs on the kernel in 3 of 3 steps")
    assert run.range == (run.range_low.min(), run.range_high.max())
    assert json.loads(json.dumps(run.to_dict(), allow_nan=False))["length"] == run.length.tolist()


@pytest.mark.parametrize(("solve_rate", "wrong"), [(0.1, 160), (0.4, 160), (0.2, 60)])
def test_a_run_is_undecided_where_the_critic_that_nobody_gave_decides_its_first_step(solve_rate: float, wrong: int
                                                                                     ) -> None:
    policy = ls.policies.two_paths(solve_rate=solve_rate, right=ls.lengths.geometric(mean=100),
                                   wrong=ls.lengths.geometric(mean=wrong), max_tokens=1024)
    run = ls.train(schemes.ppo(), policy, steps=2, kernels=[policy.coordinates])
    doubt, = run.doubts
    signs = {np.sign(float(ls.drift(replace(schemes.ppo(), advantage=advantages.GAE(gae_lambda=0.95, critic=critic)),
                                    policy).length))
             for _, critic in critics.NotGiven().alternatives}
    assert ("undecided" in run.verdict, doubt.decided) == (len(signs) > 1, len(signs) == 1)
    assert (doubt.text in run.verdict) == (len(signs) > 1)
    assert any(note.startswith("no critic was given") for note in run.notes)
    told = ls.train(schemes.ppo(critic=critics.Zero()), policy, steps=2, kernels=[policy.coordinates])
    assert (told.doubts, told.verdict.startswith("undecided")) == ((), False)
    assert not any("critic" in note for note in told.notes)


def test_a_run_says_what_is_not_settled_about_its_scheme() -> None:
    turned = ls.schemes.Unsettled(unknown="version", options=(("1", {}), ("2", {"advantage": advantages.Raw()})))
    policy = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=100),
                                   wrong=ls.lengths.geometric(mean=60), max_tokens=1024)
    run = ls.train(replace(schemes.grpo(), doubts=(turned,)), policy, steps=1)
    doubt, = ls.drift(replace(schemes.grpo(), doubts=(turned,)), policy).doubts[1:]
    np.testing.assert_allclose(run.doubts[0].lengths, doubt.lengths, rtol=1e-12)
    assert not run.doubts[0].decided
    assert f"in the first step {doubt.text}" in run.verdict
    nobody = ls.schemes.Unsettled(unknown="actor.foo", options=(("3", None),))
    unknown = ls.train(replace(schemes.grpo(), doubts=(nobody,)), policy, steps=1)
    assert unknown.verdict.endswith("unless actor.foo = 3, which lossim does not know, bears on the loss")


def test_an_interrupt_keeps_what_was_done(capsys: pytest.CaptureFixture[str]) -> None:
    def schedule(count: int) -> float:
        if count == 4:
            raise KeyboardInterrupt
        return 1.0

    run = ls.train(schemes.grpo(), POLICY, steps=50, progress=True, optimizer=sgd(1.0, schedule=schedule))
    assert run.interrupted
    assert run.steps == 4
    assert len(run.within) == 4
    assert "step 4 of 50" in capsys.readouterr().err
    assert "interrupted" in str(run)


@pytest.mark.parametrize(("bad", "words"), [
    (dict(scheme="grpo"), "scheme must be a Scheme"), (dict(policy=3), "policy must be a Policy"),
    (dict(steps=0), "steps must be at least 1"), (dict(optimizer=0.1), "optimizer must be"),
    (dict(method="meanfield"), "did you mean 'mean_field'"), (dict(reference=1), "reference must be a Policy"),
    (dict(rng=np.random.default_rng(0)), "rng is only for sampling"), (dict(replicates=2), "replicates must be 1"),
    (dict(method="flow", optimizer=optimizers.AdamW(learning_rate=0.1)), "plain SGD"),
    (dict(method="flow", optimizer=sgd(0.1, momentum=0.9)), "plain SGD"),
    (dict(method="flow", scheme=replace(schemes.grpo(), ppo_epochs=2)), "must be 1 for method='flow'"),
    (dict(method="stochastic"), "rng must be a numpy Generator"),
    (dict(scheme=replace(schemes.dapo(max_tokens=64, buffer=16), advantage=ls.advantages.MaxRL())), "no closed form")])
def test_bad_arguments(bad: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError, ls.NoClosedForm), match=words):
        ls.train(**dict(scheme=schemes.grpo(), policy=POLICY, steps=2) | bad)


@pytest.mark.parametrize("max_tokens", [1, 2])
def test_hazards_of_zero_and_one_stay(max_tokens: int) -> None:
    path = ls.Path("only", length=ls.lengths.table([0.0, 1.0][:max_tokens]), p_correct=0.5, p_correct_truncated=0.5)
    policy = ls.Policy([ls.PromptClass("coin", paths=[path])], max_tokens=max_tokens)
    run = ls.train(schemes.ppo(), policy, steps=3)
    np.testing.assert_array_equal(run.length, run.length[0])
    assert np.isfinite(run.kl_to_start).all()


def test_a_measured_kernel_under_adam_is_noted() -> None:
    kernel = ls.kernel(np.full((2, 1, 2, 1), 100.0) + 30.0 * np.eye(2)[:, None, :, None], positions=[1])
    policy = replace(POLICY, coordinates=kernel)
    noted = [any("knots" in note for note in ls.train(schemes.grpo(), policy, steps=1, optimizer=optimizer).notes)
             for optimizer in (optimizers.AdamW(learning_rate=0.1), sgd(0.001, max_norm=1.0), sgd(0.001))]
    assert noted == [True, True, False]


def test_a_run_that_cannot_go_on_keeps_its_steps() -> None:
    """Resampling runs out of groups with unequal rewards."""
    policy = ls.policies.two_paths(solve_rate=0.5, right=ls.lengths.geometric(mean=5),
                                   wrong=ls.lengths.geometric(mean=8), max_tokens=32,
                                   coordinates=ls.coordinates(sharing=0.7, path_scale=3.0))
    run = ls.train(schemes.dapo(), policy, steps=100, optimizer=sgd(20.0))
    assert 0 < run.steps < 100
    assert any(f"ended after step {run.steps} of 100" in note and "never fills" in note for note in run.notes)
    assert len(run.coordinates) == run.steps + 1
    assert len(run.within) == run.steps
    with pytest.raises(ValueError, match="never fills"):
        ls.train(schemes.dapo(), ls.policies.unsolvable(length=ls.lengths.geometric(mean=5), max_tokens=9), steps=3)


def test_what_the_mean_field_assumes_is_noted() -> None:
    def notes(scheme: ls.Scheme, optimizer: optimizers.Optimizer) -> tuple[bool, bool]:
        run = ls.train(scheme, POLICY, steps=1, optimizer=optimizer)
        return tuple(any(words in note for note in run.notes) for words in ("not linear", "statistics of a step"))

    assert notes(schemes.grpo(), sgd(0.1, momentum=0.5)) == (False, False)
    assert notes(schemes.reinforce_plus_plus(), sgd(0.1)) == (False, True)
    assert notes(schemes.grpo(), optimizers.AdamW(learning_rate=0.1)) == (True, False)
    assert notes(replace(schemes.ppo(whiten=True), minibatches=2), sgd(0.1)) == (True, True)


def test_a_critic_goes_on_where_it_was() -> None:
    def scheme(start: Any) -> ls.Scheme:
        return schemes.ppo(critic=critics.LearnedTable(rate=0.2, per="cell", start=start), aggregation=SUM)

    whole = ls.train(scheme(0.0), POLICY, steps=6, optimizer=sgd(0.2))
    first = ls.train(scheme(0.0), POLICY, steps=3, optimizer=sgd(0.2))
    assert first.critic is not None
    second = ls.train(scheme(first.critic[-1]), first.policy, steps=3, optimizer=sgd(0.2))
    np.testing.assert_allclose(second.length, whole.length[3:], rtol=1e-10)


class Tired(critics.LearnedTable):
    def targets(self, *_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt


def test_an_interrupt_while_the_critic_pretrains() -> None:
    run = ls.train(schemes.ppo(critic=Tired(rate=0.1, pretrain=5)), POLICY, steps=3)
    assert (run.interrupted, run.steps) == (True, 0)


@pytest.mark.parametrize("threshold", [0.05, 0.1, 0.15, 0.2, 0.3, 10.0])
def test_clip_fraction_of_a_mask_around_a_clip(threshold: float) -> None:
    """All tokens of a response that is masked, and of the others those that the clip holds; response by response."""
    start = ls.policies.two_paths(solve_rate=0.4, right=ls.lengths.geometric(mean=3),
                                  wrong=ls.lengths.geometric(mean=4), max_tokens=4,
                                  coordinates=ls.coordinates(sharing=0.7, path_scale=3.0))
    mask = surrogates.OffPolicyMask(inner=surrogates.PPOClip(), threshold=threshold)
    scheme = replace(schemes.rloo(), surrogate=mask, ppo_epochs=2)
    run = ls.train(scheme, start, steps=1, optimizer=sgd(0.6))
    # The last optimiser step is taken where one pass leads.
    now = ls.train(replace(scheme, ppo_epochs=1), start, steps=1, optimizer=sgd(0.6)).policy
    stop, go = np.log(now.hazard) - np.log(start.hazard), np.log(now.stay) - np.log(start.stay)
    held = total = masked = 0.0
    for cell, end in np.ndindex(2, 5):
        log_ratio = [*go[cell, :end], *stop[cell, end:end + 1]]
        log_ratio[0] += np.log(now.probability[cell] / start.probability[cell])
        chance = start.probability[cell] * start.ends[cell, end]
        clipped = sum(not 0.8 <= ratio <= 1.2 for ratio in np.exp(log_ratio))
        out = -np.mean(log_ratio) > threshold
        held += chance * (len(log_ratio) if out else clipped)
        masked += chance * len(log_ratio) * out
        total += chance * len(log_ratio)
    assert run.clip_fraction[0] == pytest.approx(held / total, rel=1e-9)
    assert held > masked
    assert (masked > 0) == (threshold < 0.12)
