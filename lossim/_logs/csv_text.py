"""CSV and TSV: the first row names the columns, and tells what stands between fields; texts may be in quotes."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

import numpy as np

from lossim._logs import packing
from lossim._logs.chunked import Row, in_chunks
from lossim._logs.names import Plan
from lossim._logs.packing import File, check_line, open_lines
from lossim._logs.paths import number_of
from lossim._logs.raw import Column
from lossim._logs.reading import Flaw
from lossim._logs.rows import Chunk, Head
from lossim._logs.shape import Shape

LONGEST = 1 << 24  # characters of a field: a quote that is never closed does not fill the memory
DELIMITERS = ",;\t|"
UNCLOSED, TOO_LONG = "unexpected end of data", "field larger than field limit"


@contextmanager
def _fields_up_to(characters: int) -> Iterator[None]:
    """The limit of Python's reader, for a while."""
    before = csv.field_size_limit(characters)
    try:
        yield
    finally:
        csv.field_size_limit(before)


@contextmanager
def _table(file: File) -> Iterator[tuple[list[str], Iterator[Row]]]:
    """The names of the columns, and the rows below them."""
    with _fields_up_to(LONGEST), open_lines(file) as lines:
        first = next(lines, b"")
        rows = _rows(file, chain([first], lines), _delimiter(first.decode(errors="replace")))
        _, _, names = next(rows, (0, 0, []))
        if isinstance(names, Flaw):
            raise ValueError(f"{file}: line 1 must name the columns, but {names}")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{file}: line 1 names the column {twice!r} twice; columns must have different names")
        yield names, rows


def _delimiter(first: str) -> str:
    """What stands between the names of columns: what makes most of them, a comma where nothing makes several."""
    def fields(delimiter: str) -> int:
        try:
            return len(next(csv.reader([first], delimiter=delimiter), []))
        except csv.Error:
            return 0

    return max(DELIMITERS, key=fields)


def _rows(file: File, lines: Iterator[bytes], delimiter: str) -> Iterator[Row]:
    """All rows, that of the names among them; a blank line is none."""
    taken: list[str] = []  # lines of the row, and which of them are not UTF-8
    ill: list[str] = []
    reader = csv.reader(_text(lines, taken, ill, file), delimiter=delimiter, strict=True)
    columns = 0
    while True:
        taken.clear()
        flaw = None
        row: list[str] = []
        start = reader.line_num + 1
        try:
            row = next(reader)
            if not row:
                continue
            if columns and len(row) != columns:
                flaw = Flaw("has not as many fields as line 1", f"{len(row)}, not {columns}")
        except StopIteration:
            return
        except csv.Error as problem:
            flaw = Flaw("is not CSV", str(problem))
            if len(taken) > 1 and flaw.details.startswith((UNCLOSED, TOO_LONG)):
                _check_quote(file, start, taken, delimiter, flaw.details)
        if ill:
            ill.clear()
            flaw = Flaw("is not UTF-8 text")
        if flaw is not None and columns and len(taken) > 1:  # among them may be good rows
            details = f"{flaw.details}; " if flaw.details else ""
            flaw = Flaw(f"over several lines {flaw.rule}", f"{details}its quotes take in {len(taken):,} lines")
        columns = columns or len(row)
        yield start, sum(map(len, row)), flaw or row


def _text(lines: Iterator[bytes], taken: list[str], ill: list[str], file: File) -> Iterator[str]:
    """Lines as text, which go to ``taken``, and those that are not UTF-8 to ``ill`` too."""
    for number, line in enumerate(lines, 1):
        if len(line) >= packing.LONGEST:
            check_line(line, number, file)
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = line.decode(errors="replace")
            ill.append(text)
        taken.append(text)
        yield text


def _check_quote(file: File, start: int, taken: list[str], delimiter: str, problem: str) -> None:
    """Raise if the row of these lines ends in quotes opened before the last one: good rows would go with it.

    The row is read again without limits: the line ends in its last field tell where that began.
    """
    with _fields_up_to(2**31 - 1):
        last = next(csv.reader(taken, delimiter=delimiter))[-1]
    end = start + len(taken) - 1
    opened = end - last.count("\n") + last.endswith("\n")
    if opened < end:
        how = "never closed" if problem.startswith(UNCLOSED) else f"not closed within {LONGEST:,} characters"
        raise ValueError(f"{file}: a quote opened in line {opened} is {how}; everything after it would be one row; "
                         "close it, or mend the file if it was cut off there")


def head(file: File, rows: int) -> Head:
    """The first rows, of what is not empty in them."""
    with _table(file) as (names, table):
        good = [row for _, _, row in islice(table, rows) if not isinstance(row, Flaw)]
        return Head([{name: text or None for name, text in zip(names, row, strict=True)} for row in good], "",
                    tuple(names))


def chunks(file: File, plan: Plan, shape: Shape) -> Iterator[Chunk]:
    """The rows."""
    with _table(file) as (names, table):
        places = {name: i for i, name in enumerate(names)}

        def column(rows: list[Any], field: str, name: str) -> Column:
            if name in plan.paths:
                return plan.held([dict(zip(names, row, strict=True)) for row in rows], name)
            return _column(field, [row[places[name]] for row in rows])

        yield from in_chunks(table, plan, [""] * len(names), column)


def _column(field: str, texts: list[str]) -> Column:
    """What the texts hold, each itself where that is nothing of the kind; one that is empty is one that is missing."""
    read = _READ.get(field)
    if read is None:
        return texts if field in ("text", "row key") else [text or None for text in texts]
    if read is _number:  # all of them are in the common case, fast
        try:
            return np.fromiter(map(_number, texts), np.float64, len(texts))
        except ValueError:
            pass
    values: list[Any] = []
    for text in texts:
        try:
            values.append(read(text) if text else None)
        except (ValueError, RecursionError):
            values.append(text)
    return values


def _number(text: str) -> float:
    """A number as Python writes it, but without underscores between digits."""
    found = number_of(text)
    if found is None:
        raise ValueError(text)
    return found


_READ: dict[str, Callable[[str], Any]] = {"length": _number, "reward": _number, "step": _number, "kl": _number,
                                          "answered": _number, "target": _number, "tokens": json.loads}
