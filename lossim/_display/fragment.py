"""A page as a piece of HTML for notebooks: the sentence, tables and pictures; the rest folded; dark or light."""

from __future__ import annotations

from lossim._display.letters import escaped
from lossim._display.page import Cell, Number, Page, Part, Picture, Points, Section, Table, Text
from lossim._display.panels import svg

__all__ = ["fragment"]

_FRAME = "max-width:60em;line-height:1.4"
_SENTENCE = "font-weight:bold;margin:.3em 0 .6em 0"
_TABLE = "border-collapse:collapse;margin:.3em 0 .6em 0"
_LINE = "border-bottom:1px solid rgba(128,128,128,.35)"
_WORDS = "text-align:left;padding:.15em .8em .15em 0"
_NUMBER = "text-align:right;padding:.15em .8em .15em 0;font-variant-numeric:tabular-nums;white-space:nowrap"
_SMALL = "font-size:90%;opacity:.8;margin:.2em 0"
_CODE = "white-space:pre;overflow-x:auto;font-family:monospace;font-size:90%;margin:.3em 0"
_FOLD = "cursor:pointer;margin:.3em 0"


def fragment(page: Page) -> str:
    """The page in one element, by inline styles alone: nothing is fetched, run, or said about other elements.

    Pictures of folded sections are not drawn, which keeps large results fast: ``report`` has them.
    """
    open_ones = "".join(_body(each) for each in page.sections if not each.folded)
    folded = "".join(f'<details><summary style="{_FOLD}">{_escaped(each.title)}</summary>{_body(each)}</details>'
                     for each in page.sections if each.folded)
    return (f'<div class="lossim" style="{_FRAME}"><p style="{_SENTENCE}">{_escaped(page.sentence)}</p>'
            f"{open_ones}{folded}</div>")


def _escaped(text: str) -> str:
    return escaped(text).replace("\n", "<br>")


def _body(section: Section) -> str:
    """The parts of a section; under its title where it is open."""
    return "".join(_undrawn(part) if section.folded and isinstance(part, Picture) else _part(part)
                   for part in section.parts)


def _undrawn(picture: Picture) -> str:
    """In place of a picture, what it shows."""
    return (f'<p style="{_SMALL}">{_escaped(picture.title)}: {_escaped(picture.alt)} '
            "(<code>report(path)</code> draws it)</p>")


def _part(part: Part) -> str:
    """One part of a section."""
    if isinstance(part, Text):
        if part.code:
            return f'<pre style="{_CODE}">{escaped(part.text)}</pre>'
        return f'<p style="margin:.3em 0">{_escaped(part.text)}</p>'
    if isinstance(part, Points):
        items = "".join(f"<li>{_escaped(item)}</li>" for item in part.items)
        return f'<ul style="margin:.3em 0;padding-left:1.4em">{items}</ul>'
    if isinstance(part, Table):
        return _table(part)
    return f'<div style="margin:.4em 0"><p style="{_SMALL}">{_escaped(part.title)}</p>{svg(part)}</div>'


def _table(table: Table) -> str:
    """A table with its note."""
    right = [any(isinstance(row[place], Number) for row in table.rows) for place in range(len(table.columns))]
    head = "".join(f'<th scope="col" style="{_NUMBER if numbers else _WORDS};{_LINE}">{_escaped(name)}</th>'
                   for name, numbers in zip(table.columns, right, strict=True))
    rows = "".join(f"<tr>{_row(row, right)}</tr>" for row in table.rows)
    caption = f'<caption style="{_WORDS};font-weight:bold">{_escaped(table.title)}</caption>' if table.title else ""
    note = f'<p style="{_SMALL}">{_escaped(table.note)}</p>' if table.note else ""
    return (f'<table style="{_TABLE}">{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}')


def _row(row: tuple[Cell, ...], right: list[bool]) -> str:
    """The cells of a row; a first cell alone is a heading over all columns."""
    if len(row) > 1 and isinstance(row[0], str) and all(cell == "" for cell in row[1:]):
        return (f'<th scope="colgroup" colspan="{len(row)}" style="{_WORDS};font-weight:normal;opacity:.8">'
                f"{_escaped(row[0])}</th>")
    shown = ((cell.text if isinstance(cell, Number) else cell, numbers)
             for cell, numbers in zip(row, right, strict=True))
    return "".join(f'<td style="{_NUMBER if numbers else _WORDS}">{_escaped(text)}</td>' for text, numbers in shown)
