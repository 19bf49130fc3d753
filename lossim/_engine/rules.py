"""What a scheme says of each way a response can end, before any policy is looked at: who counts, and what is paid."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from lossim._model import Layout
from lossim._support import checks
from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray, IntArray
from lossim.rewards import Reward
from lossim.schemes import Truncation
from lossim.selection import Deadline

__all__ = ["EndRules", "Logged"]

Made = TypeVar("Made")


class Logged(Record):
    """Rewards of a log, in place of the scheme's rule.

    ``task`` [1, grade, end] is what responses are paid in the tables of the engine, ``expected_pay`` [cell, end] the
    mean that a critic learns.
    """

    task: FloatArray
    expected_pay: FloatArray


class EndRules(Record):
    """Slots of a scheme that speak of ends, and what they say of those of a layout. Nothing here knows a policy.

    Attributes:
        layout: the cells.
        goals: the target of each class as the policy has it, [class]; None where it has none.
        logged: rewards of a log in place of the rule; None for the rule.
        kept: what :meth:`once` has made, and of what.
    """

    reward: Reward
    truncation: Truncation
    selection: Deadline | None
    layout: Layout
    goals: FloatArray | None
    logged: Logged | None
    kept: dict[Callable[..., Any], tuple[tuple[object, ...], Any]] = field(default_factory=dict)

    def once(self, make: Callable[..., Made], *parts: object) -> Made:
        """What a function makes of parts, kept until it is asked about others: the steps of a run ask the same again.

        Parts are the same if they are the same objects; nobody writes into what is made.
        """
        known = self.kept.get(make)
        if known is None or any(map(operator.is_not, known[0], parts)):
            known = self.kept[make] = parts, make(*parts)
        made: Made = known[1]
        return made

    def same_as(self, other: EndRules) -> bool:
        """Whether both are made of the same objects."""
        return (self.reward is other.reward and self.truncation == other.truncation
                and self.selection is other.selection and self.layout is other.layout
                and self.goals is other.goals and self.logged is other.logged)

    # --- who counts -------------------------------------------------------------------------------------------

    @cached_property
    def in_loss(self) -> BoolArray:
        """Which ends are in the loss, [end]."""
        return self._but_cut(self.truncation == "keep")

    @cached_property
    def in_baseline(self) -> BoolArray:
        """Which ends are in baseline and std, [end]."""
        return self._but_cut(self.truncation != "remove")

    def _but_cut(self, cut: bool) -> BoolArray:
        inside = np.ones(self.layout.max_tokens + 1, dtype=bool)
        inside[-1] = cut
        return inside & self.in_time

    @cached_property
    def in_time(self) -> BoolArray:
        """Which ends are no later than the scheme takes responses, [end]."""
        length = self.layout.length
        return np.ones(len(length), dtype=bool) if self.selection is None else self.selection.in_time(length)

    @cached_property
    def admitted(self) -> BoolArray:
        """Which ends the responses of a step can have, [end]: not those for which it replaces the whole group."""
        return self.in_time if self.selection is not None and self.selection.drops == "group" else (
            np.ones_like(self.in_time))

    # --- what responses are paid --------------------------------------------------------------------------------

    @cached_property
    def task(self) -> FloatArray:
        """Task reward with shaping, [1, grade, end], or [cell, grade, end] where it depends on the prompt's target.

        0 where the shaping compares a group, which only samples have.
        """
        if self.logged is not None:
            return self.logged.task
        reward = self.reward
        target = self.target
        if reward.group_relative:
            return np.zeros((1, len(self.pay), self.layout.max_tokens + 1))
        correct = np.arange(len(self.pay))[:, None] == 0
        cut = np.arange(self.layout.max_tokens + 1) == self.layout.max_tokens
        if target is None:
            return np.asarray(reward.values(self.layout.length, correct, cut, self.pay[:, None]))[None]
        paid = reward.values(self.layout.length, correct, cut, self.pay[:, None], target[:, None, None])
        return np.asarray(paid)[self.layout.class_of_cell]

    @cached_property
    def target(self) -> FloatArray | None:
        """The target of each class, [class], where the reward reads it; None where it does not.

        Raises:
            ValueError: a class without one.
        """
        if not self.reward.needs_target:
            return None
        given = self.goals
        missing = [] if given is None else np.flatnonzero(np.isnan(given)).tolist()
        if given is None or missing:
            names = list(dict.fromkeys(names[0] for names in self.layout.cell_names))
            without = names if given is None else [names[i] for i in missing]
            checks.fail(f"target of class {without[0]!r}", None, f"must be given: {self.reward.target_words}",
                        "use PromptClass(target=...), or policy.with_targets([...]) for a class for each of several")
        return given

    @cached_property
    def pay(self) -> FloatArray:
        """What grades are paid before cuts and shapings, [grade]."""
        return self.reward.by_grade(self.layout.grades)

    @cached_property
    def alike(self) -> BoolArray:
        """Whether each end is paid as the one before it, whatever the grade, and in the baseline as that is, [end]."""
        task = self.task
        same = np.zeros(task.shape[-1], dtype=bool)
        same[1:] = (task[:, :, 1:] == task[:, :, :-1]).all(axis=(0, 1))
        same[1:] &= self.in_baseline[1:] == self.in_baseline[:-1]
        same[1:] &= self.admitted[1:] == self.admitted[:-1]
        return same

    @cached_property
    def runs(self) -> IntArray:
        """The first end of each run of ends that are alike, [run]."""
        return np.flatnonzero(~self.alike)

    @property
    def few_runs(self) -> bool:
        """Whether they are few, beside the ends."""
        return 2 * len(self.runs) < len(self.alike)

    @cached_property
    def run_of_end(self) -> IntArray:
        """The run of each end, [end]."""
        return np.cumsum(~self.alike) - 1

    @cached_property
    def reward_levels(self) -> tuple[FloatArray, IntArray]:
        """The different task rewards, increasing, and which of them each [grade, end] gets; of the first class."""
        return self.levels_by_class[0]

    @cached_property
    def levels_by_class(self) -> list[tuple[FloatArray, IntArray]]:
        """The same for each class; one entry for all where they are paid alike."""
        first = [cells.start for cells in self.layout.class_cells] if len(self.task) > 1 else [0]
        found = [np.unique(self.task[cell][:, self.runs], return_inverse=True) for cell in first]
        return [(values, level.reshape(-1, len(self.runs))[:, self.run_of_end]) for values, level in found]
