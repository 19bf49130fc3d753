"""How far something is, on stderr."""

from __future__ import annotations

import sys


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

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self.shown:
            print(file=sys.stderr)
            self.shown = 0
