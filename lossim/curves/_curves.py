"""Numbers by step, as trainers log them: a run seen through its means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

import numpy as np

from lossim._display import Page, Result
from lossim._support import checks
from lossim._support.numbering import numbered
from lossim._support.plain import plain
from lossim._support.text import Phrase, Sections, Way
from lossim._support.types import ArrayLike, BoolArray, FloatArray, IntArray
from lossim.curves._describe import Description, described
from lossim.curves._read import read_curves
from lossim.rollouts import AnyLog, as_rollouts, settled_grades

__all__ = ["Curves"]

SERIES: dict[str, tuple[float, float]] = {
    "length": (1.0, np.inf), "accuracy": (0.0, 1.0), "kl": (-np.inf, np.inf), "truncated": (0.0, 1.0),
    "reward": (-np.inf, np.inf), "length_right": (1.0, np.inf), "length_wrong": (1.0, np.inf),
    "terminated": (1.0, np.inf), "dead_groups": (0.0, 1.0), "entropy": (-np.inf, np.inf),
    "length_stderr": (0.0, np.inf), "accuracy_stderr": (0.0, np.inf)}
"""The series by name, and the range of each."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Curves(Result):
    """A run as its trainer logs it: one number a step, [step].

    Attributes:
        steps: number of each step, increasing whole numbers, at least two.
        length: mean length of all responses, tokens, at each step.
        accuracy, truncated: shares of responses, in [0, 1]. None for a series that was not logged, NaN in one where a
            step has no number (an evaluation every ten steps); this holds for all but ``length``.
        kl: mean KL to the reference policy, nats per response.
        reward: mean reward.
        length_right, length_wrong: mean length of right and of wrong responses, tokens.
        terminated: mean length of the responses that were not cut, tokens.
        dead_groups: share of groups whose rewards are all equal, in [0, 1].
        entropy: mean entropy of a token, nats.
        responses_per_step: how many responses a step's means are of; None if unknown.
        length_stderr, accuracy_stderr: standard errors of the means, where they are known; `of` computes them.
        notes: what was chosen, left out or assumed where they were read by :meth:`read`.

    Raises:
        ValueError: fewer than two steps, steps that do not increase, a series of another length than ``steps``, a
            length that is missing, a number out of its range.

    >>> Curves(steps=[0, 10, 20], length=[812, 840, 871.5], accuracy=[0.31, float("nan"), 0.36])
    Curves(3 steps, 0 to 20: length 812 to 871.5, accuracy 0.31 to 0.36)
    """

    steps: IntArray
    length: FloatArray
    accuracy: FloatArray | None = None
    kl: FloatArray | None = None
    truncated: FloatArray | None = None
    reward: FloatArray | None = None
    length_right: FloatArray | None = None
    length_wrong: FloatArray | None = None
    terminated: FloatArray | None = None
    dead_groups: FloatArray | None = None
    entropy: FloatArray | None = None
    responses_per_step: int | None = None
    length_stderr: FloatArray | None = None
    accuracy_stderr: FloatArray | None = None
    notes: tuple[str, ...] = ()
    _required: ClassVar = ("steps", "length")

    def __init__(self, *, steps: ArrayLike, length: ArrayLike, accuracy: ArrayLike | None = None,
                 kl: ArrayLike | None = None, truncated: ArrayLike | None = None, reward: ArrayLike | None = None,
                 length_right: ArrayLike | None = None, length_wrong: ArrayLike | None = None,
                 terminated: ArrayLike | None = None, dead_groups: ArrayLike | None = None,
                 entropy: ArrayLike | None = None, responses_per_step: int | None = None,
                 length_stderr: ArrayLike | None = None, accuracy_stderr: ArrayLike | None = None,
                 notes: Sequence[str] = ()) -> None:
        given: dict[str, Any] = {
            "length": length, "accuracy": accuracy, "kl": kl, "truncated": truncated, "reward": reward,
            "length_right": length_right, "length_wrong": length_wrong, "terminated": terminated,
            "dead_groups": dead_groups, "entropy": entropy, "length_stderr": length_stderr,
            "accuracy_stderr": accuracy_stderr}
        kept: dict[str, Any] = {"steps": _steps(steps)}
        kept |= {name: _series(name, value, len(kept["steps"])) for name, value in given.items()}
        kept["responses_per_step"] = responses_per_step
        if responses_per_step is not None:
            kept["responses_per_step"] = checks.whole("responses_per_step", responses_per_step)
        kept["notes"] = checks.members("notes", notes, str, "texts")
        for name, value in kept.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, rollouts: AnyLog) -> Self:
        """The means by step of a log that names its steps, with standard errors; `Rollouts`, or what these read.

        Responses to one prompt are alike, so a standard error is that of a mean over the step's prompts: with m_i the
        sum of the deviations from the mean of prompt i's responses, √(Σ m_i² · P/(P - 1))/n for P prompts and n
        responses; NaN where a step has one prompt.

        Raises:
            ValueError: a log that names no steps, or one step.

        >>> log = {"length": [3, 5, 6, 8], "reward": [1, 0, 1, 0], "prompt": [0, 1, 0, 1], "step": [1, 1, 2, 2]}
        >>> curves = Curves.of(log)
        >>> curves.length, curves.accuracy, curves.length_stderr
        (array([4., 7.]), array([0.5, 0.5]), array([1., 1.]))
        """
        rollouts = as_rollouts(rollouts)
        if rollouts.steps is None:
            checks.fail("rollouts", rollouts, "must name the step of each response",
                        Phrase("give ", Way("column", "Rollouts(steps=...)", "step")))
        names = np.unique(rollouts.steps)
        step, count = numbered(rollouts.steps)
        correct, _ = settled_grades(rollouts)
        group, _ = numbered(rollouts.prompt_ids)
        _, group = np.unique(step.astype(np.int64) * (int(group.max()) + 1) + group, return_inverse=True)
        means = _Means(step=step, count=count, group=group)
        length = means.of(rollouts.lengths)
        made: dict[str, Any] = {"length_stderr": means.stderr(rollouts.lengths, length)}
        if correct is not None:
            accuracy = means.of(correct)
            made |= {"accuracy": accuracy, "accuracy_stderr": means.stderr(correct, accuracy),
                     "length_right": means.of(rollouts.lengths, correct),
                     "length_wrong": means.of(rollouts.lengths, ~correct)}
        sizes = np.bincount(step, minlength=count)
        if rollouts.truncated is not None:
            made |= {"truncated": means.of(rollouts.truncated),
                     "terminated": means.of(rollouts.lengths, ~rollouts.truncated)}
        return cls(steps=names, length=length, reward=means.of(rollouts.rewards),
                   kl=None if rollouts.kl is None else means.of(rollouts.kl), dead_groups=means.dead(rollouts.rewards),
                   responses_per_step=max(int(np.median(sizes)), 1), **made)

    @classmethod
    def read(cls, source: Any, *, columns: Mapping[str, str | None] | None = None, run: str | None = None,
             max_tokens: int | None = None, responses_per_step: int | None = None,
             kl_per: Literal["response", "token"] | None = None, paid: tuple[float, float] | None = None) -> Self:
        """Curves from what a trainer or a tracker wrote.

        A ``trainer_state.json``, what wandb exports (CSV of charts, one or several; its history as JSON or CSV), event
        files of TensorBoard and what it exports, verl's console and file logger, lines that transformers printed; a
        folder of these, or several files of one run. The names of TRL, verl, OpenRLHF, NeMo RL, SkyRL, ms-swift,
        Unsloth, EasyR1, open-instruct, AReaL and slime are known. Of a run that was started again the last start is
        taken. What was chosen, left out and assumed is in ``notes``, and so are the traps that were found: shares cut
        that are none, a mean of terminated responses where none was, means of something else than tokens.

        Args:
            source: a path, several, or in memory a data frame, a table of columns, a list of rows.
            columns: names by series, for example ``{"length": "my/mean_length"}``; None for a series that is not to be
                read.
            run: the run, where a file holds several.
            max_tokens: the cap, by which traps are found.
            responses_per_step: how many responses a step's means are of.
            kl_per: whether the KL is of a response or of a token, where that is not sure from its name; KL of a token
                is taken times the mean length.
            paid: what right and wrong responses are paid: accuracy is then read off the mean reward.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a file that cannot be read; no name that is known as a mean length; several runs, or no such.

        >>> rows = [{"step": 1, "completions/mean_length": 400.0, "completions/clipped_ratio": 0.25, "reward": 0.5},
        ...         {"step": 2, "completions/mean_length": 408.0, "completions/clipped_ratio": 0.5, "reward": 0.75}]
        >>> curves = Curves.read(rows, paid=(1, 0))
        >>> curves.truncated, curves.accuracy
        (array([0.25, 0.5 ]), array([0.5 , 0.75]))
        """
        made = read_curves(source, columns, run, max_tokens, kl_per, paid)
        return cls(**made, responses_per_step=responses_per_step)

    def first(self, count: int) -> Curves:
        """The first ``count`` steps, at least two.

        >>> Curves(steps=[0, 1, 2], length=[50, 52, 55]).first(2).length
        array([50., 52.])
        """
        kept = min(checks.whole("count", count, low=2), len(self))
        series: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        cut: dict[str, Any] = {name: value[:kept] if isinstance(value, np.ndarray) else value
                               for name, value in series.items()}
        return Curves(**cut)

    def summary(self) -> dict[str, float]:
        """The first number of each series that says what a policy is like, as `policies.from_summary` takes them.

        >>> Curves(steps=[0, 1], length=[900, 910], accuracy=[0.45, 0.47], length_right=[700, 701]).summary()
        {'mean_length': 900.0, 'accuracy': 0.45, 'right': 700.0}
        """
        names = {"length": "mean_length", "accuracy": "accuracy", "truncated": "truncated", "length_right": "right",
                 "length_wrong": "wrong"}
        found = {}
        for name, called in names.items():
            series = getattr(self, name)
            if series is not None:
                found[called] = float(series[np.isfinite(series)][0])
        if {"right", "wrong", "accuracy"} <= set(found):  # these say the mean of all, and rounding may not
            del found["mean_length"]
        return found

    def describe(self, *, max_tokens: int | None = None) -> Description:
        """What the curves show: where mean length goes, beyond which noise, and whose; and what they cannot show.

        Args:
            max_tokens: the cap, for curves with a share cut and no mean of terminated responses.

        >>> curves = Curves(steps=range(6), length=[500, 510, 520, 530, 540, 550], truncated=[0, 0, 0, 0, 0, 0],
        ...                 terminated=[500, 510, 520, 530, 540, 550])
        >>> curves.describe().verdict
        'responses get longer, from 505 to 545 tokens in 6 steps (+10 a step): terminated ones are longer'
        """
        return described(self, None if max_tokens is None else checks.whole("max_tokens", max_tokens))

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON (None for NaN): steps, every series that there is, and notes."""
        return {**{name: plain(values) for name, values in self._columns().items()},
                "responses_per_step": self.responses_per_step, "notes": [str(note) for note in self.notes]}

    def _page(self) -> Page:
        """That of what they show, under their own line."""
        return self._paged("curves", *self.describe()._page().sections)

    def _columns(self) -> dict[str, Any]:
        """A row for each step, a column for each series that there is."""
        series = {name: getattr(self, name) for name in SERIES}
        return {"step": self.steps, **{name: values for name, values in series.items() if values is not None}}

    def __len__(self) -> int:
        return len(self.steps)

    def sections(self) -> Sections:
        """The line that it prints."""
        said = []
        for name in SERIES:
            series = getattr(self, name)
            if series is not None and not name.endswith("stderr"):
                known = series[np.isfinite(series)]
                said.append(f"{name} {known[0]:.4g} to {known[-1]:.4g}")
        return {"curves": [f"Curves({len(self):,} steps, {self.steps[0]} to {self.steps[-1]}: {', '.join(said)})"]}


class _Means:
    """Means by step, of responses that belong to a ``step`` and, within it, to a ``group``."""

    def __init__(self, *, step: IntArray, count: int, group: IntArray) -> None:
        self.step = step
        self.count = count
        self.group = group
        self.size = np.bincount(step, minlength=count)
        self.step_of_group: IntArray = np.zeros(int(group.max()) + 1, dtype=np.int64)
        self.step_of_group[group] = step

    def of(self, values: Any, among: BoolArray | None = None) -> FloatArray:
        """The mean of each step, of the responses ``among`` these; NaN where there are none."""
        chosen: Any = slice(None) if among is None else among
        total = np.bincount(self.step[chosen], weights=values[chosen], minlength=self.count)
        size = np.bincount(self.step[chosen], minlength=self.count)
        return np.where(size > 0, total / np.maximum(size, 1), np.nan)

    def dead(self, rewards: Any) -> FloatArray:
        """The share of each step's groups whose rewards are all equal, groups of one left out; NaN where none are."""
        size = np.bincount(self.group)
        first = np.full(len(size), -np.inf)
        np.maximum.at(first, self.group, rewards)
        lowest = np.full(len(size), np.inf)
        np.minimum.at(lowest, self.group, rewards)
        several = size > 1
        total = np.bincount(self.step_of_group[several], minlength=self.count)
        dead = np.bincount(self.step_of_group[several & (first == lowest)], minlength=self.count)
        return np.where(total > 0, dead / np.maximum(total, 1), np.nan)

    def stderr(self, values: Any, mean: FloatArray) -> FloatArray:
        """The standard error of each step's mean, over its groups; NaN where there is one."""
        sums = np.bincount(self.group, weights=values - mean[self.step])
        squares = np.bincount(self.step_of_group, weights=sums**2, minlength=self.count)
        groups = np.bincount(self.step_of_group, minlength=self.count)
        wider = np.where(groups > 1, groups / np.maximum(groups - 1, 1), np.nan)
        return np.sqrt(squares * wider) / self.size


def _steps(given: ArrayLike) -> IntArray:
    """Increasing whole numbers, at least two."""
    array = checks.number_array("steps", given, ndim=1)
    if len(array) < 2:
        checks.fail("steps", array.tolist(), "must hold at least two steps", "one step says nothing of a pace")
    if (array != np.round(array)).any():
        checks.fail("steps", checks.shown(array.tolist()), "must be whole numbers")
    falling = np.flatnonzero(np.diff(array) <= 0)
    if len(falling):
        at = int(falling[0])
        checks.fail(f"steps[{at + 1}]", array[at + 1], f"must be above the step before it, {array[at]:g}",
                    "sort by step, and take a restarted run from its last start")
    steps = array.astype(np.int64)
    steps.setflags(write=False)
    return steps


def _series(name: str, given: Any, count: int) -> FloatArray | None:
    """A number for each step within the range of the series; NaN passes but for the length."""
    if given is None and name != "length":
        return None
    array = checks.floats(name, given)
    if array.ndim != 1 or len(array) != count:
        checks.fail(name, array.shape, f"must have one number for each of the {count} steps (its shape is shown)",
                    "fill in float('nan') where a step has none" if name != "length" else "leave such steps out")
    low, high = SERIES[name]
    missing = np.isnan(array)
    if name == "length" and missing.any():
        at = int(np.argmax(missing))
        checks.fail(f"length[{at}]", array[at], "must be known at every step", "leave steps without a length out")
    if missing.all():
        return None
    bad = np.flatnonzero(~missing & ~(np.isfinite(array) & (array >= low) & (array <= high)))
    if len(bad):
        rule = f"must be at least {low:g}" if np.isinf(high) else f"must lie in [{low:g}, {high:g}]"
        rule = "must be finite" if not np.isfinite(array[bad[0]]) else rule
        fix = "percentages are shares times 100" if high == 1.0 else ""
        checks.fail(f"{name}[{bad[0]}]", float(array[bad[0]]), rule, fix)
    array.setflags(write=False)
    return array
