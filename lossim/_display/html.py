"""A page as an HTML file that stands by itself: no script, no picture and no letter comes from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
import math
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from os import PathLike
from pathlib import Path

from lossim._display.letters import escaped
from lossim._display.page import Cell, Number, Page, Part, Picture, Points, Section, Table, Text
from lossim._display.panels import apart, svg
from lossim._display.parts import CHANGE, FAST, SURE, WHOM
from lossim._support import checks

__all__ = ["checked_path", "document", "write"]

ENDINGS = (".html", ".htm")
MOST_LINES = 16
"""Rows and points of a folded section up to which it stands open."""
MOST_ROWS = 30
"""Rows of a table up to which it stands open."""
_MOST_WORDS = 26
"""Characters of a number, or of a short text, up to which it stays on one line."""


def write(page: Page, path: str | PathLike[str]) -> None:
    """Write the page to a file.

    Raises:
        ValueError: the name does not end in .html, or is that of a folder.
        FileNotFoundError: the folder does not exist.
    """
    checked_path("path", path).write_text(document(page), encoding="utf-8", newline="\n")


def checked_path(name: str, path: str | PathLike[str]) -> Path:
    """Where a page can be written; ``name`` is what messages call it.

    >>> checked_path("path", "audit.txt")
    Traceback (most recent call last):
        ...
    ValueError: path must end in .html, got 'audit.txt'; take 'audit.html'
    """
    file = Path(path)
    if file.suffix.lower() not in ENDINGS:
        fix = f"take {str(file.with_suffix('.html'))!r}" if file.name else ""
        checks.fail(name, str(path), "must end in .html", fix)
    if file.is_dir():
        checks.fail(name, str(path), "must be a file, and this is a folder")
    if not file.parent.is_dir():
        checks.fail(name, str(path), "must be a file in a folder that exists", f"make {str(file.parent)!r} first",
                    FileNotFoundError)
    return file


def document(page: Page) -> str:
    """The page as an HTML document, the same to the byte for the same page."""
    style = _own("page.css")
    script = _own("page.js")
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (f"default-src 'none'; script-src 'sha256-{allowed}'; style-src 'unsafe-inline'; img-src data:; "
              "base-uri 'none'; form-action 'none'")
    title = escaped(f"{page.title}: lossim {page.kind}")
    sections = "\n".join(_section(each, number) for number, each in enumerate(_arranged(page), 1))
    sentence = page.sentence.removeprefix(f"{page.title}: ")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<p class="kind">lossim · {escaped(page.kind)}</p>
<h1>{escaped(page.title)}</h1>
<p class="sentence">{escaped(sentence)}</p>
</header>
{sections}
</main>
<footer><p>lossim {escaped(version("lossim"))}: what a loss does to response length, worked out on paper.</p></footer>
<script>{script}</script>
</body>
</html>
"""


def _own(name: str) -> str:
    """A file that is shipped beside this one."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


# --- sections and their parts ---------------------------------------------------------------------------------------


def _arranged(page: Page) -> list[Section]:
    """The sections in the order of a report: how sure and how fast before through whom; all that is printed at last.

    Parts under one title are one section. What is folded where space is short stands open here, unless it is long.
    """
    parts: dict[str, tuple[Part, ...]] = {}
    for each in page.sections:
        parts[each.title] = parts.get(each.title, ()) + each.parts
    titles = list(parts)
    if WHOM in titles:
        first = [title for title in (SURE, FAST) if title in titles]
        rest = [title for title in titles if title not in first]
        titles = [*rest[:rest.index(WHOM)], *first, *rest[rest.index(WHOM):]]
    opened = {SURE, FAST, WHOM, CHANGE, *(each.title for each in page.sections if not each.folded)}
    shown = [Section(title=title, parts=parts[title], folded=title not in opened and _long(parts[title]))
             for title in titles]
    if page.printed:
        shown.append(Section(title="All of it, as it prints", parts=(Text(text=page.printed, code=True),), folded=True))
    return shown


def _long(parts: Sequence[Part]) -> bool:
    """Whether parts are more than a reader wants to pass by."""
    lines = sum(len(part.rows) if isinstance(part, Table) else len(part.items) if isinstance(part, Points) else 1
                for part in parts)
    return lines > MOST_LINES


def _section(section: Section, number: int) -> str:
    """A question and its answer; folded ones open by a click, and on paper."""
    title = f'<h2 id="s{number}">{escaped(section.title)}</h2>'
    body = "\n".join(map(_part, section.parts))
    if section.folded:
        return f'<details aria-labelledby="s{number}"><summary>{title}</summary>\n{body}\n</details>'
    return f'<section aria-labelledby="s{number}">\n{title}\n{body}\n</section>'


def _part(part: Part) -> str:
    """One part of a section."""
    match part:
        case Text(code=True):
            return f'<pre tabindex="0">{escaped(part.text)}</pre>'
        case Text():
            return f"<p>{escaped(part.text)}</p>"
        case Points():
            return f"<ul>{''.join(f'<li>{escaped(item)}</li>' for item in part.items)}</ul>"
        case Table():
            return _table(part)
        case Picture():
            return _figure(part)


def _figure(picture: Picture) -> str:
    """A picture, its panels side by side where there is room."""
    drawn = "".join(f"<div>{panel}</div>" for panel in apart(svg(picture)))
    return f'<figure><div class="panels">{drawn}</div><figcaption>{escaped(picture.title)}</figcaption></figure>'


# --- tables ---------------------------------------------------------------------------------------------------------


def _table(table: Table) -> str:
    """A table that can be moved sideways where it is wider than the page, without columns that hold nothing."""
    table = _filled(table)
    groups = list(_groups(table))
    numeric = [any(isinstance(row[column], Number) for row in table.rows) for column in range(len(table.columns))]
    head = "".join(f'<th scope="col"{_kind("number" * right)}>{escaped(name)}</th>'
                   for name, right in zip(table.columns, numeric, strict=True))
    body = "".join(f"<tbody>{''.join(_row(row, numeric) for row in group)}</tbody>" for group in groups)
    sortable = _kind("sortable" * any(len(group) > 2 for group in groups))
    caption = f"<caption>{escaped(table.title)}</caption>" if table.title else ""
    note = f'<p class="note">{escaped(table.note)}</p>' if table.note else ""
    label = escaped(table.title or "table")
    whole = (f'<div class="table" role="region" aria-label="{label}" tabindex="0"><table{sortable}>{caption}'
             f"<thead><tr>{head}</tr></thead>{body}</table></div>{note}")
    if len(table.rows) <= MOST_ROWS:
        return whole
    return f'<details class="rows"><summary>{label}: {len(table.rows):,} rows</summary>{whole}</details>'


def _filled(table: Table) -> Table:
    """The table without columns in which no row says anything."""
    kept = [place for place in range(len(table.columns)) if not place or any(_said(row[place]) for row in table.rows)]
    return Table(title=table.title, columns=tuple(table.columns[place] for place in kept), note=table.note,
                 rows=tuple(tuple(row[place] for place in kept) for row in table.rows))


def _said(cell: Cell) -> str:
    """The text of a cell."""
    return cell.text if isinstance(cell, Number) else cell


def _groups(table: Table) -> Iterator[list[tuple[Cell, ...]]]:
    """Rows below the same heading, the heading first: they are sorted among themselves."""
    group: list[tuple[Cell, ...]] = []
    for row in table.rows:
        if _heading(row) and group:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _heading(row: Sequence[Cell]) -> bool:
    """Whether a row is a heading of those below it."""
    return len(row) > 1 and not any(row[1:]) and isinstance(row[0], str)


def _row(row: Sequence[Cell], numeric: Sequence[bool]) -> str:
    """A row; its first cell is its name."""
    if _heading(row):
        return f'<tr class="heading"><th scope="rowgroup" colspan="{len(row)}">{_words(row[0])}</th></tr>'
    cells = [f'<th scope="row">{_words(row[0])}</th>' if isinstance(row[0], str) else _cell(row[0], True)]
    cells += [_cell(cell, right) for cell, right in zip(row[1:], numeric[1:], strict=True)]
    return f"<tr>{''.join(cells)}</tr>"


def _cell(cell: Cell, right: bool) -> str:
    """A cell that is no name: a number knows its value, by which it is sorted."""
    if isinstance(cell, Number):
        value = f' data-value="{cell.value!r}"' if math.isfinite(cell.value) else ""
        return f'<td class="number"{value}>{escaped(cell.text)}</td>'
    short = len(cell) <= _MOST_WORDS
    return f"<td{_kind('number' if right and short else 'short' if short else '')}>{escaped(cell)}</td>"


def _words(cell: Cell) -> str:
    """The name of a row, set in by as much as its text is; its further lines stand below it, smaller."""
    name, *below = _said(cell).split("\n")
    inner = name.lstrip(" ")
    deep = (len(name) - len(inner)) // 2
    said = f'<span class="in{min(deep, 3)}">{escaped(inner)}</span>' if deep else escaped(inner)
    return said + "".join(f'<span class="below">{escaped(line)}</span>' for line in below)


def _kind(name: str) -> str:
    """A class, if there is a name for one."""
    return f' class="{name}"' if name else ""
