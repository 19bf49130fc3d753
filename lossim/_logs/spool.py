"""Columns of any length: in memory while they are small, in unnamed temporary files beyond.

The system's folder for temporary files (``TMPDIR``) holds them; a file goes when the last array that reads it goes.
"""

from __future__ import annotations

import tempfile
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lossim._support.types import IntArray

__all__ = ["CHUNK", "IN_MEMORY", "Column", "gather_groups", "is_grouped"]

IN_MEMORY = 2_000_000  # rows; more are kept on disk
CHUNK = 1 << 18  # rows handled at a time

Array = NDArray[Any]


class Column:
    """A column that grows by chunks."""

    def __init__(self, dtype: DTypeLike) -> None:
        self.dtype, self.rows = np.dtype(dtype), 0
        self._parts: list[Array] = []
        self._file: IO[bytes] | None = None

    def append(self, values: Array) -> None:
        """Add a chunk."""
        self._parts.append(values.astype(self.dtype))
        self.rows += len(values)
        if self._file is None and self.rows > IN_MEMORY:
            self._file = tempfile.TemporaryFile(prefix="lossim-")  # noqa: SIM115 - close() is for that
        if self._file is not None:
            for part in self._parts:
                self._file.write(part.data)
            self._parts.clear()

    def close(self) -> None:
        """Let go of the file; arrays that read it keep it."""
        if self._file is not None:
            self._file.close()

    def array(self) -> Array:
        """All rows, read-only."""
        if self._file is None:
            whole = np.concatenate([np.empty(0, self.dtype), *self._parts])
            self._parts = [whole]
            whole.setflags(write=False)
            return whole
        self._file.flush()  # the map keeps the file when it is closed here
        return np.memmap(self._file, self.dtype, mode="r", shape=(self.rows,)).view(np.ndarray)


def _blank(rows: int, dtype: DTypeLike) -> Array:
    """An array to be filled in any order."""
    if rows <= IN_MEMORY:
        return np.empty(rows, dtype)
    with tempfile.TemporaryFile(prefix="lossim-") as file:
        file.truncate(rows * np.dtype(dtype).itemsize)
        return np.memmap(file, dtype, mode="r+", shape=(rows,)).view(np.ndarray)


def _chunks(rows: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, rows)) for start in range(0, rows, CHUNK)]


def _keys(prompts: IntArray, steps: IntArray | None, rows: slice) -> IntArray:
    """One number per group, ascending by step, then by prompt code (a whole number from 0 to 2**31 - 1)."""
    keys = prompts[rows].astype(np.int64)
    if steps is not None:
        keys += steps[rows].astype(np.int64) << 31
    return keys


def _groups(prompts: IntArray, steps: IntArray | None) -> tuple[IntArray, IntArray, bool]:
    """Keys of all groups, ascending, their sizes, and whether the rows are already one ascending run per group."""
    known, counts = np.empty(0, np.int64), np.empty(0, np.int64)
    runs, ascending, last = 0, True, np.empty(0, np.int64)
    for rows in _chunks(len(prompts)):
        keys = np.concatenate([last, _keys(prompts, steps, rows)])
        runs += int(np.count_nonzero(keys[1:] != keys[:-1])) + (len(last) == 0)
        if steps is not None:
            ascending = ascending and bool((keys[1:] >> 31 >= keys[:-1] >> 31).all())
        found, sizes = np.unique(keys[len(last):], return_counts=True)
        place = np.searchsorted(known, found)
        seen = place < len(known)
        seen[seen] = known[place[seen]] == found[seen]
        counts[place[seen]] += sizes[seen]
        known = np.insert(known, place[~seen], found[~seen])
        counts = np.insert(counts, place[~seen], sizes[~seen])
        last = keys[-1:]
    return known, counts, ascending and runs == len(known)


def is_grouped(prompts: IntArray, steps: IntArray | None) -> bool:
    """Whether steps ascend and every group is one run."""
    return _groups(prompts, steps)[2]


def gather_groups(columns: dict[str, Array], prompts: IntArray, steps: IntArray | None) -> dict[str, Array] | None:
    """The columns with every group in one run, by step, then prompt code, then as they came; None if already so.

    A counting sort by chunks: memory grows with the number of groups, not of rows.
    """
    known, counts, grouped = _groups(prompts, steps)
    if grouped:
        return None
    places = np.cumsum(counts) - counts
    sorted_columns = {name: _blank(len(prompts), column.dtype) for name, column in columns.items()}
    for rows in _chunks(len(prompts)):
        keys = _keys(prompts, steps, rows)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        sizes = np.diff(first, append=len(keys))
        group = np.searchsorted(known, keys[first])
        target = np.repeat(places[group] - first, sizes) + np.arange(len(keys))
        places[group] += sizes
        for name, column in columns.items():
            sorted_columns[name][target] = column[rows][order]
    for column in sorted_columns.values():
        column.setflags(write=False)
    return sorted_columns
