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
from lossim._logs.names import Plan
from lossim._logs.reading import Flaw
from lossim._logs.rows import Chunk, Row, in_chunks
from lossim._logs.values import Raw

LONGEST = 1 << 24  # characters of a field: a quote that is never closed does not fill the memory
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
def _table(file: Path) -> Iterator[tuple[list[str], Iterator[Row]]]:
    """The names of the columns, and the rows below them."""
    tab = file.name.lower().removesuffix(".gz").endswith(".tsv")
    with _fields_up_to(LONGEST), open_bytes(file) as stream:
        rows = _rows(file, stream, "\t" if tab else ",")
        _, _, names = next(rows, (0, 0, []))
        if isinstance(names, Flaw):
            raise ValueError(f"{file}: line 1 must name the columns, but {names}")
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"{file}: line 1 names the column {twice!r} twice; columns must have different names")
        yield names, rows


def _rows(file: Path, stream: IO[bytes], delimiter: str) -> Iterator[Row]:
    """All rows, that of the names among them; a blank line is none."""
    taken: list[str] = []  # lines of the row, and which of them are not UTF-8
    ill: list[str] = []
    reader = csv.reader(_text(stream, taken, ill), delimiter=delimiter, strict=True)
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


def _text(stream: IO[bytes], taken: list[str], ill: list[str]) -> Iterator[str]:
    """Lines as text, which go to ``taken``, and those that are not UTF-8 to ``ill`` too."""
    for line in lines(stream):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text = line.decode(errors="replace")
            ill.append(text)
        taken.append(text)
        yield text


def _check_quote(file: Path, start: int, taken: list[str], delimiter: str, problem: str) -> None:
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


def head(file: Path, rows: int) -> tuple[dict[str, list[Any]], str]:
    """Columns, each with what its first rows hold."""
    with _table(file) as (names, table):
        good = [row for _, _, row in islice(table, rows) if not isinstance(row, Flaw)]
        return {name: [row[i] for row in good if row[i]] for i, name in enumerate(names)}, ""


def chunks(file: Path, plan: Plan) -> Iterator[Chunk]:
    """The rows."""
    with _table(file) as (names, table):
        places = {name: i for i, name in enumerate(names)}
        yield from in_chunks(table, plan, [""] * len(names),
                             lambda rows, field, name: _READ[field]([row[places[name]] for row in rows]))


def _numbers(texts: list[str]) -> Raw:
    """Numbers where all are (the common case, fast), otherwise whatever each is."""
    try:
        if not any("_" in text for text in texts):
            return np.fromiter(map(float, texts), np.float64, len(texts))
    except ValueError:
        pass
    return [_number(text) for text in texts]


def _number(text: str) -> float | str | None:
    """A number as Python writes it, but without underscores between digits."""
    try:
        return text if "_" in text else float(text)
    except ValueError:
        return text or None


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
