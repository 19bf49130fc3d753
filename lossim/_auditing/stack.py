"""Several logs of the same cells as one policy, so that what is read off them takes one call for all."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from lossim._engine import Changes, Directions, Measures, Readout, Squares, Step, by_outcome, update_gradient
from lossim._model import CellArrays, Logits, Motion
from lossim._support.records import Record
from lossim._support.types import FloatArray

__all__ = ["CountedArrays", "Stack", "logits_of"]


class Stack(Record):
    """So many logs of the same cells as one policy: its cells are those of the first log, then of the second, ...

    What is read off it is [log, ...].
    """

    policy: CellArrays
    motion: Motion
    count: int

    @cached_property
    def directions(self) -> Directions:
        """The directions of all the logs."""
        return Directions(policy=self.policy, motion=_Motions(motion=self.motion, count=self.count))

    def by_log(self, x: FloatArray) -> FloatArray:
        """[cell, ...] or [class, ...] of all logs as [log, cell, ...] or [log, class, ...]."""
        return x.reshape(self.count, -1, *x.shape[1:])

    def inner_product(self, one: Logits, other: Logits) -> FloatArray:
        """Σ over the stop logits and the path logits of each log."""
        stops = np.einsum("lct,lct->l", self.by_log(one.stops), self.by_log(other.stops))
        return stops + np.einsum("lc,lc->l", self.by_log(one.paths), self.by_log(other.paths))

    def squares(self, changes: Changes) -> Squares:
        """How far updates [log, ...] go, as :meth:`lossim._engine.Directions.squares` has it for one policy.

        A stack of one measures any number of updates by that log's law.
        """
        policy = self.policy
        move = self.motion.push(changes.update)
        # Paths are centred in their class.
        first = [cells.start for cells in policy.class_cells[:len(policy.class_cells) // self.count]]
        sizes = np.diff([*first, move.paths.shape[1]])
        means = np.add.reduceat(self.by_log(policy.probability) * move.paths, first, axis=1)
        paths = move.paths - np.repeat(means, sizes, axis=1)
        by_cell = np.sum(self.by_log(self.directions.fisher) * move.stops**2, axis=2) + paths**2
        nats = 0.5 * np.sum(self.by_log(policy.cell_weight) * by_cell, axis=1)
        size = (np.einsum("lct,lct->l", changes.hazard_gradient, move.stops)
                + np.einsum("lc,lc->l", changes.path_gradient, move.paths))
        return Squares(nats=nats, size=size)

    def length_changes(self, step: Step, measures: Measures) -> Changes:
        """The change of mean length with what squares take, and no other number."""
        gradient = update_gradient(step, measures)
        return Changes(
            length=self.inner_product(gradient, self.directions.length),
            hazard_gradient=self.by_log(gradient.stops), path_gradient=self.by_log(gradient.paths),
            update=self.directions.motion.pull(*gradient), reward=np.zeros(self.count), within=None, composition=None,
            length_by_class=None, length_by_path=None, length_by_outcome=None, path_probability=None, accuracy=None,
            truncation_rate=None, sources=None)

    def changes(self, readout: Readout, step: Step, measures: Measures) -> Changes:
        """Every number that is linear in the gradient: :meth:`lossim._engine.Readout.changes` of each log."""
        policy = self.policy
        cells = readout.by_cell(step, measures)

        def mean(x: FloatArray) -> FloatArray:
            return self.by_log(policy.cell_weight[:, None] * x).sum(axis=1)

        within = mean(cells.within)
        across = mean(cells.across)
        total = within + across
        expected = mean(readout.expectations)
        by_path = policy.probability * (cells.within + cells.across)[:, 0]
        by_class = np.bincount(policy.class_of_cell, weights=by_path).astype(np.float64)
        return Changes(
            length=total[:, 0], within=within[:, 0], composition=across[:, 0],
            length_by_class=self.by_log(by_class), length_by_path=self.by_log(cells.within[:, 0]),
            length_by_outcome=by_outcome(total, expected[:, 4:7], expected[:, 7:10]),
            path_probability=self.by_log(cells.path_probability), accuracy=total[:, 1], reward=total[:, 2],
            truncation_rate=total[:, 3], sources=self.by_log(cells.sources),
            hazard_gradient=self.by_log(cells.gradient.stops), path_gradient=self.by_log(cells.gradient.paths),
            update=cells.update)


class _Motions(Record):
    """The coordinates of one policy for each of several in a row; moves are [log, coordinate]."""

    motion: Motion
    count: int

    @property
    def size(self) -> int:
        return self.motion.size

    @property
    def largest(self) -> float:
        return self.motion.largest

    @property
    def path_scale(self) -> float:
        return self.motion.path_scale

    def pull(self, stops: FloatArray, paths: FloatArray) -> FloatArray:
        return self.motion.pull(stops.reshape(self.count, -1, stops.shape[-1]), paths.reshape(self.count, -1))

    def push(self, move: FloatArray) -> Logits:
        stops, paths = self.motion.push(move)
        return Logits(stops.reshape(-1, stops.shape[-1]), paths.ravel())


# --- laws that are counted --------------------------------------------------------------------------------------


def logits_of(counts: FloatArray) -> FloatArray:
    """Hazard logits log(stops/goes) [cell, t] of counts [cell, end]; 0 where nobody is at risk, since any will do."""
    at_risk = _reached(counts)[:, :-1]
    stops = counts[:, :-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(at_risk > 0, np.log(stops) - np.log(at_risk - stops), 0.0)


def _reached(counts: FloatArray) -> FloatArray:
    """Σ_{end ≥ t} of counts [cell, end], for t = 1..N and last for those that are cut."""
    return np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]


class CountedArrays(CellArrays):
    """Arrays of laws that were counted, [cell, end]: read off the counts, in half the time that logits take.

    A cell without a response has hazards of 1/2, as its logits say.
    """

    counts: FloatArray

    @cached_property
    def _counts(self) -> FloatArray:
        """The counts, or in a cell without any those of a law with hazards of 1/2."""
        halves = 0.5 ** np.append(np.arange(1.0, self.max_tokens + 1.0), self.max_tokens)
        return np.where(self.counts.any(axis=1, keepdims=True), self.counts, halves)

    @cached_property
    def _at_risk(self) -> FloatArray:
        return _reached(self._counts)

    def _of_those_at_risk(self, some: FloatArray) -> FloatArray:
        at_risk = self._at_risk[:, :-1]
        return np.divide(some, at_risk, out=np.full_like(at_risk, 0.5), where=at_risk > 0)

    @cached_property
    def ends(self) -> FloatArray:
        return self._counts / self._at_risk[:, :1]

    @cached_property
    def at_risk(self) -> FloatArray:
        return self._at_risk[:, :-1] / self._at_risk[:, :1]

    @cached_property
    def log_at_risk(self) -> FloatArray:
        with np.errstate(divide="ignore"):
            return np.log(self._at_risk / self._at_risk[:, :1])

    @cached_property
    def hazard(self) -> FloatArray:
        return self._of_those_at_risk(self._counts[:, :-1])

    @cached_property
    def stay(self) -> FloatArray:
        return self._of_those_at_risk(self._at_risk[:, 1:])
