"""CSV and TSV, the first row naming the columns; texts in quotes may hold commas, quotes and line ends."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np

from lossim._logs.files import lines, open_bytes
from lossim._logs.names import Head, Plan
from lossim._logs.reading import Flaw
from lossim._logs.rows import Chunk, in_chunks
from lossim._logs.values import Numbers, Raw

__all__ = ["chunks", "head"]

ROWS, CHARACTERS = 1 << 14, 1 << 24  # of a chunk, whichever comes first
LONGEST = 1 << 24  # characters of a field: a quote that is never closed does not fill the memory
UNCLOSED, TOO_LONG = "unexpected end of data", "field larger than field limit"

Row = tuple[int, int, list[str] | Flaw]
"""First line, last line, and the fields or what is wrong with them."""


class _Lines:
    """Lines as text, counted, and which of them are not UTF-8."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = lines(stream)
        self.number = 0
        self.undecodable: list[int] = []

    def __iter__(self) -> Iterator[str]:
        for line in self.stream:
            self.number += 1
            try:
                text = line.decode()
            except UnicodeDecodeError:
                self.undecodable.append(self.number)
                text = line.decode(errors="replace")
            yield text


@contextmanager
def _fields_up_to(characters: int) -> Iterator[None]:
    """The limit of Python's reader, for a while."""
    before = csv.field_size_limit(characters)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@contextmanager
def _table(file: Path) -> Iterator[tuple[list[str], Iterator[Row]]]:
    """The names of the columns, and the rows below them."""
    tab = file.name.lower().removesuffix(".gz").endswith(".tsv")
    with _fields_up_to(LONGEST), open_bytes(file) as stream:
        rows = _rows(file, _Lines(stream), "\t" if tab else ",")
        _, _, names = next(rows, (0, 0, []))
        if isinstance(names, Flaw):
            raise ValueError(f"{file}: line 1 must name the columns, but {names}")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{file}: line 1 names the column {twice!r} twice; columns must have different names")
        yield names, rows


def _rows(file: Path, text: _Lines, delimiter: str) -> Iterator[Row]:
    """All rows; a blank line is none."""
    reader = csv.reader(iter(text), delimiter=delimiter, strict=True)
    while True:
        start = text.number + 1
        try:
            row: list[str] | Flaw = next(reader)
            if not row:
                continue
        except StopIteration:
            return
        except csv.Error as problem:
            row = Flaw("is not CSV", str(problem))
            if text.number > start and str(problem).startswith((UNCLOSED, TOO_LONG)):
                _check_quote(file, start, text.number, delimiter, str(problem))
        if text.undecodable:
            text.undecodable.clear()
            row = Flaw("is not UTF-8 text")
        yield start, text.number, row


def _check_quote(file: Path, start: int, end: int, delimiter: str, problem: str) -> None:
    """Raise if the row in lines ``start`` to ``end`` ends in quotes opened before ``end``: good rows would go with it.

    The row is read again without limits: the line ends in its last field tell where that began.
    """
    with _fields_up_to(2**31 - 1), open_bytes(file) as stream:
        last = next(csv.reader(islice(_Lines(stream), start - 1, end), delimiter=delimiter))[-1]
    opened = end - last.count("\n") + last.endswith("\n")
    if opened < end:
        how = "never closed" if problem.startswith(UNCLOSED) else f"not closed within {LONGEST:,} characters"
        raise ValueError(f"{file}: a quote opened in line {opened} is {how}; everything after it would be one row; "
                         "close it, or mend the file if it was cut off there")


def head(file: Path, rows: int) -> Head:
    """Columns, each with what its first rows hold."""
    with _table(file) as (names, table):
        samples: dict[str, list[Any]] = {name: [] for name in names}
        for _, _, row in islice(table, rows):
            if isinstance(row, list) and len(row) == len(names):
                for name, value in zip(names, row, strict=True):
                    samples[name] += [value] if value else []
    return Head(samples)


def chunks(file: Path, plan: Plan) -> Iterator[Chunk]:
    """The rows."""
    with _table(file) as (names, table):
        blank = [""] * len(names)
        for numbers, rows in in_chunks(_sized(table, len(names)), ROWS, CHARACTERS):
            broken = {i: row for i, row in enumerate(rows) if isinstance(row, Flaw)}
            good = [blank if isinstance(row, Flaw) else row for row in rows]
            columns: dict[tuple[str, str], Raw] = {}
            for field, wanted in plan.sources.items():
                for name in wanted:
                    place = names.index(name)
                    columns[field, name] = _READ[field]([row[place] for row in good])
            yield Chunk(np.array(numbers), columns, broken)


def _sized(table: Iterator[Row], columns: int) -> Iterator[tuple[int, int, list[str] | Flaw]]:
    """Rows as (first line, characters, fields or what is wrong, their number too)."""
    for start, end, row in table:
        if isinstance(row, list) and len(row) != columns:
            row = Flaw("has not as many fields as line 1", f"{len(row)}, not {columns}")
        if isinstance(row, Flaw):
            yield start, 0, _told(row, end - start + 1)
        else:
            yield start, sum(map(len, row)), row


def _told(row: Flaw, lines: int) -> Flaw:
    """What is wrong with a row, and how many lines it takes in: among them may be good rows."""
    if lines == 1:
        return row
    details = f"{row.details}; " if row.details else ""
    return Flaw(f"over several lines {row.rule}", f"{details}its quotes take in {lines:,} lines")


def _numbers(texts: list[str]) -> Raw:
    """Numbers where all are (the common case, fast), otherwise whatever each is."""
    try:
        if not any("_" in text for text in texts):
            return Numbers(np.fromiter(map(float, texts), np.float64, len(texts)))
    except ValueError:
        pass
    return [_number(text) for text in texts]


def _number(text: str) -> float | str | None:
    """A number as Python writes it, but without underscores between digits."""
    if not text:
        return None
    try:
        return text if "_" in text else float(text)
    except ValueError:
        return text


def _words(texts: list[str]) -> Raw:
    """Texts; CSV writes one that is empty and one that is missing alike."""
    return [text or None for text in texts]


def _ids(texts: list[str]) -> Raw:
    """Lists written as JSON."""
    values: list[Any] = []
    for text in texts:
        try:
            values.append(json.loads(text) if text else None)
        except (ValueError, RecursionError):
            values.append(text)
    return values


_READ: dict[str, Callable[[list[str]], Raw]] = {
    "length": _numbers, "reward": _numbers, "step": _numbers, "kl": _numbers, "truncated": _words, "correct": _words,
    "class": _words, "prompt": _words, "tokens": _ids, "text": list, "row key": list}
