"""JSON Lines: one object per line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from json import JSONDecoder
from pathlib import Path
from typing import IO, Any

import numpy as np

from lossim._logs.files import lines, open_bytes
from lossim._logs.names import Head, Plan
from lossim._logs.reading import Flaw
from lossim._logs.rows import Chunk, in_chunks
from lossim._logs.values import Raw

__all__ = ["chunks", "head"]

ROWS, BYTES = 1 << 14, 1 << 24  # of a chunk, whichever comes first
SPACE = " \t\r\n"

_scan = JSONDecoder().scan_once  # type: ignore[attr-defined]  # what decode() calls


def parse(line: bytes) -> dict[str, Any] | Flaw:
    """The object in a line, or what is wrong with it."""
    try:
        text = line.decode().strip(SPACE)
        value, end = _scan(text, 0)
    except UnicodeDecodeError as problem:
        return Flaw("is not UTF-8 text", f"{problem.reason} at byte {problem.start}")
    except StopIteration:
        return Flaw("is not JSON", repr(text[:60]))
    except (ValueError, RecursionError) as problem:
        return Flaw("is not JSON", str(problem)[:200])
    if end != len(text):
        return Flaw("is not one JSON object", f"more follows at character {end}")
    return value if type(value) is dict else Flaw("is not a JSON object", repr(text[:60]))


def _rows(stream: IO[bytes]) -> Iterator[tuple[int, int, dict[str, Any] | Flaw]]:
    """Rows as (line, bytes, the object or what is wrong with it); a blank line is none."""
    for number, line in enumerate(lines(stream), 1):
        row = parse(line)
        if isinstance(row, dict) or line.strip():
            yield number, len(line), row


def head(file: Path, rows: int) -> Head:
    """Columns in the first rows, each with its values that are not null."""
    samples: dict[str, list[Any]] = {}
    problem = ""
    with open_bytes(file) as stream:
        for number, _, row in islice(_rows(stream), rows):
            if isinstance(row, Flaw):
                problem = problem or f"{file}:{number}: row {row}"
                continue
            for name, value in row.items():
                samples.setdefault(name, []).extend([] if value is None else [value])
    return Head(samples, fixed=False, problem=problem)


def chunks(file: Path, plan: Plan) -> Iterator[Chunk]:
    """The rows."""
    with open_bytes(file) as stream:
        for numbers, rows in in_chunks(_rows(stream), ROWS, BYTES):
            broken = {i: row for i, row in enumerate(rows) if isinstance(row, Flaw)}
            good = [{} if isinstance(row, Flaw) else row for row in rows]
            columns: dict[tuple[str, str], Raw] = {(field, name): [row.get(name) for row in good]
                                                   for field, names in plan.sources.items() for name in names}
            yield Chunk(np.array(numbers), columns, broken)
