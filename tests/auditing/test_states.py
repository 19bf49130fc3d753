"""Logs read as states, and by the paths that they name: against sampled batches, reductions, and known laws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import lossim as ls
from batches import engine_gradient, step_of
from logged import altered
from lossim._auditing.cells import LoggedCells
from lossim._auditing.reading import read_log
from lossim.advantages import GAE, GroupMean, GroupStandardized, LeaveOneOut, Whitened
from lossim.aggregation import ConstantNormalizer, SequenceMeanTokenMean, SequenceMeanTokenSum, TokenMean
from lossim.penalties import Entropy
from lossim.policies import Draws
from lossim.schemes import Scheme

PROMPTS, GROUP = 30, 4
MEAN = SequenceMeanTokenMean()
SCHEMES = {
    "std": Scheme(advantage=GroupStandardized(), aggregation=MEAN),
    "mean, mask": Scheme(advantage=GroupMean(), aggregation=ConstantNormalizer(), truncation="mask"),
    "loo, remove": Scheme(advantage=LeaveOneOut(), aggregation=SequenceMeanTokenSum(), truncation="remove"),
    "whitened": Scheme(advantage=Whitened(inner=GroupMean()), aggregation=TokenMean(), truncation="mask"),
    "gae": Scheme(advantage=GAE(critic=ls.critics.Constant(value=0.4)), aggregation=MEAN),
    "gae, exact critic": Scheme(advantage=GAE(gae_lambda=0.8, critic=ls.critics.Exact()), aggregation=TokenMean()),
    "gae, whitened": Scheme(advantage=Whitened(inner=GAE(gae_lambda=0.8, critic=ls.critics.Exact())),
                            aggregation=TokenMean()),
    "entropy": Scheme(advantage=GroupMean(), aggregation=TokenMean(), penalties=(Entropy(coefficient=0.1),)),
}


def thinking(name: str, weight: float, answer: float, *, never: float = 0.2, sure: float = 0.9) -> ls.PromptClass:
    """Prompts whose answers take so long; done, most are right, and a few are by luck before that."""
    work = ls.Work(answer=ls.lengths.geometric(mean=answer), never=never, done=ls.lengths.geometric(mean=4),
                   p_correct=sure, p_correct_truncated=0.5)
    return ls.PromptClass(name, weight=weight, paths=[
        ls.Path("all", length=ls.lengths.geometric(mean=9), p_correct=1.0 - sure, work=work)])


THINKING = ls.Policy([thinking("easy", 0.6, 3.0), thinking("hard", 0.4, 7.0)], max_tokens=16)
KNOWING = ls.Policy([thinking("all", 1.0, 4.0, sure=1.0)], max_tokens=24)
MODES = ls.Policy([ls.PromptClass(name, weight=0.5, paths=[
    ls.Path("long", probability=0.4, length=ls.lengths.geometric(mean=9), p_correct=long),
    ls.Path("short", probability=0.6, length=ls.lengths.geometric(mean=4), p_correct=0.4)])
    for name, long in (("easy", 0.8), ("hard", 0.5))], max_tokens=16)


def sample(policy: ls.Policy, *, prompts: int = PROMPTS, seed: int = 0, steps: int = 1) -> ls.Rollouts:
    log = policy.sample(np.random.default_rng(seed), prompts=prompts, group_size=GROUP)
    return altered(log, steps=log.prompt_ids * steps // prompts, answered=log.answered, path_names=log.path_names)


def drift(log: ls.Rollouts, scheme: Scheme, **options: Any) -> ls.Drift:
    return ls.audit(log, scheme, what_if=False, **{"replicates": 0} | options)[0].drift


def gradient(found: ls.Drift) -> np.ndarray:
    paths = found.path_gradient.value
    return np.concatenate([found.hazard_gradient.value.ravel(), paths[~np.isnan(paths)]])


def close(one: Any, other: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(np.abs(other).max(), 1e-3))


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("reading", ["states", "share", "column"])
@pytest.mark.parametrize("name", SCHEMES)
def test_a_log_of_whole_batches_is_those_batches(name: str, reading: str, steps: int) -> None:
    """The engine of sampled batches, with the log's own law for a policy, is the other road."""
    scheme = replace(SCHEMES[name], prompts_per_step=PROMPTS // steps, group_size=GROUP)
    log = sample(MODES if reading == "column" else THINKING, steps=steps)
    if reading == "column":
        found = drift(log, scheme, paths="column")
        cell = 2 * log.classes + (log.path_names == "short")
        entered = np.zeros(len(log), dtype=int)
    else:
        found = drift(log, scheme, paths="states", needed=0.4 if reading == "share" else None)
        answered = np.nan_to_num(log.answered).astype(int)
        if reading == "share":
            answered = np.where(log.correct, np.ceil(0.4 * log.lengths), 0).astype(int)
        cell = 2 * log.classes + (answered > 0)
        entered = np.maximum(answered - 1, 0)
    end = np.where(log.truncated, log.lengths.max(), log.lengths - 1)
    shape = (steps, scheme.prompts_per_step, GROUP)
    draws = Draws(cell=cell.reshape(shape), grade=(~log.correct).astype(int).reshape(shape), end=end.reshape(shape),
                  entered=entered.reshape(shape))
    close(gradient(found), engine_gradient(step_of(scheme, found.policy), draws))


@pytest.mark.parametrize("reading", ["states", "share", "column"])
@pytest.mark.parametrize("name", SCHEMES)
def test_contributions_of_responses_add_up_to_the_drift(name: str, reading: str) -> None:
    log = sample(MODES if reading == "column" else THINKING, steps=3)
    found = ls.audit(log, SCHEMES[name], what_if=False, replicates=0, paths=reading.replace("share", "states"),
                     needed=0.4 if reading == "share" else None)[0]
    entropy = float(found.drift.source(term="entropy"))
    assert float(found.source("length").value.sum()) == pytest.approx(float(found.length) - entropy, rel=1e-9)


@pytest.mark.parametrize("name", SCHEMES)
def test_a_column_at_a_share_of_the_length_is_that_share(name: str) -> None:
    log = sample(THINKING, steps=3)
    at = np.where(log.correct, np.maximum(np.ceil(0.6 * log.lengths), 1.0), np.nan)
    column, share = (ls.audit(altered(log, answered=answered), SCHEMES[name], what_if=False, replicates=20,
                              paths="states", needed=needed)[0].drift.to_dict()
                     for answered, needed in ((at, None), (None, 0.6)))
    for number in ("length", "needed", "free", "accuracy", "length_per_kl", "hazard_gradient", "sources"):
        for part in ("value", "stderr"):
            one, other = (np.array(each[number][part], dtype=float) for each in (column, share))
            close(np.nan_to_num(one), np.nan_to_num(other), 1e-9)


@pytest.mark.parametrize("name", [name for name in SCHEMES if "gae" not in name])
def test_with_nothing_needed_states_are_outcomes_that_nobody_chooses(name: str) -> None:
    log = sample(THINKING)
    frozen = ls.coordinates(sharing=0.7, class_sharing=0.7, path_scale=0.0)
    states, outcome = (ls.audit(log, SCHEMES[name], what_if=False, replicates=40, coordinates=frozen, paths=paths,
                                needed=needed)[0].drift for paths, needed in (("states", 0.0), ("outcome", None)))
    swapped = [1, 0, 3, 2]  # right, wrong against working, done
    close(states.hazard_gradient.value[swapped], outcome.hazard_gradient.value, 1e-10)
    for number in ("length", "length_per_kl", "truncation_rate"):
        one, other = getattr(states, number), getattr(outcome, number)
        assert float(one) == pytest.approx(float(other), rel=1e-9), number
        assert float(one.stderr) == pytest.approx(float(other.stderr), rel=1e-6), number
    assert float(states.needed) == 0.0


def repeated(log: ls.Rollouts, times: np.ndarray) -> ls.Rollouts:
    """A log with each prompt so many times, as prompts of their own."""
    parts = [np.flatnonzero(log.prompt_ids == prompt) for prompt, n in enumerate(times) for _ in range(n)]
    rows = np.concatenate(parts)
    ids = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return ls.Rollouts(log.lengths[rows], log.rewards[rows], ids, log.truncated[rows], log.correct[rows],
                       log.classes[rows], answered=log.answered[rows])


@pytest.mark.parametrize("needed", [None, 0.0, 0.5, 1.0])
def test_a_redrawn_log_has_the_arrays_of_a_log_of_those_prompts(needed: float | None) -> None:
    log = sample(THINKING)
    times = np.random.default_rng(2).multinomial(PROMPTS, np.full(PROMPTS, 1 / PROMPTS))

    def cells(log: ls.Rollouts) -> LoggedCells:
        read = read_log(log, max_tokens=16, needs_answers=needed is None)
        return LoggedCells(log=read, paths="states", coordinates=ls.coordinates(), needed=needed)

    whole = cells(log)
    prompt_of_block = np.argsort(whole.log.block_of_prompt)
    weights = times[prompt_of_block].astype(float)[None]
    counted = whole.redrawn(whole.log.redrawn(whole.log.counts, weights)).policy
    again = cells(repeated(log, times)).policy.arrays
    for name in ("class_weight", "probability", "ends", "at_risk", "log_at_risk", "arrival", "entering", "pmf"):
        np.testing.assert_allclose(getattr(counted, name), getattr(again, name), rtol=1e-9, atol=1e-14, err_msg=name)
    there = again.at_risk > 0
    for name in ("hazard", "stay", "mean_length_gradient"):
        close(getattr(counted, name)[there], getattr(again, name)[there], 1e-10)


LOGS, MANY = 40, 100
STEP = {"group_size": GROUP, "prompts_per_step": MANY}


@pytest.mark.parametrize("scheme", [
    Scheme(advantage=GroupStandardized(), aggregation=MEAN, **STEP),
    Scheme(advantage=GAE(gae_lambda=0.9, critic=ls.critics.Constant(value=0.4)), aggregation=TokenMean(), **STEP)],
    ids=["grpo", "ppo"])
def test_intervals_cover_the_exact_drift_at_their_nominal_rate(scheme: Scheme) -> None:
    """40 logs of 400 responses: two standard errors should cover 95.4 % of the time.

    The share has standard deviation 3.3 %, the mean of z 16 %, that of z² 22 %; four of them are allowed.
    """
    exact = ls.drift(scheme, KNOWING)
    z = np.empty((LOGS, 4))
    for i in range(LOGS):
        mine = drift(sample(KNOWING, prompts=MANY, seed=500 + i), scheme, paths="states", replicates=50)
        for k, name in enumerate(("length", "needed", "free", "accuracy")):
            estimate = getattr(mine, name)
            z[i, k] = (float(estimate) - float(getattr(exact, name))) / float(estimate.stderr)
    assert ((np.abs(z) < 2.0).mean(axis=0) > 0.954 - 4 * 0.033).all(), (np.abs(z) < 2.0).mean(axis=0)
    assert (np.abs((z**2).mean(axis=0) - 1.0) < 4 * 0.22).all(), (z**2).mean(axis=0)
    assert (np.abs(z.mean(axis=0)) < 4 * 0.16).all(), z.mean(axis=0)


# --- verdicts over needed shares --------------------------------------------------------------------------------------


def early_or_late(seed: int = 3) -> ls.Rollouts:
    """Right responses about as long as wrong ones: whether they were needed to be decides which way length goes."""
    policy = ls.policies.two_paths(solve_rate=0.5, right=ls.lengths.geometric(mean=40),
                                   wrong=ls.lengths.geometric(mean=40), max_tokens=200)
    return policy.sample(np.random.default_rng(seed), prompts=400, group_size=GROUP)


PPO = Scheme(name="ppo", advantage=GAE(gae_lambda=0.95, critic=ls.critics.Constant(value=0.3)), aggregation=MEAN,
             group_size=GROUP)


def test_the_verdict_is_over_the_needed_shares() -> None:
    log = early_or_late()
    one = ls.audit(log, PPO, paths="states", what_if=False)[0]
    assert [at.share for at in one.over_needed] == [0.25, 0.5, 0.9]
    assert one.needed_share == 0.5
    assert float(one.over_needed[1].length) == float(one.length)
    for at in one.over_needed:
        alone = ls.audit(log, PPO, paths="states", needed=at.share, what_if=False)[0]
        for name in ("length", "needed", "free", "accuracy_per_token"):
            assert float(getattr(at, name)) == pytest.approx(float(getattr(alone.drift, name)), rel=1e-9), name
        assert at.way == np.sign(float(alone.length)) * alone.significant
    ways = {at.way for at in one.over_needed}
    assert one.undecided == (len(ways) > 1)
    assert any("does not say" in note for note in ls.audit(log, PPO, paths="states", what_if=False).notes)


def test_a_share_that_decides_is_named() -> None:
    """Between nothing and everything needed the drift of this log changes its sign."""
    log = early_or_late()
    scheme = Scheme(name="mean", advantage=GAE(gae_lambda=0.97, critic=ls.critics.Constant(value=0.45)),
                    aggregation=MEAN, group_size=GROUP)
    found = ls.audit(log, scheme, paths="states", needed=(0.0, 1.0), what_if=False)[0]
    assert found.undecided
    assert not found.significant
    assert found.verdict.startswith("undecided: the share of a right response that was needed decides")
    assert "if it is 0 (" in found.verdict
    assert "if it is 1 (" in found.verdict


def test_cut_responses_that_had_their_answer_may_turn_the_sign() -> None:
    """Responses that ramble on to the cap once done: DAPO shortens, and calling them all working would lengthen."""
    path = ls.Path("all", length=ls.lengths.geometric(mean=300), p_correct=0.0, work=ls.Work(
        answer=ls.lengths.geometric(mean=10), never=0.2, done=ls.lengths.geometric(mean=60)))
    policy = ls.Policy([ls.PromptClass("all", paths=[path])], max_tokens=150)
    scheme = ls.schemes.dapo()
    log = policy.sample(np.random.default_rng(0), prompts=200, group_size=8)
    assert float(ls.drift(scheme, policy).length) < 0
    assert "shorter" in ls.audit(log, scheme, paths="states", what_if=False)[0].verdict
    bare = altered(log, answered=None, path_names=None)
    found = ls.audit(bare, scheme, paths="states", what_if=False, replicates=20)[0]
    assert {at.way for at in found.over_needed} == {1}
    assert found.undecided
    assert not found.significant
    assert found.verdict.startswith("undecided: whether truncated responses had their answer decides")
    for at in found.over_needed:
        had = bare.correct | bare.truncated
        told = altered(bare, answered=np.where(had, np.ceil(at.share * bare.lengths), np.nan))
        same = ls.audit(told, scheme, paths="states", what_if=False, replicates=20)[0]
        assert float(at.if_cut_done) == pytest.approx(float(same.length_per_kl), rel=1e-9)
        assert at.way_if_cut_done == np.sign(float(same.length)) * same.significant


def test_without_cut_responses_nothing_hangs_on_them() -> None:
    policy = ls.policies.two_paths(solve_rate=0.5, right=ls.lengths.geometric(mean=9),
                                   wrong=ls.lengths.geometric(mean=7), max_tokens=400)
    log = policy.sample(np.random.default_rng(3), prompts=100, group_size=GROUP)
    assert not log.truncated.any()
    for at in ls.audit(altered(log), PPO, paths="states", what_if=False)[0].over_needed:
        assert at.if_cut_done.value == at.length_per_kl.value
        assert at.ways == {at.way}


def test_a_column_settles_it() -> None:
    found = ls.audit(sample(THINKING), PPO, paths="states", what_if=False)
    assert found[0].over_needed == ()
    assert found[0].needed_share is None
    assert not found[0].undecided
    assert any(note.startswith("answers are there where the log says") for note in found.notes)


@pytest.mark.parametrize("paths", ["states", "one"])
@pytest.mark.parametrize("coefficient", [0.01, 10.0])
def test_with_an_entropy_bonus_no_sign_is_told(paths: Any, coefficient: float) -> None:
    log = altered(sample(KNOWING, prompts=100), answered=None, path_names=None)
    bare = replace(SCHEMES["std"], penalties=())
    bonus = replace(bare, penalties=(Entropy(coefficient=coefficient),))
    plain, found = (ls.audit(log, scheme, paths=paths, what_if=False)[0] for scheme in (bare, bonus))
    assert plain.significant
    way = "longer" if float(plain.length) > 0 else "shorter"
    assert found.verdict == f"undecided: entropy also acts on content; all else makes responses {way}"
    assert found.undecided


def test_a_smaller_cap_takes_answers_beyond_it_away() -> None:
    log = sample(THINKING, prompts=60)
    cap = 8
    cut = log.lengths > cap
    shorter = altered(log, lengths=np.minimum(log.lengths, cap), truncated=cut, correct=log.correct & ~cut,
                      rewards=np.where(cut & ~log.truncated, log.rewards[log.truncated].mean(), log.rewards),
                      answered=np.where(log.answered <= cap, log.answered, np.nan))
    found = ls.audit(log, SCHEMES["std"], paths="states", what_if=True, replicates=0)[0]
    halved = next(each for each in found.what_if if "cut at 8" in each.change)
    assert float(halved.length) == pytest.approx(float(drift(shorter, SCHEMES["std"], paths="states").length), rel=1e-9)


# --- named paths ------------------------------------------------------------------------------------------------------


def catching_up(seed: int = 0) -> ls.Rollouts:
    """Eight steps in which the short path loses its share while it learns."""
    rng = np.random.default_rng(seed)
    logs = []
    for step in range(8):
        share = 0.7 - 0.04 * step
        paths = [ls.Path("long", probability=1.0 - share, length=ls.lengths.geometric(mean=40), p_correct=0.75),
                 ls.Path("short", probability=share, length=ls.lengths.geometric(mean=15),
                         p_correct=0.3 + 0.05 * step)]
        policy = ls.Policy([ls.PromptClass("all", paths=paths)], max_tokens=120)
        logs.append(policy.sample(rng, prompts=60, group_size=8))

    def column(name: str) -> np.ndarray:
        return np.concatenate([getattr(log, name) for log in logs])

    steps = np.repeat(np.arange(8), len(logs[0]))
    return ls.Rollouts(column("lengths"), column("rewards"), column("prompt_ids") + 100 * steps, column("truncated"),
                       column("correct"), steps=steps, path_names=column("path_names"))


def test_accuracy_by_path_over_the_steps_is_counted_and_a_turn_is_told() -> None:
    log = catching_up()
    found = ls.audit(log, SCHEMES["std"], paths="column", what_if=False)
    by_path = found.by_path
    assert by_path.names == ("long", "short")
    assert by_path.steps == ((0, 1), (2, 3), (4, 5), (6, 7))
    for run, (first, last) in enumerate(by_path.steps):
        inside = (log.steps >= first) & (log.steps <= last)
        for path, name in enumerate(by_path.names):
            mine = inside & (log.path_names == name)
            assert by_path.share.value[run, path] == pytest.approx(mine.sum() / inside.sum())
            right = log.correct[mine].mean()
            assert by_path.accuracy.value[run, path] == pytest.approx(right)
            spread = np.sqrt(right * (1.0 - right) / mine.sum())
            assert by_path.accuracy.stderr[run, path] == pytest.approx(spread, rel=0.3)
    assert any("the path short is catching up with long" in note for note in found.notes)
    assert "share, accuracy by path" in str(found)
    assert found.to_dict()["by_path"]["names"] == ["long", "short"]


def test_paths_of_one_name_are_the_reading_of_one_path() -> None:
    log = altered(sample(MODES), path_names=np.full(PROMPTS * GROUP, "all"))
    for scheme in SCHEMES.values():
        close(gradient(drift(log, scheme, paths="column")), gradient(drift(log, scheme, paths="one")), 0.0)


def test_what_cannot_be_read_is_refused() -> None:
    log = sample(THINKING)
    bare = altered(log)
    adaptive = Scheme(name="vapo", advantage=GAE(gae_lambda=ls.advantages.LengthAdaptive(alpha=0.3)), aggregation=MEAN)
    with pytest.raises(ValueError, match="paths needs a log that names the path of each response"):
        ls.audit(bare, PPO, paths="column")
    with pytest.raises(ValueError, match=r"needed is for paths='states', got 0.5"):
        ls.audit(log, PPO, needed=0.5)
    with pytest.raises(ValueError, match=r"needed must lie in \[0, 1\], got 1.5"):
        ls.audit(log, PPO, paths="states", needed=(0.5, 1.5))
    with pytest.raises(TypeError, match="needed must be a number, got 'half'"):
        ls.audit(log, PPO, paths="states", needed="half")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="paths cannot be read under vapo, whose λ depends on the length"):
        ls.audit(log, adaptive, paths="states")
