"""What a survey shows: how often which answer is given, how large it is, and what decides."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lossim._display import (
    CHANGE,
    SURE,
    Number,
    Part,
    Picture,
    Points,
    Section,
    Table,
    Text,
    assumed,
    figure,
)
from lossim._support.text import percent

if TYPE_CHECKING:
    from lossim._surveying.result import Survey

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the size that are printed."""


def shown(survey: Survey) -> tuple[Section, ...]:
    """The sections of its page."""
    picture = Picture(title="The size against the unknown that decides, and what each explains", alt=survey.verdict,
                      draw=survey.plot)
    answers = tuple((word, _share(share.value, 1), _share(share.low, 1), _share(share.high, 1))
                    for word, share in zip(survey.words, (survey.longer, survey.shorter, survey.still), strict=True)
                    if share.value > 0)
    unit = f" ({survey.unit})" if survey.unit else ""
    sizes = tuple((percent(level), figure(x, "+.4g")) for level, x in zip(LEVELS, survey.quantiles(), strict=True))
    sure: tuple[Part, ...] = (
        picture, Table(title="", columns=("answer", "of draws", "95 % from", "to"), rows=answers))
    size = Table(title="", columns=("share of draws below", f"size{unit}"), rows=sizes)
    return (Section(title=SURE, parts=sure), Section(title="How large", parts=(size,), folded=True),
            Section(title=CHANGE, parts=_decides(survey), folded=True),
            Section(title="What failed", parts=_failed(survey)), assumed(survey.notes, _given(survey)))


def _share(x: float, digits: int = 0) -> Number:
    return Number(value=float(x), text="" if x != x else percent(x, digits))


def _decides(survey: Survey) -> tuple[Part, ...]:
    """What each unknown explains by itself."""
    rows = tuple((name, survey.unknowns[name], _share(survey.decides_direction[name]),
                  _share(survey.decides_size[name])) for name in survey.ordered)
    note = "shares of the variance that an unknown explains by itself; what is left over are unknowns together"
    table = Table(title="", columns=("unknown", "drawn from", "of direction", "of size"), rows=rows, note=note)
    said = "" if survey.decides is None else f"Measure {survey.decides} first: it explains most by itself."
    return (*([Text(text=said)] if said else []), table)


def _failed(survey: Survey) -> tuple[Part, ...]:
    """Draws that failed; nothing where none did."""
    said = tuple(f"{count:,} of {survey.provenance['draws']:,} draws failed by {name}: {message}"
                 for name, (count, message) in survey.failures.items())
    return (Points(items=said),) if said else ()


def _given(survey: Survey) -> dict[str, str]:
    """What was drawn, and what was known."""
    given = survey.provenance
    start = f"{given['start']}, {given['draws']:,} draws (Latin hypercube, seed {given['seed']})"
    return {"start": start} | {f"known: {name}": value for name, value in survey.known.items()}
