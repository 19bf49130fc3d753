"""The cells of a policy: its classes, their paths and the states of these, and how sampled responses are written down.

A path is a chain of states, one or two: a response moves on at the start of a position, before it stops there or goes
on.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

from lossim._support.positions import BLOCK
from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray, IntArray

ALIKE = 1e-12
"""Numbers of the paths of a class that differ by no more than this are the same, but for rounding."""


class Moves(NamedTuple):
    """The moves from state to state within some cells.

    ``source`` and ``target`` [move] are counted from the first of these cells; ``rows`` says which of all moves it is.
    """

    source: IntArray
    target: IntArray
    rows: slice

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The source and the target of each."""
        return list(zip(self.source.tolist(), self.target.tolist(), strict=True))


class Layout(Record):
    """The cells of a policy, class by class and path by path, and the cap.

    Attributes:
        cell_names: (class, path) per cell, and the state where the path has two.
        class_of_path: index of the class, [path], increasing.
        path_of_cell: index of the path, [cell], increasing; the cells of a path are its states in order.
        max_tokens: N; positions run from 1 to N.
        grades: names of the grades.
    """

    cell_names: tuple[tuple[str, ...], ...]
    class_of_path: IntArray
    path_of_cell: IntArray
    max_tokens: int
    grades: tuple[str, ...] = ("correct", "incorrect")

    @staticmethod
    @lru_cache(maxsize=64)
    def of(cell_names: tuple[tuple[str, ...], ...], paths: tuple[int, ...], states: tuple[int, ...], max_tokens: int,
           grades: tuple[str, ...]) -> Layout:
        """The cells of so many ``paths`` by class and so many ``states`` by path; one and the same for all that ask."""
        return Layout(cell_names=cell_names, class_of_path=np.repeat(np.arange(len(paths)), paths),
                      path_of_cell=np.repeat(np.arange(len(states)), states), max_tokens=max_tokens, grades=grades)

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.cell_names)

    @property
    def paths(self) -> int:
        """Number of paths, over all classes."""
        return len(self.class_of_path)

    @cached_property
    def class_of_cell(self) -> IntArray:
        """Index of the class, [cell]."""
        return self.class_of_path[self.path_of_cell]

    @cached_property
    def path_names(self) -> tuple[tuple[str, str], ...]:
        """(class, path) per path."""
        return tuple((self.cell_names[cell][0], self.cell_names[cell][1]) for cell in self.first_cells)

    @cached_property
    def role_of_cell(self) -> IntArray:
        """What a cell is in its class, its path and its state, as a number: [cell], the same in all classes."""
        roles = sorted({names[1:] for names in self.cell_names})
        return np.array([roles.index(names[1:]) for names in self.cell_names])

    @cached_property
    def name_of_path(self) -> IntArray:
        """The name of a path as a number, [path], the same in all classes."""
        own = [path for _, path in self.path_names]
        names = sorted(set(own))
        return np.array([names.index(path) for path in own])

    @cached_property
    def first_cells(self) -> IntArray:
        """The first state of each path, [path]."""
        return np.flatnonzero(np.diff(self.path_of_cell, prepend=-1))

    @cached_property
    def class_cells(self) -> tuple[slice, ...]:
        """The cells of each class."""
        return _runs(self.class_of_cell)

    @cached_property
    def class_paths(self) -> tuple[slice, ...]:
        """The paths of each class."""
        return _runs(self.class_of_path)

    @cached_property
    def moves(self) -> Moves:
        """All moves from state to state."""
        target = np.flatnonzero(np.diff(self.path_of_cell, prepend=-1) == 0)
        return Moves(target - 1, target, slice(0, len(target)))

    def moves_within(self, cells: slice) -> Moves:
        """The moves within some cells, which are whole paths."""
        start, end, _ = cells.indices(self.cells)
        target = self.moves.target
        rows = slice(*np.searchsorted(target, [start, end]).tolist())
        return Moves(target[rows] - 1 - start, target[rows] - start, rows)

    @cached_property
    def came_from(self) -> IntArray:
        """The state before, [cell]; of a first state the cell itself."""
        cell = np.arange(self.cells)
        cell[self.moves.target] = self.moves.source
        return cell

    @cached_property
    def move_into(self) -> IntArray:
        """Which move leads into each cell, [cell]; where none does, how many there are."""
        return self._numbered(self.moves.target)

    @cached_property
    def move_from(self) -> IntArray:
        """Which move leads out of each cell, [cell]; where none does, how many there are."""
        return self._numbered(self.moves.source)

    def _numbered(self, cells: IntArray) -> IntArray:
        number = np.full(self.cells, len(cells))
        number[cells] = np.arange(len(cells))
        return number

    @property
    def blocks(self) -> Iterator[slice]:
        """Slices of cells, whole paths each, of about ``BLOCK`` numbers [cell, t]."""
        size = max(BLOCK // self.max_tokens, 1)
        start = 0
        while start < self.cells:
            end = min(start + size, self.cells)
            while end < self.cells and self.path_of_cell[end] == self.path_of_cell[end - 1]:
                end += 1
            yield slice(start, end)
            start = end

    def by_path(self, x: FloatArray, axis: int = -1) -> FloatArray:
        """Sums over the states of each path, along an axis of cells: [..., cell] → [..., path]."""
        return np.add.reduceat(x, self.first_cells, axis=axis)

    def unlike(self, x: FloatArray) -> BoolArray:
        """Whether the paths of a class differ in a number by more than rounding, [..., path] both."""
        first = [paths.start for paths in self.class_paths]
        spread = np.maximum.reduceat(x, first, axis=-1) - np.minimum.reduceat(x, first, axis=-1)
        found: BoolArray = (spread > ALIKE)[..., self.class_of_path]
        return found

    @cached_property
    def length(self) -> FloatArray:
        """T for each end: 1, 2, ..., N, N."""
        n = self.max_tokens
        return np.append(np.arange(1.0, n + 1.0), float(n))

    def repeated(self, count: int) -> Layout:
        """The cells of so many policies as those of one: all cells of the first, then all of the second, ..."""
        return Layout(cell_names=self.cell_names * count, max_tokens=self.max_tokens, grades=self.grades,
                      class_of_path=_counted_on(self.class_of_path, count),
                      path_of_cell=_counted_on(self.path_of_cell, count))

    def first_of(self, count: int) -> Layout:
        """The cells of the first of so many policies whose cells these are: what they are :meth:`repeated` from."""
        cells = self.cells // count
        paths = self.paths // count
        return Layout(cell_names=self.cell_names[:cells], max_tokens=self.max_tokens, grades=self.grades,
                      class_of_path=self.class_of_path[:paths], path_of_cell=self.path_of_cell[:cells])


def _runs(number: IntArray) -> tuple[slice, ...]:
    """The places of each number, of numbers that increase by one from 0."""
    first = np.flatnonzero(np.diff(number, prepend=-1)).tolist()
    return tuple(slice(start, end) for start, end in zip(first, [*first[1:], len(number)], strict=True))


def _counted_on(number: IntArray, count: int) -> IntArray:
    """The same numbers so many times, each time counted on from the last."""
    size = int(number[-1]) + 1
    return np.repeat(np.arange(count) * size, len(number)) + np.tile(number, count)


class Draws(Record):
    """Sampled responses as indices, arrays of one shape, [..., prompt, response].

    ``cell``, ``grade`` and ``end`` say how they ended, ``entered`` is the column of the position at whose start they
    moved into that cell (0 where none leads into it).
    """

    cell: IntArray
    grade: IntArray
    end: IntArray
    entered: IntArray
