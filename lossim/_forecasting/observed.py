"""What the first steps of a run showed: series by step with their noise, and the start that they are taken from."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from lossim import _fitting
from lossim._model import Coordinates, Features
from lossim._support import checks
from lossim._support.records import Record
from lossim._support.text import Note, Phrase, Way
from lossim._support.types import FloatArray
from lossim.curves import Curves, slope
from lossim.lengths import Length, lognormal
from lossim.policies import Path, Policy, PromptClass, two_paths, unsolvable
from lossim.rollouts import Rollouts

Paths = Literal["outcome", "one", "states", "column"]
LEAST = 1e-3
"""Noise of a mean in units of the spread of single responses, at least: that of a million of them."""
SIGMA = 0.7
"""Spread of lengths in logs where curves do not tell it."""

BY_OUTCOME = Note(
    "paths", "right and wrong are taken as paths, chosen at the first token: of 32 runs of small networks that learned "
    "to work on their answers 10 ended in the 80 % band of such a forecast, nearly all others above it "
    "(docs/validation.md); where it is known how responses go about an answer, say it as paths")
"""How far a forecast by outcome is to be trusted."""


class Series(Record):
    """A number of the run by step: ``time`` from the middle of the observed steps on, values and standard errors.

    Length is in logs. ``name`` is "length" or "accuracy".
    """

    name: str
    time: FloatArray
    value: FloatArray
    stderr: FloatArray


class Observed(Record):
    """What a forecast rests on: the curves, the series that are fitted, the start, and what was assumed."""

    curves: Curves
    middle: float
    series: tuple[Series, ...]
    start: Policy
    responses: int | None
    notes: tuple[Note, ...]


def observe_log(log: Rollouts, *, first: int | None, start: Policy | None, paths: Paths, max_tokens: int | None,
                coordinates: Coordinates | None) -> Observed:
    """The first steps of a log, all if ``first`` is None, and the policy fitted to them."""
    curves = Curves.of(log)
    if first is not None:
        curves = curves.first(first)
        log = _until(log, int(curves.steps[-1]))
    notes: list[Note] = []
    if start is None:
        found = _fitting.fit(log, paths=paths, max_tokens=max_tokens, coordinates=coordinates, replicates=0)
        start = found.policy
        notes = [note for note in found.notes if isinstance(note, Note) and note.code != "steps"]
        notes += [BY_OUTCOME] if paths == "outcome" else []
    return _observed(curves, start, notes)


def observe_curves(curves: Curves, *, first: int | None, start: Policy | None, max_tokens: int | None,
                   coordinates: Coordinates | None) -> Observed:
    """The first steps of curves, all if ``first`` is None, and a policy of their means."""
    if first is not None:
        curves = curves.first(first)
    notes: list[Note] = []
    if start is None:
        if max_tokens is None:
            checks.fail("max_tokens", max_tokens, "must be given with curves, which do not tell it",
                        "or give start=, a Policy")
        start, note = _start_of(curves, checks.whole("max_tokens", max_tokens), coordinates)
        notes += [note, BY_OUTCOME]
    return _observed(curves, start, notes)


def _until(log: Rollouts, last: int) -> Rollouts:
    """The responses of a log up to a step."""
    kept = np.asarray(log.steps) <= last
    names = ("lengths", "rewards", "prompt_ids", "truncated", "correct", "classes", "steps", "kl", "answered",
             "path_names")
    columns: dict[str, Any] = {name: getattr(log, name) for name in names}
    chosen: dict[str, Any] = {name: None if column is None else column[kept] for name, column in columns.items()}
    return Rollouts(**chosen, class_names=log.class_names, reading=log.reading, tokenized=log.tokenized,
                    _checked=True)


def _start_of(curves: Curves, max_tokens: int, coordinates: Coordinates | None) -> tuple[Policy, Note]:
    """A policy with the means of the curves: right and wrong responses where both are known, else one path."""
    moves = Features() if coordinates is None else coordinates
    right, wrong, accuracy = (_mean(series) for series in (curves.length_right, curves.length_wrong, curves.accuracy))
    spread = f"their lengths are taken as log-normal with a spread of {SIGMA} in logs: curves tell means alone"

    def law(mean: float) -> Length:
        return _law_of_mean(mean, max_tokens)

    if right is not None and wrong is not None and accuracy is not None and 0.0 < accuracy < 1.0:
        policy = two_paths(solve_rate=accuracy, right=law(right), wrong=law(wrong), max_tokens=max_tokens,
                           coordinates=moves)
        return policy, Note("start", f"right and wrong responses are paths of their own; {spread}")
    if accuracy is None:
        checks.fail("accuracy", accuracy, "must be known at some step to make a start of curves",
                    Phrase("give ", Way("accuracy", "Curves(accuracy=...), or start=, a Policy")))
    path = Path("all", length=law(float(np.mean(curves.length))), p_correct=accuracy)
    policy = Policy([PromptClass("prompts", paths=[path])], max_tokens=max_tokens, coordinates=moves)
    return policy, Note("start", "the lengths of right and wrong responses are not known and taken as alike; " + spread)


def _law_of_mean(mean: float, max_tokens: int) -> Length:
    """The log-normal law of that spread with this mean once it is cut; the longest there is where that is too long."""
    from scipy.optimize import brentq  # takes longer to import than lossim does

    def mean_of(log_median: float) -> float:
        law = lognormal(median=float(np.exp(log_median)), sigma=SIGMA)
        return unsolvable(length=law, max_tokens=max_tokens).mean_length

    low, high = np.log(0.01), np.log(100.0 * max_tokens)
    if not mean_of(low) < mean < mean_of(high):
        return lognormal(median=mean, sigma=SIGMA)
    found = brentq(lambda log_median: mean_of(log_median) - mean, low, high, rtol=1e-6)
    return lognormal(median=float(np.exp(found)), sigma=SIGMA)


def _mean(series: FloatArray | None) -> float | None:
    """The mean of what is known of a series."""
    return None if series is None or not np.isfinite(series).any() else float(np.nanmean(series))


def _observed(curves: Curves, start: Policy, notes: list[Note]) -> Observed:
    """The series that are fitted, with their noise."""
    middle = float(np.mean(curves.steps))
    time: FloatArray = curves.steps.astype(np.float64) - middle
    noise, of_noise = _noise(curves.length, curves.length_stderr, curves, start.length_std)
    series = [Series(name="length", time=time, value=np.log(curves.length), stderr=noise / curves.length)]
    if curves.accuracy is not None and np.isfinite(curves.accuracy).sum() > 1:
        rate = float(np.nanmean(curves.accuracy))
        spread = float(np.sqrt(max(rate * (1.0 - rate), 1e-6)))
        noise, _ = _noise(curves.accuracy, curves.accuracy_stderr, curves, spread)
        known = np.isfinite(curves.accuracy)
        series.append(Series(name="accuracy", time=time[known], value=curves.accuracy[known], stderr=noise[known]))
    return Observed(curves=curves, middle=middle, series=tuple(series), start=start,
                    responses=curves.responses_per_step, notes=(*notes, of_noise))


def _noise(values: FloatArray, stderr: FloatArray | None, curves: Curves, spread: float) -> tuple[FloatArray, Note]:
    """Standard errors of a series: as known, else from the number of responses, else from the scatter about a line."""
    if stderr is not None and np.isfinite(stderr).any():
        typical = float(np.sqrt(np.nanmean(stderr**2)))
        return np.full(len(values), max(typical, LEAST * spread)), Note(
            "noise", "the noise of a step is that of its prompts")
    if curves.responses_per_step is not None:
        return np.full(len(values), spread / np.sqrt(curves.responses_per_step)), Note(
            "noise", f"the noise of a step is that of {curves.responses_per_step:,} responses independent of each "
            "other; those to one prompt are alike, which makes it larger")
    _, error = slope(curves.steps, values)
    known = curves.steps[np.isfinite(values)]
    if len(known) < 4:
        return np.full(len(values), spread / np.sqrt(128)), Note(
            "noise", "how many responses a step has is not known, and taken as 128: responses_per_step= says")
    scatter = error * np.sqrt(float(((known - known.mean()) ** 2).sum()))
    return np.full(len(values), max(scatter, LEAST * spread)), Note(
        "noise", f"the noise of a step is the scatter of the {len(known)} steps about a line: responses_per_step= says")


def fewer_prompts(observed: Observed, group_size: int) -> int:
    """Prompts in a step of the run, by its responses."""
    return max(round((observed.responses or 512) / group_size), 1)
