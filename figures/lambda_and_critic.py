"""Figure: the same critics at λ = 0.95 and at λ = 1, under 0/1 rewards and under negative ones."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import lossim as ls
from _starts import CONCISE, RATIO, SIGMA, median_for, medians, two_paths
from _style import BLACK, GREEN, ORANGE, PURPLE, SKY, VERMILION, Numbers, heading, legend, new_figure, prose, styled
from lossim import critics, optimizers

CLAIM = ("At λ = 0.95 the critic's error drives length, down if it is too low and up if too high; "
         "at λ = 1 the same critics hardly move it")
EXACT = True

MAX_TOKENS, MEAN, SOLVE_RATE = 4096, 480, 0.05  # cap and mean length, tokens; P(correct), of the 0/1 task
STEPS, EVERY, LEARNING_RATE, CRITIC_RATE, PRETRAIN = 50, 2, 2.0, 0.05, 200
LAMBDAS = (0.95, 1.0)
ZERO_ONE = ls.Reward(correct=1.0, incorrect=0.0)
NEGATIVE = ls.Reward(correct=CONCISE["settings"]["reward_correct"], incorrect=CONCISE["settings"]["reward_wrong_boxed"],
                     truncated=CONCISE["settings"]["reward_no_box"])
TASKS = {"0/1 rewards, 5% solved": (ZERO_ONE, 0.05), "−0.5, −1 if cut, never solved": (NEGATIVE, -0.5)}
LOOKS = {"exact": (BLACK, "-"), "too low, rises with t": (VERMILION, "-"), "the same, pretrained": (ORANGE, "--"),
         "stays at 0": (PURPLE, "-"), "learns from 0": (SKY, "-"), "learns from 0.5": (GREEN, "-")}
SAID = {name: name for name in LOOKS} | {
    "exact": "exact", "too low, rises with t": "learns from too low, more so early in a response",
    "the same, pretrained": "as that, after 200 updates before the policy moves"}
"""What critics are called."""


def start(task: str) -> ls.Policy:
    """Two paths, or a wrong one alone, with the same mean length."""
    if "never" in task:
        return ls.policies.unsolvable(max_tokens=MAX_TOKENS, length=ls.lengths.lognormal(
            median=median_for(MEAN, MAX_TOKENS), sigma=SIGMA))
    return two_paths(SOLVE_RATE, *medians(MEAN, SOLVE_RATE, MAX_TOKENS), MAX_TOKENS)


def critic(name: str, mean_reward: float) -> critics.Critic:
    """One critic; the rising one is too low by exp(-t/480), like a reward model on an answer that is not finished."""
    rising = mean_reward - np.exp(-np.arange(MAX_TOKENS) / MEAN)
    made: dict[str, critics.Critic] = {
        "exact": critics.Exact(per="class"),
        "too low, rises with t": critics.LearnedTable(rate=CRITIC_RATE, start=rising),
        "the same, pretrained": critics.LearnedTable(rate=CRITIC_RATE, start=rising, pretrain=PRETRAIN),
        "stays at 0": critics.Zero(), "learns from 0": critics.LearnedTable(rate=CRITIC_RATE),
        "learns from 0.5": critics.LearnedTable(rate=CRITIC_RATE, start=0.5)}
    return made[name]


def compute() -> Numbers:
    """Every critic at both λ on both tasks: whitened advantages, mean over tokens, one learning rate."""
    runs = []
    for task, (reward, mean_reward) in TASKS.items():
        policy = start(task)
        for gae_lambda in LAMBDAS:
            for name in LOOKS:
                scheme = ls.schemes.ppo(gae_lambda=gae_lambda, critic=critic(name, mean_reward), whiten=True,
                                        reward=reward)
                run = ls.train(scheme, policy, steps=STEPS,
                               optimizer=optimizers.SGD(learning_rate=LEARNING_RATE))
                runs.append({"task": task, "gae_lambda": gae_lambda, "critic": name, "length": run.length[::EVERY],
                             "accuracy": run.accuracy[[0, -1]], "truncation_rate": run.truncation_rate[[0, -1]]})
    return {"lossim_version": ls.__version__,
            "settings": {"max_tokens": MAX_TOKENS, "mean_length": MEAN, "solve_rate": SOLVE_RATE,
                         "wrong_over_right": RATIO, "sigma": SIGMA, "learning_rate": LEARNING_RATE,
                         "critic_rate": CRITIC_RATE, "pretrain": PRETRAIN,
                         "coordinates": repr(policy.coordinates), "scheme": repr(scheme)},
            "every": EVERY, "runs": runs}


@styled
def draw(numbers: Numbers) -> Figure:
    """Mean length over steps: a line per critic at λ = 0.95, a band from the lowest to the highest at λ = 1."""
    figure, panels = new_figure(CLAIM, 1.9, 3.2)
    for axes, task in zip(panels, TASKS, strict=True):
        runs = [run for run in numbers["runs"] if run["task"] == task]
        steps = numbers["every"] * np.arange(len(runs[0]["length"]))
        band = np.array([run["length"] for run in runs if run["gae_lambda"] == 1])
        axes.fill_between(steps, band.min(axis=0), band.max(axis=0), color="#BBBBBB", linewidth=2.5,
                          label="all six of them at λ = 1")
        for run in runs:
            if run["gae_lambda"] < 1:
                colour, linestyle = LOOKS[run["critic"]]
                axes.plot(steps, run["length"], color=colour, linestyle=linestyle, label=SAID[run["critic"]])
        heading(axes, f"Rewards {task}" if task.startswith("−") else task)
        axes.set(yscale="log", ylim=(140, 2200), ylabel="mean length\n(tokens, log scale)")
        ticks = [150, 300, 480, 1000, 2000]
        axes.set_yticks(ticks, [f"{tick:,}" for tick in ticks])
        axes.minorticks_off()
    panels[1].set_xlabel("optimiser step")
    band_first = panels[1].get_legend_handles_labels()[0]
    legend(panels[1], title="critics, lines at λ = 0.95", handles=[*band_first[1:], band_first[0]])
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown, what is assumed and what does not come out."""
    s = numbers["settings"]
    zero_one, negative = TASKS

    def last(task: str, name: str, gae_lambda: float = 0.95) -> Numbers:
        run, = (run for run in numbers["runs"]
                if (run["task"], run["critic"], run["gae_lambda"]) == (task, name, gae_lambda))
        return {"length": f"{run['length'][-1]:,.0f}", "accuracy": f"{100 * run['accuracy'][-1]:.1f}%"}

    rising, pretrained = last(zero_one, "too low, rises with t"), last(zero_one, "the same, pretrained")
    fresh, exact, high = (last(zero_one, name) for name in ("learns from 0", "exact", "learns from 0.5"))
    flat = last(zero_one, "learns from 0", 1.0)
    never, sunk = last(negative, "stays at 0"), last(negative, "too low, rises with t")
    steps = numbers["every"] * (len(numbers["runs"][0]["length"]) - 1)
    return prose(f"""
        Expected updates of PPO (mean over a response's tokens, whitened, one learning rate, {steps} steps)
        from a mean length of {s['mean_length']} tokens, cap {s['max_tokens']:,}. Critics: exact for the
        prompt but blind to the path; 0 for good; a value per position that goes {s['critic_rate']:.0%} of
        the way per step, from 0, from 0.5, or from the mean reward less exp(-t/480), as a reward model may
        underrate what is unfinished, without and with {s['pretrain']} updates before the policy moves.
        Above, like Open-Reasoner-Zero ([arXiv 2503.24290](https://arxiv.org/abs/2503.24290): collapse at
        λ = 0.95, growth at λ = 1): a critic from 0 shortens to {fresh['length']} tokens, the low one to
        {rising['length']}, pretrained to {pretrained['length']}; λ = 1 ends at {flat['length']}, with
        accuracy {flat['accuracy']} instead of {fresh['accuracy']}. Below, as in Concise Reasoning ([arXiv
        2504.05185](https://arxiv.org/abs/2504.05185)): a critic at 0 is too high and lengthens to
        {never['length']}, but a low one shortens ({sunk['length']}): that λ < 1 lengthens under negative
        rewards holds for the critic at hand. What does not come out: a collapse to 20 tokens, and growth at
        λ = 1, for content and exploration are not modelled; and a fresh critic that is by chance too high
        lengthens above too ({high['length']}). The exact one shortens there ({exact['length']})
        because right responses are shorter (wrong ones {s['wrong_over_right']:g} times as long, lognormal,
        σ = {s['sigma']:g}: assumed). Without whitening a flat error acts at λ = 1 as well, through 1/T.""")
