"""The log as a policy, and the log redrawn: cells are class × path, or class × state, and the law is the log's own."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import numpy as np

from lossim._auditing.log import Log
from lossim._engine import EndSums, end_sums
from lossim._model import CellArrays, Coordinates, Directions, Draws, Layout
from lossim._support.positions import after
from lossim._support.quotients import log_odds, quotient
from lossim._support.records import Record, mapped
from lossim._support.types import FloatArray
from lossim.lengths import from_logits
from lossim.policies import Path, Policy, PromptClass, Work
from lossim.rollouts import answered_at

Paths = Literal["outcome", "one", "states", "column"]


class LoggedCells(Record):
    """How responses of a log make a policy.

    With ``paths="outcome"`` the right and the wrong responses of a class are paths of their own, truncated ones by
    their grade; with ``"one"`` a class has one path, on which some responses are right; with ``"column"`` it has the
    paths that the log names. With ``"states"`` it has one path with work: responses are working until their answer is
    there. That is at ``needed`` times the length of a right response, and wrong ones work all along; where ``needed``
    is None the log says where it is. With ``cut_done`` cut responses are done from that share on as well.
    """

    log: Log
    paths: Paths
    coordinates: Coordinates
    needed: float | None = None
    cut_done: bool = False

    # --- places as responses ------------------------------------------------------------------------------------

    @cached_property
    def draws(self) -> Draws:
        """A response of this policy for each place of the log, [place]."""
        kind, grade, end, answered = self.log.places
        prompts = kind // len(self.log.path_names)
        entered = np.zeros_like(end)
        cell = {"outcome": 2 * prompts + grade, "one": prompts, "column": kind}.get(self.paths)
        if cell is None:
            if self.needed is not None:
                length = np.minimum(end + 1, self.log.max_tokens)
                done = (grade == 0) | (self.cut_done & (end == self.log.max_tokens))
                answered = np.where(done, answered_at(length, self.needed), 0)
            cell = 2 * prompts + (answered > 0)
            entered = np.maximum(answered - 1, 0)
        return Draws(cell=cell, grade=grade, end=end, entered=entered)

    def draws_on(self, policy: CellArrays) -> Draws:
        """The places of each of the logs side by side, [log · place]."""
        return self._repeated(len(policy.class_weight) // len(self.log.classes))

    def _repeated(self, count: int) -> Draws:
        """The places of so many logs, one after the other."""
        draws = mapped(lambda x: np.tile(x, count), self.draws)
        first = np.repeat(np.arange(count) * self._cells, len(self.draws.cell))
        return Draws(cell=draws.cell + first, grade=draws.grade, end=draws.end, entered=draws.entered)

    @property
    def _cells(self) -> int:
        """Number of cells."""
        of_class = {"one": 1, "column": len(self.log.path_names)}
        return len(self.log.classes) * of_class.get(self.paths, 2)

    @cached_property
    def _layout(self) -> Layout:
        """Class and path of each cell, for sums; without names."""
        classes = len(self.log.classes)
        paths = classes if self.paths == "states" else self._cells
        return Layout(cell_names=(("", ""),) * self._cells, max_tokens=self.log.max_tokens,
                      class_of_path=np.repeat(np.arange(classes), paths // classes),
                      path_of_cell=np.repeat(np.arange(paths), self._cells // paths))

    def sums(self, x: FloatArray) -> EndSums:
        """Sums [log, place], of one log or of several in a row, by [cell, grade, end] and by when states changed."""
        if self.paths == "states":
            return end_sums(self._layout.repeated(len(x)), self._repeated(len(x)), x)
        return EndSums.of_one_state(self._by_cell(x))

    def _by_cell(self, x: FloatArray) -> FloatArray:
        """The same where cells have one state, [log · cell, grade, end]."""
        by_end = self.log.by_end(x)
        classes, ends = len(self.log.classes), by_end.shape[-1]
        if self.paths != "column" and len(self.log.path_names) > 1:
            by_end = by_end.reshape(len(x), classes, -1, 2, ends).sum(axis=2)
        by_end = by_end.reshape(-1, 2, ends)
        if self.paths != "outcome":
            return by_end
        split = np.zeros((len(by_end), 2, 2, ends))
        for grade in (0, 1):
            split[:, grade, grade] = by_end[:, grade]
        return split.reshape(-1, 2, ends)

    # --- the log as it is ---------------------------------------------------------------------------------------

    @cached_property
    def policy(self) -> Policy:
        """Hazards are stops over responses at risk; paths and classes are as frequent as in the log."""
        sums = self.sums(self.log.count[None])
        ends = sums.ended.sum(axis=1)
        correct = quotient(sums.ended[:, 0], ends)
        entered = sums.entered.sum(axis=1)
        at_risk = _at_risk(self._layout, ends, entered)
        weight, probability = self._shares(ends, 1)
        logits = _logits(ends, at_risk)
        arrival = _arrival(self._layout, at_risk, entered)
        names = {"outcome": ("right", "wrong"), "column": self.log.path_names}.get(self.paths, ("all",))
        classes = []
        for number, name in enumerate(self.log.class_names):
            paths = []
            for path, own in enumerate(names, start=number * len(names)):
                cell = int(self._layout.first_cells[path])
                work = None
                if self.paths == "states":
                    done = correct[cell + 1]
                    work = Work.arriving(arrival[number], done=from_logits(logits[cell + 1], entered=True),
                                         p_correct=done[:-1], p_correct_truncated=float(done[-1]))
                paths.append(Path(own, probability=float(probability[path]), length=from_logits(logits[cell]),
                                  p_correct=correct[cell, :-1], p_correct_truncated=float(correct[cell, -1]),
                                  work=work))
            classes.append(PromptClass(name, weight=float(weight[number]), paths=paths))
        return Policy(classes, max_tokens=self.log.max_tokens, coordinates=self.coordinates)

    @cached_property
    def directions(self) -> Directions:
        """Its directions."""
        return self.policy.directions

    # --- the log redrawn ----------------------------------------------------------------------------------------

    def redrawn(self, counts: FloatArray) -> Directions:
        """Logs of other counts [log, place] side by side; graded by position as the log itself."""
        count = len(counts)
        sums = self.sums(counts)
        ends = sums.ended.sum(axis=1)
        entered = sums.entered.sum(axis=1)
        weight, probability = self._shares(ends, count)
        start = self.policy.arrays
        layout = start.layout.repeated(count)
        at_risk = _at_risk(layout, ends, entered)
        policy = CountedArrays(layout=layout, class_weight=weight, probability=probability,
                               logits=_logits(ends, at_risk), correctness=np.tile(start.correctness, (count, 1)),
                               others=np.tile(start.others, (count, 1, 1)),
                               arrival=_arrival(layout, at_risk, entered), counts=ends, moved=entered)
        return Directions(policy=policy, motion=self.policy.motion, shape=(count,))

    def _shares(self, ends: FloatArray, count: int) -> tuple[FloatArray, FloatArray]:
        """Class weights [class] and path probabilities [path] of so many logs in a row, from counts [cell, end]."""
        by_path = self._layout.repeated(count).by_path(ends.sum(axis=1)).reshape(count * len(self.log.classes), -1)
        by_class = by_path.sum(axis=1)
        probability = quotient(by_path, by_class[:, None], nothing=1.0 / by_path.shape[1])
        of_log = by_class.reshape(count, -1)
        weight = of_log / of_log.sum(axis=1, keepdims=True)
        return weight.ravel(), probability.ravel()


def _reached(counts: FloatArray) -> FloatArray:
    """Σ_{end ≥ t} of counts [cell, end], for t = 1..N and last for those that are cut."""
    return np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]


def _at_risk(layout: Layout, counts: FloatArray, moved: FloatArray) -> FloatArray:
    """Responses in each cell at t, after those who move on at t have moved; last those that are cut, [cell, N+1].

    Of counts [cell, end] and of those who moved [move, t]: those who leave a cell later are there still, and those who
    enter it later are not there yet.
    """
    at_risk = _reached(counts)
    source, target, _ = layout.moves
    later = after(np.column_stack([moved, np.zeros(len(moved))]))
    at_risk[source, :-1] += later
    at_risk[target, :-1] -= later
    return at_risk


def _arrival(layout: Layout, at_risk: FloatArray, moved: FloatArray) -> FloatArray:
    """Those who move on at t over those who could, [move, t]; 0 where nobody is left."""
    before_it = at_risk[layout.moves.source, :-1] + moved
    return quotient(moved, before_it)


def _logits(counts: FloatArray, at_risk: FloatArray) -> FloatArray:
    """Hazard logits [cell, t] of counts [cell, end]."""
    return log_odds(counts[:, :-1], at_risk[:, :-1] - counts[:, :-1])


class CountedArrays(CellArrays):
    """Arrays of laws that were counted, [cell, end] and those who moved on [move, t].

    They are read off the counts, in half the time that logits take.

    A path without a response has hazards of 1/2 in its first state, as its logits say.
    """

    counts: FloatArray
    moved: FloatArray

    @cached_property
    def _counts(self) -> FloatArray:
        """The counts, or on a path without any those of a law with hazards of 1/2."""
        halves = 0.5 ** np.append(np.arange(1.0, self.max_tokens + 1.0), self.max_tokens)
        layout = self.layout
        empty = layout.by_path(self.counts.sum(axis=1)) == 0
        counts = self.counts
        if empty.any():
            counts = counts.copy()
            counts[layout.first_cells[empty]] = halves
        return counts

    @cached_property
    def _at_risk(self) -> FloatArray:
        return _at_risk(self.layout, self._counts, self.moved)

    @cached_property
    def _on_path(self) -> FloatArray:
        """Responses of the path, [cell, 1]."""
        by_cell = _reached(self._counts)[:, 0]
        return self.layout.by_path(by_cell)[self.layout.path_of_cell, None]

    def _of_those_at_risk(self, some: FloatArray) -> FloatArray:
        at_risk = self._at_risk[:, :-1]
        return quotient(some, at_risk, nothing=0.5)

    @cached_property
    def ends(self) -> FloatArray:
        return self._counts / self._on_path

    @cached_property
    def at_risk(self) -> FloatArray:
        return self._at_risk[:, :-1] / self._on_path

    @cached_property
    def log_at_risk(self) -> FloatArray:
        with np.errstate(divide="ignore"):
            return np.log(self._at_risk / self._on_path)

    @cached_property
    def entering(self) -> FloatArray:
        return self.moved / self._on_path[self.layout.moves.source]

    @cached_property
    def hazard(self) -> FloatArray:
        return self._of_those_at_risk(self._counts[:, :-1])

    @cached_property
    def stay(self) -> FloatArray:
        return self._of_those_at_risk(self._at_risk[:, :-1] - self._counts[:, :-1])
