"""Figure: what PPO adds on prompts that are never solved is free, and so is nearly all that it then takes away."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

import lossim as ls
from _starts import SIGMA, median_for
from _style import BLUE, GREEN, GREY, ORANGE, Numbers, heading, legend, new_figure, prose, signs, styled, zero_line
from lossim import optimizers
from two_phases import CRITICS, FIRST, MAX_TOKENS, SECOND, WHITENED_RATE, WRONG, scheme, solved

CLAIM = ("What PPO adds on prompts it never solves is all free; on prompts it solves it takes away nearly only free "
         "length")
EXACT = True

SOLVE_RATE, DONE = 0.25, 300  # P(correct) on the sometimes-solved prompts; tokens from the answer to the stop
MEDIANS = (600, 1200, 2400)  # of the work, tokens
COLOURS = (BLUE, GREEN, ORANGE)
OTHERS = (0.0625, 0.375)  # solve rates whose ends are stored for the middle one
SCHEME = scheme(CRITICS["learns"])


def path(median: float, never: float) -> ls.Path:
    """Responses that work, stop before the answer as wrong ones of the other figure do, and soon after it."""
    work = ls.Work(answer=ls.lengths.lognormal(median=median, sigma=SIGMA), never=never,
                   done=ls.lengths.constant(hazard=1 / DONE))
    stops = ls.lengths.lognormal(median=median_for(WRONG, MAX_TOKENS), sigma=SIGMA)
    return ls.Path("thinks", length=stops, p_correct=0.0, work=work)


def start(median: float, solve_rate: float) -> ls.Policy:
    """Prompts whose answer never comes, and beside them, at weight 0, prompts for which it sometimes does."""
    in_time = ls.Policy([ls.PromptClass("sometimes", paths=[path(median, 0.0)])], max_tokens=MAX_TOKENS).accuracy
    return ls.Policy([ls.PromptClass("never", weight=1.0, paths=[path(median, 1.0)]),
                      ls.PromptClass("sometimes", weight=0.0, paths=[path(median, 1.0 - solve_rate / in_time)])],
                     max_tokens=MAX_TOKENS)


def premature(policy: ls.Policy) -> float:
    """Share of the wrong responses that stopped while working on an answer that would have come before the cap."""
    arrays = policy.arrays
    comes = 1.0 - np.prod(1.0 - arrays.arrival[-1])
    return float((comes - arrays.entering[-1].sum()) / (1.0 - arrays.accuracy))


def second_phase(median: float, solve_rate: float, first: ls.Training) -> Numbers:
    """Where the first phase has brought a start, and the second: a new critic, and the KL still to the first policy."""
    begin = start(median, solve_rate)
    way = [solved(begin.moved(move)) for move in first.coordinates]
    second = ls.train(SCHEME, way[-1], steps=SECOND, optimizer=optimizers.SGD(learning_rate=WHITENED_RATE),
                      reference=begin)
    return {"work": median, "solve_rate": solve_rate, "premature": premature(way[0]), "length": second.length,
            "accuracy": np.append([policy.accuracy for policy in way[:-1]], second.accuracy),
            "needed": summed(first.needed, second.needed), "free": summed(first.free, second.free)}


def summed(*changes: np.ndarray) -> np.ndarray:
    """Changes by step of one phase after the other, summed from the start."""
    return np.append(0.0, np.cumsum(np.concatenate(changes)))


def compute() -> Numbers:
    """Three starts that differ in how long the work is, and the middle one at two other solve rates."""
    # What the prompts of weight 0 are like does not bear on the first phase, so that it is the same for all starts.
    first = ls.train(SCHEME, start(MEDIANS[0], SOLVE_RATE), steps=FIRST,
                     optimizer=optimizers.SGD(learning_rate=WHITENED_RATE))
    return {"lossim_version": ls.__version__,
            "settings": {"max_tokens": MAX_TOKENS, "mean_length_wrong": WRONG, "done": DONE, "sigma": SIGMA,
                         "learning_rate": WHITENED_RATE, "steps": [FIRST, SECOND], "scheme": repr(SCHEME),
                         "coordinates": repr(first.start.coordinates), "sharing": ls.coordinates().sharing,
                         "class_sharing": ls.coordinates().class_sharing},
            "first": first.length,
            "runs": [second_phase(median, SOLVE_RATE, first) for median in MEDIANS],
            "other_solve_rates": [second_phase(MEDIANS[1], rate, first) for rate in OTHERS]}


@styled
def draw(numbers: Numbers) -> Figure:
    """What the change of length bought, on one scale: the free part above, the needed part below."""
    figure, (free, needed) = new_figure(CLAIM, 2.3, 3.35)
    for run, colour in zip(numbers["runs"], COLOURS, strict=True):
        free.plot(run["free"], color=colour)
        needed.plot(run["needed"], color=colour, label=(
            f"work of {run['work']:,} tokens, {100 * run['premature']:.0f}% of the wrong\n"
            f"stop before it: P(correct) {run['accuracy'][0]:.3f} → {run['accuracy'][-1]:.3f}"))
    for axes, part in ((free, "Free"), (needed, "Needed")):
        zero_line(axes)
        axes.axvline(numbers["settings"]["steps"][0], color=GREY, linewidth=1, linestyle=":")
        axes.set(xlabel="optimiser step", ylabel="change since the start\n(tokens)", ylim=(-900, 600))
        axes.yaxis.set_major_formatter(lambda y, _: signs(f"{y:,.0f}"))
        heading(axes, f"{part}: never solved, then (dotted) 1 in 4")
    legend(needed)
    return figure


def taken(run: Numbers) -> tuple[float, float]:
    """What the second phase did to mean length, needed and free, tokens."""
    return run["needed"][-1] - run["needed"][FIRST], run["free"][-1] - run["free"][FIRST]


def lost(run: Numbers) -> float:
    """How far accuracy ends below its start, percentage points."""
    return 100.0 * float(run["accuracy"][0] - run["accuracy"][-1])


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    s = numbers["settings"]
    short, middle, long = numbers["runs"]
    rare, often = numbers["other_solve_rates"]
    return prose(f"""
        The two phases above, from a start with *work*: a response works until its answer is there, and is wrong if it
        stops before. Wrong responses stop as above (mean {s['mean_length_wrong']:,} tokens, cap {s['max_tokens']:,}),
        right ones {s['done']} tokens after their answer. First phase, up to the dotted line: the answer never comes, no
        token is needed, and mean length rises by {short['free'][FIRST]:,.0f}. Second phase, on prompts solved in a
        quarter of the responses: with work of {short['work']:,} and {middle['work']:,} tokens free length changes by
        {taken(short)[1]:+,.0f} and {taken(middle)[1]:+,.0f}, needed length by {taken(short)[0]:+,.0f} and
        {taken(middle)[0]:+,.0f}. The few needed tokens count: stopping before the answer shares its kernel with
        stopping after it, and accuracy ends {lost(short):.1f} and {lost(middle):.1f} percentage points below its start.
        With work of {long['work']:,} tokens more of the wrong responses stop too early; then less goes
        ({taken(long)[1]:+,.0f} free, {taken(long)[0]:+,.0f} needed) and accuracy ends {-lost(long):.1f} points above
        its start. At solve rates of 1/16 and 3/8, with work of {rare['work']:,} tokens, free length changes by
        {taken(rare)[1]:+,.0f} and {taken(often)[1]:+,.0f}, needed by {taken(rare)[0]:+,.0f} and
        {taken(often)[0]:+,.0f}. Assumed: lognormal work and stops (σ = {s['sigma']:g}), a share of the kernel
        of {s['sharing']:g} between states and {s['class_sharing']:g} between
        kinds of prompts, a critic that learns; all else as above.""")
