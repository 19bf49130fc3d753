"""A page as an HTML file that stands by itself."""

from __future__ import annotations

import html
from os import PathLike
from pathlib import Path

from lossim._display.page import Cell, Number, Page, Part, Points, Table, Text
from lossim._display.svg import svg

__all__ = ["document", "write"]

_STYLE = ("body{font-family:sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
          "td,th{padding:.15rem .6rem;text-align:left}td.number{text-align:right}pre{overflow-x:auto}")


def write(page: Page, path: str | PathLike[str]) -> None:
    """Write the page to a file."""
    Path(path).write_text(document(page), encoding="utf-8")


def document(page: Page) -> str:
    """The page as an HTML document."""
    title, sentence = html.escape(f"lossim: {page.title}"), html.escape(page.sentence)
    sections = "".join(f"<section><h2>{html.escape(each.title)}</h2>{''.join(map(_part, each.parts))}</section>"
                       for each in page.sections)
    return (f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
            f"</head><body><main><h1>{html.escape(page.title)}</h1><p>{sentence}</p>{sections}</main></body></html>\n")


def _part(part: Part) -> str:
    """One part of a section."""
    if isinstance(part, Text):
        return f"<{'pre' if part.code else 'p'}>{html.escape(part.text)}</{'pre' if part.code else 'p'}>"
    if isinstance(part, Points):
        return f"<ul>{''.join(f'<li>{html.escape(item)}</li>' for item in part.items)}</ul>"
    if isinstance(part, Table):
        head = "".join(f"<th>{html.escape(name)}</th>" for name in part.columns)
        rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in part.rows)
        caption = f"<caption>{html.escape(part.title)}</caption>" if part.title else ""
        note = f"<p>{html.escape(part.note)}</p>" if part.note else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}"
    return f"<figure>{svg(part)}<figcaption>{html.escape(part.title)}</figcaption></figure>"


def _cell(cell: Cell) -> str:
    """One cell of a table."""
    if isinstance(cell, Number):
        return f'<td class="number">{html.escape(cell.text)}</td>'
    return f"<td>{html.escape(cell)}</td>"
