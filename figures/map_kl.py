"""Figure: GRPO's drift over the coefficient of a KL and how far the policy has gone from its reference."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import lossim as ls
from _maps import draw_map, stored, turns
from _style import Numbers, prose, styled

CLAIM = ("A KL coefficient of 0.04 or less leaves GRPO's growth alone within 1 nat of the reference; "
         "one of 1 turns it at 0.1 nats")
EXACT = True

COEFFICIENTS = tuple(np.round(np.geomspace(1e-3, 10, 13), 6).tolist())
NATS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28)
SCHEME = ls.schemes.grpo(kl=0.001)
START: dict[str, Any] = {"accuracy": 0.3, "mean_right": 1200.0, "mean_wrong": 900.0, "truncated": 0.02,
                         "max_tokens": 4096, "verbosity": 200.0, "premature": 0.7}
POINTS = {"verl, 0.001": (0.001, 0.08), "GRPO, 0.04": (0.04, 0.02)}


@lru_cache
def reference() -> tuple[ls.Policy, np.ndarray[Any, Any]]:
    """The start, and GRPO's update there, of the size that moves it by 0.01 nats."""
    policy = ls.policies.reasoning(**START)
    first = ls.drift(ls.schemes.grpo(), policy, kernels=[policy.coordinates])
    return policy, float(first.length_per_kl) / float(first.length) * np.asarray(first.update.value)


def moved(nats: float) -> ls.Policy:
    """The start after a step along GRPO's update there, so many nats away to second order."""
    policy, update = reference()
    return policy.moved(np.sqrt(nats / 0.01) * update)


def drift(scheme: ls.Scheme, *, nats: float) -> ls.Drift:
    """The drift of the policy that has gone so far, held to where it started."""
    return ls.drift(scheme, moved(nats), reference=reference()[0])


def compute() -> Numbers:
    """length_per_kl in every cell, with its sign over the default kernels, and where the policy is by then."""
    swept = ls.sweep(drift, {"nats": NATS, "KL.coefficient": COEFFICIENTS}, scheme=SCHEME)
    return {"lossim_version": ls.__version__, "settings": START | {"scheme": repr(SCHEME)},
            "mean_length": [moved(nats).mean_length for nats in (0.0, *NATS)],
            "accuracy": [moved(nats).accuracy for nats in (0.0, *NATS)], "sweep": stored(swept)}


@styled
def draw(numbers: Numbers) -> Figure:
    """The map, the distance up."""
    figure, axes = draw_map(CLAIM, numbers, POINTS)
    axes.set(xlabel="coefficient of the KL", ylabel="distance from the reference\n(nats per response)")
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    settings, turn = numbers["settings"], turns(numbers)
    length, accuracy = numbers["mean_length"], numbers["accuracy"]
    return prose(f"""
        Expected change of mean length under GRPO with a KL in the loss (k3), in a step of 0.01 nats per response, of
        a policy that has gone so far from its reference along GRPO's own update: in a straight line 100 steps at a
        pace of 0.0001 nats each go 1 nat. At the reference a KL has no gradient; its pull grows with the distance,
        and the line is where it is as strong as the reward's: at {NATS[0]:g} nats at a coefficient of {turn[0]:.1f},
        at {NATS[-1]:g} at {turn[-1]:.2f}. Circles: verl's default and the coefficient of the GRPO paper ([arXiv
        2402.03300](https://arxiv.org/abs/2402.03300)), at distances picked for room. On the way mean length goes
        from {length[0]:,.0f} to {length[-1]:,.0f} tokens and accuracy from {accuracy[0]:.0%} to {accuracy[-1]:.0%},
        cap {settings['max_tokens']:,}. Hatched: some of 64 plausible kernels send length the other way. Assumed: means
        of {settings['mean_right']:,.0f} (right) and {settings['mean_wrong']:,.0f} tokens (wrong),
        {settings['premature']:.0%} of the wrong ones stopping too early, {settings['truncated']:.0%} cut.""")
