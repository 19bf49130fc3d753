"""Numbers by step, as trainers log them: a run seen through its means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np

from lossim._support import checks
from lossim._support.types import ArrayLike, BoolArray, FloatArray, IntArray
from lossim.rollouts import Rollouts, check_rollouts, numbered, settled_grades

__all__ = ["Curves"]

SERIES: dict[str, tuple[float, float]] = {
    "length": (1.0, np.inf), "accuracy": (0.0, 1.0), "kl": (-np.inf, np.inf), "truncated": (0.0, 1.0),
    "reward": (-np.inf, np.inf), "length_right": (1.0, np.inf), "length_wrong": (1.0, np.inf),
    "length_stderr": (0.0, np.inf), "accuracy_stderr": (0.0, np.inf)}
"""The series by name, and the range of each."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Curves:
    """A run as its trainer logs it: one number a step, [step].

    Attributes:
        steps: number of each step, increasing whole numbers, at least two.
        length: mean length of all responses, tokens, at each step.
        accuracy, truncated: shares of responses, in [0, 1]. None for a series that was not logged, NaN in one where a
            step has no number (an evaluation every ten steps); this holds for all but ``length``.
        kl: mean KL to the reference policy, nats per response.
        reward: mean reward.
        length_right, length_wrong: mean length of right and of wrong responses, tokens.
        responses_per_step: how many responses a step's means are of; None if unknown.
        length_stderr, accuracy_stderr: standard errors of the means, where they are known; `of` computes them.

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
    responses_per_step: int | None = None
    length_stderr: FloatArray | None = None
    accuracy_stderr: FloatArray | None = None
    _required: ClassVar = ("steps", "length")

    def __init__(self, *, steps: ArrayLike, length: ArrayLike, accuracy: ArrayLike | None = None,
                 kl: ArrayLike | None = None, truncated: ArrayLike | None = None, reward: ArrayLike | None = None,
                 length_right: ArrayLike | None = None, length_wrong: ArrayLike | None = None,
                 responses_per_step: int | None = None, length_stderr: ArrayLike | None = None,
                 accuracy_stderr: ArrayLike | None = None) -> None:
        given: dict[str, Any] = {
            "length": length, "accuracy": accuracy, "kl": kl, "truncated": truncated, "reward": reward,
            "length_right": length_right, "length_wrong": length_wrong, "length_stderr": length_stderr,
            "accuracy_stderr": accuracy_stderr}
        kept: dict[str, Any] = {"steps": _steps(steps)}
        kept |= {name: _series(name, value, len(kept["steps"])) for name, value in given.items()}
        kept["responses_per_step"] = responses_per_step
        if responses_per_step is not None:
            kept["responses_per_step"] = checks.whole("responses_per_step", responses_per_step)
        for name, value in kept.items():
            object.__setattr__(self, name, value)

    @classmethod
    def of(cls, rollouts: Rollouts) -> Self:
        """The means by step of a log that names its steps, with standard errors.

        Responses to one prompt are alike, so a standard error is that of a mean over the step's prompts: with m_i the
        sum of the deviations from the mean of prompt i's responses, √(Σ m_i² · P/(P - 1))/n for P prompts and n
        responses; NaN where a step has one prompt.

        Raises:
            ValueError: a log that names no steps, or one step.

        >>> log = Rollouts(lengths=[3, 5, 6, 8], rewards=[1, 0, 1, 0], prompt_ids=[0, 1, 0, 1], steps=[1, 1, 2, 2])
        >>> curves = Curves.of(log)
        >>> curves.length, curves.accuracy, curves.length_stderr
        (array([4., 7.]), array([0.5, 0.5]), array([1., 1.]))
        """
        check_rollouts(rollouts)
        if rollouts.steps is None:
            checks.fail("rollouts", rollouts, "must name the step of each response", "give Rollouts(steps=...)")
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
        return cls(steps=names, length=length, reward=means.of(rollouts.rewards),
                   kl=None if rollouts.kl is None else means.of(rollouts.kl),
                   truncated=None if rollouts.truncated is None else means.of(rollouts.truncated),
                   responses_per_step=max(int(np.median(sizes)), 1), **made)

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

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        said = []
        for name in SERIES:
            series = getattr(self, name)
            if series is not None and not name.endswith("stderr"):
                known = series[np.isfinite(series)]
                said.append(f"{name} {known[0]:.4g} to {known[-1]:.4g}")
        return f"Curves({len(self):,} steps, {self.steps[0]} to {self.steps[-1]}: {', '.join(said)})"


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


def slope(steps: Sequence[float] | FloatArray | IntArray, values: FloatArray) -> tuple[float, float]:
    """The slope of the least-squares line through the values that are known, per step, and its standard error.

    The error is that of the scatter about the line; NaN with fewer than three values, and both with fewer than two.

    >>> slope([0, 1, 2, 3], np.array([1.0, 3.0, 5.0, 7.0]))
    (2.0, 0.0)
    """
    known = np.isfinite(values)
    x = np.asarray(steps, dtype=np.float64)[known]
    y = values[known]
    if len(x) < 2:
        return np.nan, np.nan
    x = x - x.mean()
    squares = float(x @ x)
    found = float(x @ y) / squares
    rest = y - y.mean() - found * x
    stderr = np.sqrt(float(rest @ rest) / (len(x) - 2) / squares) if len(x) > 2 else np.nan
    return found, float(stderr)
