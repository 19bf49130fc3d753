"""Parts that many pages have: numbers with their errors, what a number hangs on, what was given and assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lossim._display.page import Cell, Number, Part, Points, Section, Table, Text
from lossim._support.doubts import Doubt, SchemeDoubt
from lossim._support.text import decimals, number

__all__ = ["CHANGE", "FAST", "MEANT", "SURE", "WHOM", "assumed", "changing", "doubted", "estimated", "figure",
           "settings", "told"]

SURE, FAST, WHOM = "Which way, and how sure", "How fast", "Through whom"
CHANGE, LEFT_OUT = "What would change it", "What was read, assumed and left out"
MEANT = "tokens in a step of 0.01 nats"


def figure(x: float, form: str = ".4g") -> Number:
    """A number by a format; nothing is shown of NaN.

    >>> figure(1234.5, ",.5g").text, figure(float("nan")).text
    ('1,234.5', '')
    """
    return Number(value=float(x), text="" if np.isnan(x) else format(float(x), form))


def estimated(x: Any, digits: int | None = None) -> Number:
    """An estimate with its standard error, to so many decimals, or to three digits."""
    size = abs(float(x.value))
    return Number(value=float(x.value), text=number(x, decimals(size, 3) if digits is None else digits))


def settings(given: Mapping[str, str]) -> Table:
    """What was given, in words, by what it is."""
    return Table(title="", columns=("what", "given"), rows=tuple(given.items()))


def assumed(notes: Sequence[str], given: Mapping[str, str]) -> Section:
    """What was given and what was assumed, folded."""
    points = (Points(items=tuple(map(str, notes))),) if notes else ()
    return Section(title=LEFT_OUT, parts=(settings(given), *points), folded=True)


def doubted(number: float, doubts: Sequence[Doubt]) -> Table:
    """A number of tokens in a step of 0.01 nats, and what it is under everything that it hangs on."""
    as_given = ("as given", figure(number, "+.4g"), figure(number, "+.4g"), "", "")
    rows: list[tuple[Cell, ...]] = [] if np.isnan(number) and doubts else [as_given]
    for doubt in doubts:
        low, high = doubt.range
        settle = doubt.settle if isinstance(doubt, SchemeDoubt) else ""
        rows.append((doubt.unknown, figure(low, "+.3g"), figure(high, "+.3g"), doubt.text, settle))
    columns = ("what is not known", "lowest", "highest", "which way length goes", "settled by")
    return told(Table(title="", columns=columns, rows=tuple(rows), note=f"lowest and highest are {MEANT}"))


def told(table: Table) -> Table:
    """The table without columns that say nothing, but for the first."""
    kept = [place for place in range(len(table.columns)) if place == 0 or any(
        (cell.text if isinstance(cell, Number) else cell) for cell in (row[place] for row in table.rows))]
    return replace(table, columns=tuple(table.columns[place] for place in kept),
                   rows=tuple(tuple(row[place] for place in kept) for row in table.rows))


def changing(doubts: Sequence[Doubt], *asks: str) -> Section:
    """What to do next: settings that settle a doubt, to paste, and questions to ask."""
    settle = [doubt.settle for doubt in doubts if isinstance(doubt, SchemeDoubt) and doubt.settle]
    parts: list[Part] = []
    if settle:
        parts += [Text(text="This settles what is not known of the scheme:"),
                  Text(text="\n".join(dict.fromkeys(settle)), code=True)]
    return Section(title=CHANGE, parts=(*parts, *([Points(items=asks)] if asks else [])), folded=True)
