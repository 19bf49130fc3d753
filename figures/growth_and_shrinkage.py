"""Figure: one model of responses grows under GRPO where stops come early, and shrinks where wrong ones run on."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

import lossim as ls
from _style import BLACK, BLUE, GREY, ORANGE, Numbers, heading, legend, new_figure, prose, styled, zero_line
from lossim import optimizers

CLAIM = "GRPO grows responses that stop too early and, after a rise, shrinks those that go on too long: two starts"
EXACT = True

MAX_TOKENS, SIGMA = 600, 0.5
STARTS: dict[str, dict[str, float]] = {
    "stops too early": {"working": 0.01, "done": 0.05, "median": 100, "never": 0.2, "learning_rate": 4.0, "steps": 60},
    "goes on too long": {"working": 0.0002, "done": 0.01, "median": 60, "never": 0.1, "learning_rate": 100.0,
                         "steps": 180}}
"""Chances to stop at each position while working and once done, the work's median and the share without an answer."""
SCHEME = ls.schemes.grpo()


def start(*, working: float, done: float, median: float, never: float, **_: Any) -> ls.Policy:
    """One path with work, and a constant chance to stop in each state."""
    work = ls.Work(answer=ls.lengths.lognormal(median=median, sigma=SIGMA), never=never,
                   done=ls.lengths.constant(hazard=done))
    path = ls.Path("thinks", length=ls.lengths.constant(hazard=working), p_correct=0.0, work=work)
    return ls.Policy([ls.PromptClass("prompts", paths=[path])], max_tokens=MAX_TOKENS)


def premature(policy: ls.Policy) -> float:
    """Share of all responses that stopped while working."""
    return float(policy.arrays.ends[0, :-1].sum())


def compute() -> Numbers:
    """A run from each start, and what the change of mean length bought up to each step."""
    runs = []
    for name, numbers in STARTS.items():
        begin = start(**numbers)
        run = ls.train(SCHEME, begin, steps=int(numbers["steps"]),
                       optimizer=optimizers.SGD(learning_rate=numbers["learning_rate"]))
        runs.append({"start": name, **numbers, "length": run.length, "accuracy": run.accuracy,
                     "truncation_rate": run.truncation_rate,
                     "premature": [premature(begin), premature(run.policy)], "kl_to_start": run.kl_to_start[-1],
                     **{part: np.append(0.0, np.cumsum(getattr(run, part))) for part in ("needed", "free")}})
    return {"lossim_version": ls.__version__,
            "settings": {"max_tokens": MAX_TOKENS, "sigma": SIGMA, "scheme": repr(SCHEME),
                         "coordinates": repr(begin.coordinates), "sharing": ls.coordinates().sharing}, "runs": runs}


@styled
def draw(numbers: Numbers) -> Figure:
    """A panel for each start: the change of mean length and its parts, and above it what became of accuracy."""
    figure, panels = new_figure(CLAIM, 2.35, 2.55)
    for axes, run in zip(panels, numbers["runs"], strict=True):
        length, accuracy = np.array(run["length"]), np.array(run["accuracy"])
        axes.plot(length - length[0], color=BLACK, label="mean length")
        axes.plot(run["needed"], color=BLUE, linewidth=2.2, label="needed")
        axes.plot(run["free"], color=ORANGE, linewidth=2.2, linestyle="--", label="free")
        zero_line(axes)
        axes.set(ylabel="change of mean length\nsince the start (tokens)", xlabel="optimiser step")
        at = doubled(run)
        if at:
            axes.axvline(at, color=GREY, linewidth=1, linestyle=":", label="accuracy doubled")
        heading(axes, f"{run['start'].capitalize()}, {length[0]:.0f} tokens at first; P(correct)\n" + (
            f"{accuracy[0]:.2f}, {accuracy[at]:.2f} at step {at}, {accuracy[-1]:.2f} at step {len(accuracy) - 1}" if at
            else f"{accuracy[0]:.3f}, lowest {accuracy.min():.3f}, {accuracy[-1]:.3f} at step {len(accuracy) - 1}"))
    legend(panels[1], ncols=2, handles=panels[0].get_legend_handles_labels()[0])
    return figure


def doubled(run: Numbers) -> int:
    """The first step after which accuracy is twice that of the start; 0 if it never is."""
    accuracy = np.array(run["accuracy"])
    return int(np.argmax(accuracy >= 2.0 * accuracy[0]))


def caption(numbers: Numbers) -> str:
    """What is shown and assumed."""
    early, late = numbers["runs"]
    at, top = doubled(early), int(np.argmax(late["length"]))
    needed, free = (early[part][-1] - early[part][at] for part in ("needed", "free"))
    return prose(f"""
        Expected updates of GRPO, step by step. Each response has *work*: until its answer is there a stop is wrong,
        from then on right. Above, a start that stops early: after {at} steps (dotted) accuracy has doubled, from
        {early['accuracy'][0]:.2f} to {early['accuracy'][at]:.2f}, and mean length has gone from
        {early['length'][0]:.0f} to {early['length'][at]:.0f} tokens, {early['needed'][at]:.0f} of them needed and
        {early['free'][at]:.0f} free. It does not end there: {needed:+.0f} needed and {free:+.0f} free tokens follow by
        step {early['steps']}, where accuracy is {early['accuracy'][-1]:.2f}, past its highest of
        {max(early['accuracy']):.2f}, and {100 * early['truncation_rate'][-1]:.0f}% of the responses are cut. Below, a
        start that is mostly right, lingers once done, and whose wrong responses run on to the cap: it lengthens by
        {late['length'][top] - late['length'][0]:.0f} tokens in the first {top} steps and shortens by
        {late['length'][top] - late['length'][-1]:.0f} up to step {late['steps']}, nearly all of both free. Accuracy
        goes from {late['accuracy'][0]:.3f} down to {min(late['accuracy']):.3f}, and up to {late['accuracy'][-1]:.3f}.
        What shortens are the right responses; {100 * late['truncation_rate'][-1]:.0f}% are cut as before. Needed is the
        part of a change by responses that
        still work on an answer that would come before the cap, free is the rest. Assumed: chances to stop at each
        position of {early['working']:g} while working and {early['done']:g} once done (above), {late['working']:g} and
        {late['done']:g} (below); work lognormal (σ = {SIGMA:g}) with medians {early['median']:g} and
        {late['median']:g} tokens, and {100 * early['never']:.0f}% and {100 * late['never']:.0f}% of responses whose
        answer never comes; cap {MAX_TOKENS}; stopping in the two states shares
        {numbers['settings']['sharing']:g} of its kernel; learning rates {early['learning_rate']:g} and
        {late['learning_rate']:g}, since where few are wrong updates are small.""")
