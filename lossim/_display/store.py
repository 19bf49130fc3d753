"""Results as files of JSON: what was shown, the tidy table and the plain values, with a version of the form."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from importlib.metadata import version
from os import PathLike
from pathlib import Path
from typing import Any

from lossim._display.drawn import only_draws
from lossim._display.page import Cell, Number, Page, Part, Picture, Points, Section, Table, Text
from lossim._display.panels import svg
from lossim._display.table import Columns, packed
from lossim._support import checks
from lossim._support.plain import plain

__all__ = ["FORMAT", "SCHEMA", "keep", "page_of", "record", "written"]

FORMAT = "lossim result"
SCHEMA = 1
"""Version of the form of a file. It grows when an older reader would read a file wrongly."""


def keep(path: str | PathLike[str], *, page: Page, columns: Columns, values: Mapping[str, Any]) -> None:
    """Write a result to a file: its page, its tidy columns and its plain values."""
    written(path, record(page=page, columns=columns, values=values))


def record(*, page: Page, columns: Columns, values: Mapping[str, Any]) -> dict[str, Any]:
    """A result as strict JSON."""
    return {"format": FORMAT, "schema": SCHEMA, "kind": page.kind, "lossim": version("lossim"),
            "page": _page(page), "columns": packed(columns), "values": values}


def written(path: str | PathLike[str], made: Mapping[str, Any]) -> None:
    """Write strict JSON, all of it or nothing, packed where the name ends in .gz."""
    target = Path(path)
    if not target.parent.is_dir():
        checks.fail("path", str(path), "must lie in a folder that exists", error=FileNotFoundError)
    data = json.dumps(made, allow_nan=False).encode()
    if target.suffix == ".gz":
        data = gzip.compress(data, mtime=0)
    target.write_bytes(data)


def _page(page: Page) -> dict[str, Any]:
    """A page as JSON, its pictures drawn."""
    sections = [{"title": each.title, "folded": each.folded, "parts": [_part(part) for part in each.parts]}
                for each in page.sections]
    return {"title": page.title, "sentence": page.sentence, "printed": page.printed, "sections": sections}


def _part(part: Part) -> dict[str, Any]:
    """A part as JSON, with its kind."""
    kind = {"part": type(part).__name__}
    if isinstance(part, Text):
        return kind | {"text": part.text, "code": part.code}
    if isinstance(part, Points):
        return kind | {"items": list(part.items)}
    if isinstance(part, Table):
        return kind | {"title": part.title, "columns": list(part.columns), "note": part.note,
                       "rows": [[_cell(cell) for cell in row] for row in part.rows]}
    return kind | {"title": part.title, "alt": part.alt, "drawn": svg(part)}


def _cell(cell: Cell) -> Any:
    return [plain(cell.value), cell.text] if isinstance(cell, Number) else cell


def page_of(kind: str, given: Mapping[str, Any]) -> Page:
    """A page from its JSON."""
    sections = tuple(Section(title=each["title"], folded=each["folded"], parts=tuple(map(_part_of, each["parts"])))
                     for each in given["sections"])
    return Page(kind=kind, title=given["title"], sentence=given["sentence"], printed=given["printed"],
                sections=sections)


def _part_of(given: Mapping[str, Any]) -> Part:
    """A part from its JSON."""
    kind = given["part"]
    if kind == "Text":
        return Text(text=given["text"], code=given["code"])
    if kind == "Points":
        return Points(items=tuple(given["items"]))
    if kind == "Table":
        rows = tuple(tuple(map(_cell_of, row)) for row in given["rows"])
        return Table(title=given["title"], columns=tuple(given["columns"]), rows=rows, note=given["note"])
    return Picture(title=given["title"], alt=given["alt"], drawn=only_draws(given["drawn"]))


def _cell_of(given: Any) -> Cell:
    if isinstance(given, str):
        return given
    value, text = given
    return Number(value=float("nan") if value is None else value, text=text)
