"""Responses by when they moved and how they ended, where what they are paid depends on both.

A KL in the reward pays tokens by the state they are in, so after a move the return is a function of both positions, and
so is an advantage that is no linear function of it. A class then has a row for each move, with all ends: O(N²) points.
See docs/derivations.md, section 18.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from lossim._engine.groups import ClassLaw
from lossim._engine.measures import EndSums, by_outcome
from lossim._engine.states import MOST_PAIRS, along_pairs, moves_and_ends
from lossim._engine.step import Step
from lossim._model import CellArrays
from lossim._support.positions import blocks
from lossim._support.quotients import quotient
from lossim._support.types import FloatArray, NoClosedForm

__all__ = ["PairLaw", "add_up"]

MOST_POINTS = 1 << 24
"""Points (move, grade, end) of a class that are held at once; of them a few arrays."""


class PairLaw(ClassLaw):
    """A class whose rows are (cell, grade), and (cell, t, grade) in cells that are moved to: t where the move was.

    Raises:
        NoClosedForm: there are too many points, when they are first asked for.
    """

    @property
    def cell_moves(self) -> Iterator[tuple[int, int | None]]:
        """Each cell of the class, with the move that leads to it."""
        into = self.step.old.layout.move_into
        for cell in range(self.cells.start, self.cells.stop):
            move = int(into[cell])
            yield cell, move if move < len(self.step.old.arrival) else None

    @cached_property
    def law(self) -> FloatArray:
        """P(row, end) given the class."""
        policy = self.step.old
        self._refuse_many()
        rows = [policy.law[cell] if move is None else _law_after(policy, cell, move)
                for cell, move in self.cell_moves]
        share = [policy.cell_probability[cell] for cell, _ in self.cell_moves]
        return np.concatenate([each * part for each, part in zip(rows, share, strict=True)])

    @cached_property
    def returns(self) -> FloatArray:
        """R, [row, end]."""
        paid = self.step.paid_or_nothing
        rows = []
        for cell, move in self.cell_moves:
            if move is None:
                rows.append(self.step.returns[cell])
                continue
            total = along_pairs(self.step.old, move, paid.stop, paid.go, slice(None, -1))
            task = self.step.task[cell if len(self.step.task) > 1 else 0]
            rows.append((task + total[:, None]).reshape(-1, total.shape[-1]))
        return np.concatenate(rows)

    def _refuse_many(self) -> None:
        policy = self.step.old
        moves = sum(move is not None for _, move in self.cell_moves)
        points = moves * policy.max_tokens * policy.law[0].size
        if points > MOST_POINTS:
            raise NoClosedForm("advantage", f"{type(self.step.scheme.advantage).__name__} with a KL in the reward on "
                               "paths with work, where what is paid depends on when the answer was there: "
                               f"{points:,} pairs of both positions in a class, and {MOST_POINTS:,} are summed at most")


def _law_after(policy: CellArrays, cell: int, move: int) -> FloatArray:
    """P(moved at t, grade, end | path), [(t, grade), end]."""
    graded = quotient(policy.law[cell], policy.ends[cell])
    made = np.empty((policy.max_tokens, *graded.shape))
    for moved in blocks(len(made), made.shape[-1], MOST_PAIRS):
        np.multiply(moves_and_ends(policy, move, moved, slice(None))[:, None], graded, out=made[moved])
    return made.reshape(-1, graded.shape[-1])


def add_up(law: PairLaw, measure: FloatArray, sign: int | None, total: EndSums) -> None:
    """Add a measure over the points of a class, [row, end], to sums by how responses ended and when they moved.

    ``sign`` is that of the advantages, by which the gains of whole responses multiply it; None for none.
    """
    step = law.step
    grades, ends = total.ended.shape[1:]
    start = 0
    for cell, move in law.cell_moves:
        if move is None:
            rows = measure[start:start + grades]
            total.ended[cell] += rows if sign is None else rows * step.response_gain(sign)[cell]
            start += grades
            continue
        by_move = measure[start:start + grades * step.old.max_tokens].reshape(-1, grades, ends)
        start += grades * step.old.max_tokens
        for moved in blocks(len(by_move), 3 * ends, MOST_PAIRS):
            part = by_move[moved] if sign is None else by_move[moved] * _gain(step, move, moved, sign)
            total.ended[cell] += part.sum(axis=0)
            total.entered[move][:, moved] += by_outcome(part).sum(axis=-1).T


def _gain(step: Step, move: int, moved: slice, sign: int) -> FloatArray:
    """The gain of whole responses that moved at t, [t, 1, end]."""
    parts = step.response_parts(sign)
    if parts is None:
        return np.ones(1)
    paid = along_pairs(step.old, move, parts.stop, parts.go, moved)
    return step.scheme.surrogate.response_gain(paid, np.broadcast_to(step.old.length, paid.shape), sign)[:, None]
