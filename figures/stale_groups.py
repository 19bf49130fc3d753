"""Figure: what dropping groups with a late response does to the drift of mean length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

import lossim as ls
from _starts import zero_start
from _style import BLUE, VERMILION, Numbers, heading, legend, new_figure, prose, styled, zero_line
from lossim.selection import Deadline

CLAIM = ("Where groups with a late response are dropped, late is better than wrong: once half of the groups go, "
         "Dr. GRPO lengthens from both starts, also where it would shorten")
EXACT = True

GROUP = 8
STARTS = {
    "wrong ones longer": zero_start(0.4),
    "answers take work": ls.policies.reasoning(accuracy=0.4, mean_right=1200, mean_wrong=1800, premature=0.1,
                                                   truncated=0.02, verbosity=200, max_tokens=8192)}
SCHEMES = {"GRPO": ls.schemes.grpo(group_size=GROUP), "Dr. GRPO": ls.schemes.dr_grpo(group_size=GROUP)}
LOOKS = {"GRPO": VERMILION, "Dr. GRPO": BLUE}


def late(policy: ls.Policy, tokens: float) -> float:
    """P(one of a group of eight is late), of the one class of a policy."""
    arrays = policy.arrays
    in_time = float(arrays.cell_weight @ arrays.ends[:, arrays.length <= tokens].sum(axis=1))
    return max(1.0 - in_time**GROUP, 0.0)


def compute() -> Numbers:
    """length_per_kl over deadlines, from the cap down to where nearly all groups are late."""
    starts = {}
    for name, policy in STARTS.items():
        deadlines = np.unique(np.geomspace(policy.max_tokens / 8, policy.max_tokens, 25).round())[::-1]
        deadlines = np.array([tokens for tokens in deadlines if late(policy, tokens) < 0.99])
        curves = {each: [float(ls.drift(replace(scheme, selection=Deadline(tokens=tokens)), policy).length_per_kl)
                         for tokens in deadlines] for each, scheme in SCHEMES.items()}
        starts[name] = {"deadline": deadlines, "late": [late(policy, tokens) for tokens in deadlines],
                        "mean_length": policy.mean_length, "accuracy": policy.accuracy,
                        "max_tokens": policy.max_tokens, "length_per_kl": curves}
    return {"lossim_version": ls.__version__, "group_size": GROUP, "starts": starts,
            "settings": {name: repr(policy) for name, policy in STARTS.items()}}


@styled
def draw(numbers: Numbers) -> Figure:
    """One panel for each start, one line for each scheme."""
    figure, panels = new_figure(CLAIM, 2.1, 2.2)
    for axes, (name, start) in zip(panels, numbers["starts"].items(), strict=True):
        for scheme, curve in start["length_per_kl"].items():
            axes.plot(start["late"], curve, color=LOOKS[scheme], label=scheme)
        zero_line(axes)
        heading(axes, f"{name.capitalize()}, mean {start['mean_length']:,.0f} tokens")
        axes.set(xlim=(0, 1), xlabel="share of groups that are dropped",
                 ylabel="change of mean length\n(tokens in 0.01 nats)")
    legend(panels[1], ncols=2)
    return figure


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    one, other = numbers["starts"].values()
    return prose(f"""
        Asynchronous trainers drop groups that come too late, and the late ones are the long ones: a response is
        late beyond a number of tokens, and a group of {numbers['group_size']} with one late response is replaced by
        another. Expected change of mean length for a step of 0.01 nats, over deadlines from the cap
        ({one['max_tokens']:,.0f} and {other['max_tokens']:,.0f} tokens, nothing dropped) down. Both starts are
        right {one['accuracy']:.0%} of the time, and their wrong responses are longer. A response that comes late is
        neither praised nor blamed, so a wrong one does better late than in time: stopping is blamed, and no longer
        the going on that ends behind the deadline. Under Dr. GRPO that decides the sign above, and below
        it makes a drift of nearly nothing one of many tokens; GRPO's mean over tokens, larger on both, keeps its sign.
        The direction is the same where late responses alone are dropped. One speed for all responses is assumed, and
        the default coordinates.""")
