"""What a result has to say, before it is known where: a page of sections, which hold texts, points, tables, pictures.

Whoever shows a page goes through ``page.sections`` and each section's ``parts``, and asks for the kind of part.
Nothing in a page is markup: every text may hold any character and is escaped by whoever writes it into another
language.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lossim._support.records import Record

__all__ = ["Cell", "Number", "Page", "Part", "Picture", "Points", "Section", "Table", "Text"]


class Number(Record):
    """A number in a table, and how it is shown: with its sign, its digits, its standard error.

    ``value`` is in the unit of its column, NaN where it is not known; ``text`` may be empty then.
    """

    value: float
    text: str


Cell = str | Number
"""What stands in a table: words, to the left, or a number, to the right."""


class Text(Record):
    """A paragraph; of ``code`` every character and line counts, and it is shown in letters of one width."""

    text: str
    code: bool = False


class Points(Record):
    """Short texts, one below the other: notes, things that were left out, answers."""

    items: tuple[str, ...]


class Table(Record):
    """Rows of cells under the names of their columns, which have the units.

    ``title`` may be empty. ``note`` stands below the table and explains its marks; empty without any. Every row has as
    many cells as there are columns. A row with a first cell alone (all others "") is a heading of those below it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"rows must have {len(self.columns)} cells, one for each column, got {row!r}")


class Picture(Record):
    """A picture: what it shows in a few words, the same as text for who cannot see it, and how it is drawn.

    Exactly one of these is given: ``draw`` makes a matplotlib figure (or axes of one) when the picture is looked at;
    ``drawn`` is the SVG that was made of it, where it comes from a file. ``lossim._display.panels.svg`` gives it of
    either.
    """

    title: str
    alt: str
    draw: Callable[[], Any] | None = None
    drawn: str = ""


Part = Text | Points | Table | Picture


class Section(Record):
    """A question and its answer.

    ``folded`` is what most readers will not ask for: it is there, behind its title, where space is short.
    """

    title: str
    parts: tuple[Part, ...]
    folded: bool = False


class Page(Record):
    """All that a result says.

    ``kind`` is the name of its class, ``title`` what was asked about (the scheme, most often), ``sentence`` the answer
    in plain words, which is the first line of ``print``, and ``printed`` all that ``print`` prints.
    """

    kind: str
    title: str
    sentence: str
    sections: tuple[Section, ...]
    printed: str
