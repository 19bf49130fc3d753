"""JSON Lines: one object per line."""

from __future__ import annotations

from collections.abc import Iterator
from json import JSONDecoder
from pathlib import Path
from typing import Any

import numpy as np

from lossim._logs.files import lines, open_bytes
from lossim._logs.names import Head, Plan
from lossim._logs.rows import Chunk
from lossim._logs.values import Raw

__all__ = ["chunks", "head"]

ROWS, BYTES = 1 << 14, 1 << 24  # of a chunk, whichever comes first
SPACE = " \t\r\n"

_scan = JSONDecoder().scan_once  # type: ignore[attr-defined]  # what decode() calls


def parse(line: bytes) -> dict[str, Any] | str:
    """The object in a line, or what is wrong with it."""
    try:
        text = line.decode().strip(SPACE)
        value, end = _scan(text, 0)
    except UnicodeDecodeError as problem:
        return f"is not UTF-8 text: {problem.reason} at byte {problem.start}"
    except StopIteration:
        return f"is not JSON: {text[:60]!r}"
    except (ValueError, RecursionError) as problem:
        return f"is not JSON: {str(problem)[:200]}"
    if end != len(text):
        return f"is not one JSON object: more follows at character {end}"
    return value if type(value) is dict else f"is not a JSON object: {text[:60]!r}"


def head(file: Path, rows: int) -> Head:
    """Columns in the first rows, each with its values that are not null."""
    samples: dict[str, list[Any]] = {}
    problem = ""
    with open_bytes(file) as stream:
        for number, line in enumerate(lines(stream), 1):
            row = parse(line) if line.strip() else ""
            if isinstance(row, dict):
                for name, value in row.items():
                    samples.setdefault(name, []).extend([] if value is None else [value])
            elif row and not problem:
                problem = f"{file}:{number}: row {row}"
            rows -= bool(line.strip())
            if rows <= 0:
                break
    return Head(samples, fixed=False, problem=problem)


def chunks(file: Path, plan: Plan) -> Iterator[Chunk]:
    """The rows; a blank line is none."""
    with open_bytes(file) as stream:
        rows: list[dict[str, Any]] = []
        numbers: list[int] = []
        broken: dict[int, str] = {}
        size = 0
        for number, line in enumerate(lines(stream), 1):
            row = parse(line)
            if isinstance(row, str):
                if not line.strip():
                    continue
                broken[len(rows)] = row
                row = {}
            rows.append(row)
            numbers.append(number)
            size += len(line)
            if len(rows) >= ROWS or size >= BYTES:
                yield _chunk(rows, numbers, broken, plan)
                rows, numbers, broken, size = [], [], {}, 0
        if rows:
            yield _chunk(rows, numbers, broken, plan)


def _chunk(rows: list[dict[str, Any]], numbers: list[int], broken: dict[int, str], plan: Plan) -> Chunk:
    columns: dict[tuple[str, str], Raw] = {(field, name): [row.get(name) for row in rows]
                                           for field, names in plan.sources.items() for name in names}
    return Chunk(np.array(numbers), columns, broken)
