"""How far something is, on stderr."""

from __future__ import annotations

import sys
from types import TracebackType


class Progress:
    """One line on stderr that is written over again and again; nothing at all unless it is wanted.

    As a context manager it ends the line, also where an error or an interrupt ends what was reported.

    >>> with Progress(wanted=False) as progress:
    ...     progress.say("step 1 of 2")
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.shown = 0  # characters of the line

    def say(self, text: str) -> None:
        """Put the text in the place of what was said before."""
        if self.wanted:
            print(f"\r{text:<{self.shown}}", end="", file=sys.stderr, flush=True)
            self.shown = len(text)

    def end(self) -> None:
        """Go on to a new line if anything was said."""
        if self.shown:
            print(file=sys.stderr)
            self.shown = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
                 ) -> None:
        self.end()
