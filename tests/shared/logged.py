"""Logs and a slow plain reference: the drift of a log, response by response and token by token."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import mean, stdev

import numpy as np

import lossim as ls
from lossim.advantages import GAE, GroupStandardized
from lossim.aggregation import SequenceMeanTokenMean
from lossim.rewards import Reward
from lossim.schemes import Scheme

CLASSES = ls.Policy(
    [ls.PromptClass("hard", weight=0.6, paths=[
        ls.Path("right", probability=0.3, length=ls.lengths.geometric(mean=7), p_correct=1.0, p_correct_truncated=1.0),
        ls.Path("wrong", probability=0.7, length=ls.lengths.geometric(mean=12), p_correct=0.0)]),
     ls.PromptClass("easy", weight=0.4, paths=[
         ls.Path("right", probability=0.8, length=ls.lengths.geometric(mean=5), p_correct=1.0),
         ls.Path("wrong", probability=0.2, length=ls.lengths.geometric(mean=9), p_correct=0.0)])], max_tokens=16)
"""Two classes; the right path of the first is graded right even where it is cut."""
UNKNOWING = ls.Policy(
    [ls.PromptClass("all", paths=[ls.Path("all", length=ls.lengths.geometric(mean=9),
                                          p_correct=lambda t: np.exp(-t / 12.0))])], max_tokens=16)
"""One path: the policy cannot tell right from wrong, though long responses are right less often."""


def sample(policy: ls.Policy = CLASSES, *, prompts: int = 30, group_size: int = 4, seed: int = 0) -> ls.Rollouts:
    """A log of one step."""
    return policy.sample(np.random.default_rng(seed), prompts=prompts, group_size=group_size)


def ragged(seed: int = 0) -> ls.Rollouts:
    """Groups of 1 to 6, rewards between 0 and 1, three steps, scattered over the log."""
    rng = np.random.default_rng(seed)
    full = sample(prompts=24, group_size=6, seed=seed)
    keep = np.flatnonzero(rng.random(len(full)) < 0.6)
    keep = rng.permutation(keep)
    paid = np.round(0.5 * full.rewards + 0.5 * rng.random(len(full)), 1)
    return ls.Rollouts(full.lengths[keep], paid[keep], full.prompt_ids[keep], full.truncated[keep], full.correct[keep],
                       full.classes[keep], steps=full.prompt_ids[keep] % 3)


@dataclass(frozen=True)
class Row:
    """One response."""

    length: int
    reward: float
    group: tuple[int, int]
    cut: bool
    right: bool
    kind: int


def rows(log: ls.Rollouts) -> list[Row]:
    """The log as a list."""
    nothing = [0] * len(log)
    return [Row(int(t), float(r), (int(s), int(g)), bool(cut), bool(right), int(kind)) for t, r, g, s, cut, right, kind
            in zip(log.lengths, log.rewards, log.prompt_ids, log.steps if log.steps is not None else nothing,
                   log.truncated, log.correct, log.classes, strict=True)]


def gradient(log: ls.Rollouts, *, estimator: str, aggregation: str, truncation: str = "keep", paths: str = "outcome",
             law: ls.Rollouts | None = None) -> tuple[dict[tuple[int, int, int], float], dict[tuple[int, int], float]]:
    """g by (class, path, t) and by (class, path), per response: Σ n·w·A·score over tokens, in plain Python.

    Estimators "mean", "std" and "loo"; aggregations "sequence" (mean of token means), "sum", "tokens" (token-mean over
    the step) and "group tokens" (mean over groups of their token-means). A group left with fewer than two responses
    contributes nothing. Hazards and path probabilities are those of another log, ``law``, if there is one.
    """
    given = rows(log)

    def path(row: Row) -> int:
        return 0 if paths == "one" or row.right else 1

    at_risk: dict[tuple[int, int, int], int] = defaultdict(int)
    stops: dict[tuple[int, int, int], int] = defaultdict(int)
    count: dict[tuple[int, int], int] = defaultdict(int)
    of_class: dict[int, int] = defaultdict(int)
    groups: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in given if law is None else rows(law):
        count[row.kind, path(row)] += 1
        of_class[row.kind] += 1
        for t in range(1, row.length + 1):
            at_risk[row.kind, path(row), t] += 1
        if not row.cut:
            stops[row.kind, path(row), row.length] += 1

    for row in given:
        groups[row.group].append(row)
    credited: list[tuple[Row, float]] = []
    for members in groups.values():
        inside = [row for row in members if truncation != "remove" or not row.cut]
        in_loss = [row for row in members if truncation == "keep" or not row.cut]
        if truncation == "remove" and len(inside) < 2 and len(members) > 1:
            in_loss = []
        for row in in_loss:
            rewards = [each.reward for each in inside]
            others = len(rewards) - 1
            if estimator == "loo":
                credit = row.reward - (sum(rewards) - row.reward) / others if others else 0.0
            else:
                credit = row.reward - mean(rewards)
                if estimator == "std":
                    credit = credit / (stdev(rewards) + 1e-6) if others else row.reward / (1.0 + 1e-6)
            credited.append((row, credit))

    tokens: dict[int, int] = defaultdict(int)
    of_group: dict[tuple[int, int], int] = defaultdict(int)
    responses: dict[int, int] = defaultdict(int)
    for row in given:
        responses[row.group[0]] += 1
    for row, _ in credited:
        tokens[row.group[0]] += row.length
        of_group[row.group] += row.length
    stop_gradient: dict[tuple[int, int, int], float] = defaultdict(float)
    path_gradient: dict[tuple[int, int], float] = defaultdict(float)
    for row, credit in credited:
        step = row.group[0]
        weight = {"sequence": 1.0 / row.length, "sum": 1.0,
                  "tokens": responses[step] / max(tokens[step], 1),
                  "group tokens": responses[step] / (sum(group[0] == step for group in groups) * of_group[row.group]),
                  }[aggregation]
        c = weight * credit / len(given)
        for t in range(1, row.length + 1):
            place = row.kind, path(row), t
            hazard = stops[place] / at_risk[place]
            stopped = t == row.length and not row.cut
            stop_gradient[place] += c * ((1.0 if stopped else 0.0) - hazard)
        for each in {path for kind, path in count if kind == row.kind}:
            share = count[row.kind, each] / of_class[row.kind]
            path_gradient[row.kind, each] += c * ((1.0 if each == path(row) else 0.0) - share)
    return stop_gradient, path_gradient


# --- for audits -----------------------------------------------------------------------------------------------

PLUS_MINUS = Reward(incorrect=-1.0)
GRPO = Scheme(name="grpo", advantage=GroupStandardized(), aggregation=SequenceMeanTokenMean(), group_size=4)
PPO = Scheme(name="ppo", advantage=GAE(gae_lambda=0.9), aggregation=SequenceMeanTokenMean(), reward=PLUS_MINUS,
             group_size=4)


def altered(log: ls.Rollouts, **changes: object) -> ls.Rollouts:
    columns = {name: getattr(log, name) for name in ("lengths", "rewards", "prompt_ids", "truncated", "correct",
                                                     "classes", "steps", "kl")}
    return ls.Rollouts(**(columns | changes))


def audited(log: ls.Rollouts, scheme: Scheme, **keywords: object) -> float:
    return float(ls.audit(log, scheme, what_if=False, replicates=0, **keywords)[0].length)


# What the engine cannot take to be one law: right responses that are cut and graded wrong change path in a log.
KNOWING = ls.Policy(
    [ls.PromptClass("hard", weight=0.6, paths=[
        ls.Path("right", probability=0.3, length=ls.lengths.geometric(mean=7), p_correct=1.0, p_correct_truncated=1.0),
        ls.Path("wrong", probability=0.7, length=ls.lengths.geometric(mean=12), p_correct=0.0)]),
     ls.PromptClass("easy", weight=0.4, paths=[
         ls.Path("right", probability=0.7, length=ls.lengths.geometric(mean=4), p_correct=1.0, p_correct_truncated=1.0),
         ls.Path("wrong", probability=0.3, length=ls.lengths.geometric(mean=9), p_correct=0.0)])], max_tokens=24)
