"""Figure: what an audit of a log finds, beside the rule of thumb Cov(A, T)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

import lossim as ls
from _starts import RATIO, SIGMA
from _style import BLUE, GREY, VERMILION, Numbers, heading, legend, new_figure, prose, styled, zero_line

CLAIM = "PPO's drift can have the other sign than Cov(A, T); an audit of 8,000 logged responses finds it"
EXACT = False

PROMPTS, GROUP = 1_000, 8
MEDIAN_RIGHT, MEDIAN_NEVER, MAX_TOKENS = 600.0, 1_500.0, 4_096
NAMED = {"GRPO": ("GRPO", "right", -6, 0), "PPO, λ = 1, token sum": ("PPO, λ = 1,\ntoken sum", "right", -6, -1),
         "PPO, λ = 1": ("PPO, λ = 1", "center", 0, 11), "PPO, λ = 0.95": ("PPO, λ = 0.95", "center", 0, -11),
         "PPO, λ = 0.95, 0/1": ("PPO, 0/1,\nλ = 0.95", "left", 6, -4)}
"""Schemes that are named in the picture, how and where: the side, and points across and up."""


def start() -> ls.Policy:
    """Prompts that are sometimes solved, and as many that never are."""
    law = ls.lengths.lognormal
    return ls.Policy([
        ls.PromptClass("sometimes", weight=0.5, paths=[
            ls.Path("right", probability=0.4, length=law(median=MEDIAN_RIGHT, sigma=SIGMA), p_correct=1.0),
            ls.Path("wrong", probability=0.6, length=law(median=RATIO * MEDIAN_RIGHT, sigma=SIGMA), p_correct=0.0)]),
        ls.PromptClass("never", weight=0.5, paths=[
            ls.Path("wrong", length=law(median=MEDIAN_NEVER, sigma=SIGMA), p_correct=0.0)])], max_tokens=MAX_TOKENS)


def schemes() -> dict[str, ls.Scheme]:
    """What is audited; all on the same responses."""
    s, token_sum = ls.schemes, ls.aggregation.SequenceMeanTokenSum()
    return {"GRPO": s.grpo(), "GRPO, cut ones masked": replace(s.grpo(), truncation="mask"),
            "GRPO, cut ones -1": s.grpo(reward=ls.Reward(truncated=-1.0)), "ΔL": s.delta_l(), "Dr. GRPO": s.dr_grpo(),
            "RLOO": s.rloo(group_size=GROUP), "DAPO": s.dapo(group_size=GROUP), "OPO": s.opo(),
            "PPO, λ = 1, token sum": s.ppo(gae_lambda=1.0, aggregation=token_sum), "PPO, λ = 1": s.ppo(gae_lambda=1.0),
            "PPO, λ = 0.95": s.ppo(), "PPO, λ = 0.95, 0/1": s.ppo(reward=ls.Reward())}


def compute() -> Numbers:
    """Exact drift, the audit's with its standard error, and Cov(A, T), for each scheme."""
    policy = start()
    log = policy.sample(np.random.default_rng(0), prompts=PROMPTS, group_size=GROUP)
    named = schemes()
    found: dict[str, ls.Finding] = {}
    for paid in {repr(scheme.reward): scheme.reward for scheme in named.values()}.values():
        alike = {name: scheme for name, scheme in named.items() if scheme.reward == paid}
        found |= zip(alike, ls.audit(log, list(alike.values()), reward=paid).findings, strict=True)
    rows = [{"scheme": name, "exact": float(ls.drift(scheme, policy).length_per_kl),
             "audit": float(found[name].length_per_kl), "stderr": float(found[name].length_per_kl.stderr),
             "covariance": float(found[name].covariance), "covariance_stderr": float(found[name].covariance.stderr)}
            for name, scheme in named.items()]
    return {"lossim_version": ls.__version__,
            "settings": {"prompts": PROMPTS, "group_size": GROUP, "seed": 0, "max_tokens": MAX_TOKENS, "sigma": SIGMA,
                         "median_right": MEDIAN_RIGHT, "median_never": MEDIAN_NEVER, "wrong_over_right": RATIO,
                         "mean_length": policy.mean_length, "truncation_rate": policy.truncation_rate},
            "rows": rows}


@styled
def draw(numbers: Numbers) -> Figure:
    """The audit's estimate and the rule of thumb, both against the exact drift."""
    figure, (above, below) = new_figure(CLAIM, 2.3, 2.9, aligned=True)
    exact, audit, noise, covariance = (np.array([row[name] for row in numbers["rows"]])
                                       for name in ("exact", "audit", "stderr", "covariance"))
    span = np.array([exact.min() - 15.0, exact.max() + 15.0])
    above.plot(span, span, color=GREY, linewidth=1.0)
    above.errorbar(exact, audit, yerr=2.0 * noise, fmt="o", markersize=3.5, color=BLUE, linewidth=1.2, capsize=2)
    heading(above, "The audit of the log")
    above.set_ylabel("audit ± 2 standard errors\n(tokens in 0.01 nats)")
    agree = np.sign(exact) == np.sign(covariance)
    below.plot(exact[agree], covariance[agree], "o", color=BLUE, markersize=4, label="sign right")
    below.plot(exact[~agree], covariance[~agree], "X", color=VERMILION, markersize=6, label="sign wrong")
    names = [row["scheme"] for row in numbers["rows"]]
    for name, (shown, sideways, x, y) in NAMED.items():
        i = names.index(name)
        below.annotate(shown, (exact[i], covariance[i]), xytext=(x, y), textcoords="offset points", ha=sideways,
                       va="center")
    zero_line(below)
    zero_line(below, vertical=True)
    below.margins(0.12)
    heading(below, "The rule of thumb")
    below.set(xlabel="exact drift of the law\n(tokens in 0.01 nats)", ylabel="Cov(A, T) of the log\n(reward × tokens)")
    legend(below, lines=2, ncols=2)
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    s, rows = numbers["settings"], numbers["rows"]
    ppo = [row for row in rows if row["scheme"].startswith("PPO, λ") and "0/1" not in row["scheme"]]
    errors = [abs(row["audit"] - row["exact"]) / row["stderr"] for row in rows]
    beyond = sum(error > 2.0 for error in errors)
    return prose(f"""
        {len(rows)} schemes on one log of {s['prompts'] * s['group_size']:,} responses to {s['prompts']:,} prompts
        (seed {s['seed']}), drawn from a known law: half the prompts are never solved, half in 40 % of responses;
        lognormal lengths (σ = {s['sigma']:g}, assumed), medians {s['median_right']:.0f} (right),
        {s['wrong_over_right'] * s['median_right']:.0f} and {s['median_never']:.0f} tokens (wrong), cap
        {s['max_tokens']:,}, {s['truncation_rate']:.1%} cut. Above: {len(rows) - beyond} of {len(rows)} audits lie
        within two standard errors of the exact drift, the farthest at
        {max(errors):.1f}: PPO at λ = 1 under a token sum, where a path read off outcomes has one reward, so that no
        stop moves, while in the law some responses are cut on the right path and paid as wrong. All use the same
        responses, so their errors go together. Below: PPO with ±1 and a critic at 0 has one Cov(A, T) at every λ and
        with every
        aggregation, {ppo[0]['covariance']:.0f}, and drifts from {min(row['exact'] for row in ppo):+.0f} to
        {max(row['exact'] for row in ppo):+.0f} tokens. The rule of thumb is the drift of a plain policy gradient
        on paths that stop alike; it sees neither λ nor the denominator. For GAE, A is the reward here.""")
