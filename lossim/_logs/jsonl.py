"""JSON Lines: one object per line."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from json import JSONDecoder
from pathlib import Path
from typing import Any

from lossim._logs.files import open_lines
from lossim._logs.names import Plan
from lossim._logs.reading import Flaw
from lossim._logs.rows import Chunk, Row, in_chunks

_scan = JSONDecoder().scan_once  # type: ignore[attr-defined]  # what decode() calls


def _parsed(line: bytes) -> dict[str, Any] | Flaw:
    """The object in a line, or what is wrong with it."""
    try:
        text = line.decode().strip(" \t\r\n")
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


def _rows(lines: Iterator[bytes]) -> Iterator[Row]:
    """All rows; a blank line is none."""
    for number, line in enumerate(lines, 1):
        row = _parsed(line)
        if isinstance(row, dict) or line.strip():
            yield number, len(line), row


def head(file: Path, rows: int) -> tuple[dict[str, list[Any]], str]:
    """Columns in the first rows, each with its values that are not null; and the first row that cannot be read."""
    samples: dict[str, list[Any]] = {}
    problem = ""
    with open_lines(file) as lines:
        for number, _, row in islice(_rows(lines), rows):
            if isinstance(row, Flaw):
                problem = problem or f"{file}:{number}: row {row}"
                continue
            for name, value in row.items():
                samples.setdefault(name, []).extend([] if value is None else [value])
    return samples, problem


def chunks(file: Path, plan: Plan) -> Iterator[Chunk]:
    """The rows."""
    with open_lines(file) as lines:
        yield from in_chunks(_rows(lines), plan, {}, lambda rows, _, name: [row.get(name) for row in rows])
