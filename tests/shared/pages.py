"""A page with a part of every kind, and with what nobody should write into one."""

from __future__ import annotations

from typing import Any

from lossim._display import Number, Page, Picture, Points, Section, Table, Text
from lossim._display.html import document, write

__all__ = ["EVIL", "ROWS", "document", "evil_page", "long", "one_section", "paragraph", "sortable", "write"]

EVIL = """</script><script>window.hit = 1</script></title></style><img src=x onerror="window.hit = 2"> 'one' "two" """ \
       """<a href="javascript:window.hit = 3">&amp;</a><!-- ]]> -- $\\frac$"""
LONG = "a reason that goes on for a while and says why this was read as it was, and what else it might have been"
ROWS = 40


def number(value: float) -> Number:
    return Number(value=value, text=f"{value:+.2f} ± 0.01")


def sortable() -> Table:
    rows = (("no std", number(-3.0), "b"), ("cut at 1,024", number(20.0), "a"), ("no KL", number(float("nan")), ""),
            ("λ = 1", number(100.0), "c"), (EVIL, number(3.5), EVIL))
    return Table(title=f"What if {EVIL}", columns=("setting", "tokens", EVIL), rows=rows, note=f"(?) {EVIL}")


def grouped() -> Table:
    rows = (("mean length", "", ""), ("  total", number(2.0), number(4.0)), ("  paths", number(1.0), number(3.0)),
            ("by kind", "", ""), ("  stop", number(9.0), number(1.0)), ("  go on", number(8.0), number(2.0)))
    return Table(title="Numbers", columns=("", "per unit step", "in 0.01 nats"), rows=rows)


def long() -> Table:
    rows = tuple((f"actor_rollout_ref.actor.setting_{row}", "value " * (row % 4), LONG, "0.9", number(row), "last")
                 for row in range(ROWS))
    return Table(title="Settings", columns=("key", "value", "why", "since", "how many", "end"), rows=rows)


def panels() -> Any:
    """Two panels, as pictures of results have them, with names that users gave."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"text.parse_math": False, "font.size": 8.0}):
        figure = Figure(figsize=(3.4, 4.4), layout="constrained")
        figure.suptitle("a title that the page has", x=0.01, ha="left")
        first, second = (part.subplots() for part in figure.subfigures(2, 1))
        first.plot([0, 1, 2], [1, 3, 2], label="<script>window.hit = 4</script>")
        first.legend()
        first.set(title="Where a curve rises", xlabel="length of the response (tokens)")
        second.barh(range(2), [1.0, -2.0])
        second.set_yticks(range(2), ["<b>path</b> & 'one'", "no std"])
    return figure


def wide() -> Any:
    """One panel wider than a phone, with labels longer than it has room for."""
    from matplotlib.figure import Figure

    axes = Figure(figsize=(7.2, 2.4), layout="constrained").subplots()
    axes.barh(range(2), [1.0, -2.0])
    axes.set_yticks(range(2), ["as logged, needed: it changes accuracy", "no std"])
    axes.set(xlabel="drift of mean length (tokens in a step of 0.01 nats; hatched: sign undecided)")
    return axes


def evil_page() -> Page:
    """Everything at once; pictures are drawn when it is written."""
    picture = Picture(title=f"Bars {EVIL}", alt=f"three bars {EVIL}", draw=panels)
    single = Picture(title="Bars again", alt="two bars", draw=wide)
    return Page(kind="Audit", title=f"grpo {EVIL}", sentence=f"responses get longer {EVIL}", printed="", sections=(
        Section(title=f"Which way {EVIL}", parts=(Text(text=f"It\ngoes {EVIL}"), Points(items=("one", EVIL)), picture)),
        Section(title="What would change it", parts=(sortable(), grouped(), single)),
        Section(title=f"What was read {EVIL}", parts=(long(), Text(text=f"  as printed\n{EVIL} " + "x" * 300,
                                                                   code=True)), folded=True)))


def one_section(*parts: Any) -> Page:
    """A page with a few parts."""
    sections = (Section(title="numbers", parts=parts),)
    return Page(kind="Drift", title="grpo", sentence="longer", sections=sections, printed="")


def paragraph(text: str, *, code: bool = False) -> Text:
    return Text(text=text, code=code)
