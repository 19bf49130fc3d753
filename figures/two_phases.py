"""Figure: PPO lengthens on prompts that are never solved, and shortens again on prompts that sometimes are."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import lossim as ls
from _starts import CONCISE, RATIO, SIGMA, median_for
from _style import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    Numbers,
    heading,
    legend,
    new_figure,
    prose,
    styled,
)
from lossim import advantages, aggregation, critics, optimizers, penalties

CLAIM = ("On prompts it never solves PPO lengthens, but for a token sum at λ = 1; on ones it solves 1 time in 16 or "
         "more it shortens again, if its critic learns")
EXACT = True

MAX_TOKENS, WRONG = 8192, 3000  # tokens: the cap, and the mean length of wrong responses
WIDER = 3.0  # another ratio of the two mean lengths, for the solve rate at which the first one decides
SOLVE_RATES = (0.0625, 0.125, 0.25, 0.375)
SETTINGS = CONCISE["settings"]
REWARD = ls.Reward(correct=SETTINGS["reward_correct"], incorrect=SETTINGS["reward_wrong_boxed"],
                   truncated=SETTINGS["reward_no_box"])
RULES = {"mean over tokens": aggregation.SequenceMeanTokenMean(),
         "token sum / 3,000": aggregation.ConstantNormalizer(constant=WRONG)}
SAID = dict(zip(RULES, ("token mean", "token sum"), strict=True))
LAMBDAS = (0.95, 1.0)
RULE_COLOURS, RATE_COLOURS = (VERMILION, BLUE), (SKY, GREEN, ORANGE, PURPLE)
CRITICS = {"learns": critics.LearnedTable(rate=0.1), "stays at 0": critics.Zero()}
FIRST, SECOND, EVERY = 20, 80, 4  # optimiser steps of the two phases; every how many one is stored
PLAIN_RATE, WHITENED_RATE = 40.0, 2.0  # learning rates without and with whitening


def start(solve_rate: float, ratio: float = RATIO) -> ls.Policy:
    """Prompts that are never solved, and beside them, at weight 0, prompts that sometimes are."""
    right, wrong = (ls.lengths.lognormal(median=median_for(mean, MAX_TOKENS), sigma=SIGMA)
                    for mean in (WRONG / ratio, WRONG))
    sometimes = [ls.Path("right", probability=solve_rate, length=right, p_correct=1.0),
                 ls.Path("wrong", probability=1.0 - solve_rate, length=wrong, p_correct=0.0)]
    never = [ls.Path("wrong", length=wrong, p_correct=0.0)]
    return ls.Policy([ls.PromptClass("never", weight=1.0, paths=never),
                      ls.PromptClass("sometimes", weight=0.0, paths=sometimes)], max_tokens=MAX_TOKENS)


def solved(policy: ls.Policy) -> ls.Policy:
    """The policy on the prompts that it sometimes solves."""
    return policy.reweighted({"sometimes": 1.0})


def scheme(critic: critics.Critic) -> ls.Scheme:
    """Concise Reasoning's PPO, on-policy."""
    inner = advantages.GAE(gae_lambda=SETTINGS["gae_lambda"], critic=critic)
    return ls.Scheme(name="ppo", reward=REWARD, advantage=advantages.Whitened(inner=inner),
                     aggregation=aggregation.SequenceMeanTokenMean(),
                     penalties=(penalties.KL(coefficient=SETTINGS["kl_in_reward"], place="reward"),),
                     group_size=SETTINGS["samples_per_prompt"])


def plain(rule: aggregation.Aggregation, gae_lambda: float) -> ls.Scheme:
    """The same without critic and whitening, for another aggregation and λ."""
    return replace(scheme(critics.Zero()), aggregation=rule, advantage=advantages.GAE(gae_lambda=gae_lambda))


def compute() -> Numbers:
    """One phase under four losses; then two phases for each solve rate, the second with each critic."""
    sgd = {rate: optimizers.SGD(learning_rate=rate) for rate in (PLAIN_RATE, WHITENED_RATE)}
    never = ls.Policy([ls.PromptClass("never", paths=[start(0.5).classes[0].paths[0]])], max_tokens=MAX_TOKENS)
    losses = []
    for name, rule in RULES.items():
        for gae_lambda in LAMBDAS:
            run = ls.train(plain(rule, gae_lambda), never, steps=2 * FIRST, optimizer=sgd[PLAIN_RATE])
            losses.append({"rule": name, "gae_lambda": gae_lambda, "length": run.length[::EVERY]})
    whitened = replace(scheme(critics.Zero()), advantage=advantages.Whitened(inner=advantages.GAE(gae_lambda=1.0)))
    flat = ls.train(whitened, never, steps=2 * FIRST, optimizer=sgd[WHITENED_RATE])

    learning = scheme(CRITICS["learns"])
    # What the prompts of weight 0 are like does not bear on the first phase, so that it is the same for all of them.
    first = ls.train(learning, start(SOLVE_RATES[0]), steps=FIRST, optimizer=sgd[WHITENED_RATE])
    phases = []
    for solve_rate in SOLVE_RATES:
        begin = start(solve_rate)
        way = [solved(begin.moved(move)) for move in first.coordinates[::EVERY]]
        phase = {"solve_rate": solve_rate, "first": {"length": [at.mean_length for at in way],
                                                     "accuracy": [at.accuracy for at in way]}}
        for name, critic in CRITICS.items():
            run = ls.train(scheme(critic), way[-1], steps=SECOND, optimizer=sgd[WHITENED_RATE], reference=begin)
            phase[name] = {"length": run.length[::EVERY], "accuracy": run.accuracy[::EVERY],
                           "truncation_rate": run.truncation_rate[::EVERY]}
        phases.append(phase)
    wider = start(0.25, WIDER)
    wide = ls.train(scheme(critics.Zero()), solved(wider.moved(first.coordinates[-1])), steps=SECOND,
                    optimizer=sgd[WHITENED_RATE], reference=wider)
    return {"lossim_version": ls.__version__,
            "settings": {"max_tokens": MAX_TOKENS, "mean_length_wrong": WRONG, "wrong_over_right": RATIO,
                         "sigma": SIGMA, "coordinates": repr(never.coordinates),
                         "class_sharing": ls.coordinates().class_sharing, "learning_rate_left": PLAIN_RATE,
                         "learning_rate_right": WHITENED_RATE,
                         "scheme_left": repr(plain(RULES["mean over tokens"], 0.95)),
                         "scheme_right": repr(learning), "source": f"{CONCISE['source']}, arXiv {CONCISE['arxiv']}"},
            "every": EVERY, "losses": losses, "whitened_mean_over_tokens_at_lambda_1": flat.length[::EVERY],
            "phases": phases,
            "critic_at_0_with_wider_ratio": {"wrong_over_right": WIDER, "solve_rate": 0.25,
                                             "length": wide.length[[0, -1]]}}


@styled
def draw(numbers: Numbers) -> Figure:
    """One phase under four losses, and below it two phases with two critics; both relative to the start."""
    figure, (one, two) = new_figure(CLAIM, 2.6, 3.5)
    every = numbers["every"]
    for curve in numbers["losses"]:
        length = np.array(curve["length"])
        colour = RULE_COLOURS[list(RULES).index(curve["rule"])]
        one.plot(every * np.arange(len(length)), length / length[0], color=colour,
                 linestyle="-" if curve["gae_lambda"] < 1 else "--",
                 label=f"{SAID[curve['rule']]}, λ = {curve['gae_lambda']:g}")
    heading(one, "Never solved, critic at 0")

    for phase, colour in zip(numbers["phases"], RATE_COLOURS, strict=True):
        first = np.array(phase["first"]["length"])
        for name, linestyle in zip(CRITICS, ("-", "--"), strict=True):
            second = np.array(phase[name]["length"])
            whole = np.concatenate([first, second[1:]]) / first[0]
            two.plot(every * np.arange(len(whole)), whole, color=colour, linestyle=linestyle)
    switch = every * (len(numbers["phases"][0]["first"]["length"]) - 1)
    two.axvline(switch, color=GREY, linewidth=1, linestyle=":")
    heading(two, "Never solved, then (dotted) a share p solved")
    for axes in (one, two):
        axes.axhline(1.0, color=BLACK, linewidth=0.8, zorder=1.5)
        axes.set(xlabel="optimiser step", ylabel="mean length\nover that of the start")
    handles = [Line2D([], [], color=colour, label=f"p = {Fraction(phase['solve_rate'])}")
               for phase, colour in zip(numbers["phases"], RATE_COLOURS, strict=True)]
    handles += [Line2D([], [], color=GREY, linestyle="-", label="critic learns"),
                Line2D([], [], color=GREY, linestyle="--", label="critic stays at 0")]
    legend(one, ncols=2)
    legend(two, ncols=2, handles=handles)
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    s, phases = numbers["settings"], numbers["phases"]
    token_sum, flat = numbers["losses"][3]["length"], numbers["whitened_mean_over_tokens_at_lambda_1"]
    quarter, wide = phases[2]["stays at 0"]["length"], numbers["critic_at_0_with_wider_ratio"]
    kept = max(abs(phase["learns"]["accuracy"][-1] - phase["first"]["accuracy"][0]) for phase in phases)
    return prose(f"""
        Expected updates, step by step, with Concise Reasoning's rewards ([arXiv
        2504.05185](https://arxiv.org/abs/2504.05185): +1, -0.5, and -1 if cut) and KL in the reward (0.01).
        Above: no response is right, critic at 0, no whitening, one learning rate. Three losses lengthen at
        every step; under a token sum (over 3,000) at λ = 1 only the lower pay of cut responses acts
        ({token_sum[-1] - token_sum[0]:+.0f} tokens). Whitening takes a constant out: then the mean over
        tokens at λ = 1 does not lengthen either ({flat[-1] - flat[0]:+.0f}). Below: λ = 0.95, mean over
        tokens, whitened; after the dotted line only prompts with a share p of right responses, and a new
        critic that starts at 0. If it learns (a value per position, a tenth of the way per step), lengths
        rise for about {caught_up(phases[0])} more steps at p = 1/16, until it has caught up, and fall from then
        on. If it stays at 0 it is too high for small p and lengthens at 1/16 and 1/8; at 1/4 little moves
        ({quarter[0]:,.0f} to {quarter[-1]:,.0f} tokens), unless wrong responses are
        {wide['wrong_over_right']:g} times as long as right ones (then {wide['length'][0]:,.0f} to
        {wide['length'][1]:,.0f}). With a critic that learns accuracy ends within {100 * kept:.2f} percentage
        points of its start: λ = 0.95 hardly credits the choice of path. Assumed: wrong responses
        {s['wrong_over_right']:g} times as long as right ones and {s['mean_length_wrong']:,} tokens on
        average, lognormal (σ = {s['sigma']:g}), cap {s['max_tokens']:,}, and stopping that shares
        {s['class_sharing']:g} of its kernel between the two kinds of prompts.""")


def caught_up(phase: Numbers) -> int:
    """Steps of the second phase until a critic that learns has the lengths fall."""
    return EVERY * int(np.argmax(phase["learns"]["length"]))
