"""The page of a command: what its result has to say, what became of the config, and all that the command prints."""

from __future__ import annotations

from typing import Any

from lossim._display import Page, Picture, Result, Section, Text
from lossim.configs import ParsedConfig

__all__ = ["page_of"]


def page_of(found: Any, verdict: str, printed: str, config: ParsedConfig | None) -> Page:
    """A page with the verdict and the words of the command; of several results these are all that it has."""
    if isinstance(found, Result):
        page = found._page()
    else:
        title, _, sentence = verdict.partition(": ")
        plot = getattr(found, "plot", None)
        picture = () if plot is None else (Picture(title="What was found", alt=sentence or title, draw=plot),)
        page = Page(kind=type(found).__name__, title=title if sentence else "Schemes side by side", sentence=verdict,
                    sections=(Section(title="What was found", parts=(*picture, Text(text=printed, code=True))),),
                    printed="")
    page = Page(kind=page.kind, title=page.title, sentence=verdict, sections=page.sections,
                printed=printed if isinstance(found, Result) else "")
    return page if config is None else config._onto(page)
