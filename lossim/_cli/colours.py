"""Colours of a terminal: verdicts, headings, notes. Taking them out again leaves the text as it was."""

from __future__ import annotations

import os
import re
from typing import TextIO

__all__ = ["WHEN", "coloured", "paint", "paint_error", "paint_help"]

WHEN = ("auto", "always", "never")
BOLD, BLUE, RED, CYAN = "1", "1;34", "1;31", "36"
VERDICTS = {"longer": "1;33", "shorter": "1;36", "undecided": "1;35"}
"""Told apart by people who are colour-blind, too; none is good or bad."""
VERDICT = re.compile(rf"\b({'|'.join(VERDICTS)})\b")
COMMAND = re.compile(r"^ *\$ .*")
LABEL = re.compile(r"^  ([a-z]+) +(?<=^.{10})(?=\S)")
NOTE = re.compile(r"^ *(note:)")
TITLE = re.compile(r"^[a-z].*:$")
ENTRY = re.compile(r"^ {2,4}((?:-{1,2}[a-zA-Z][\w-]*(?:, )?)+|(?<=^ {4})[a-z][a-z-]+(?=  ))")


def coloured(when: str, stream: TextIO) -> bool:
    """Whether a stream is written to in colours: as is said, or as the environment has it, or if it is a terminal.

    NO_COLOR and FORCE_COLOR count if they are not empty, NO_COLOR first; a terminal that calls itself dumb has none.
    """
    if when != "auto":
        return when == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return os.environ.get("TERM") != "dumb" and stream.isatty()


def paint(text: str) -> str:
    """An answer: the word of the verdict, headings and labels, commands, the beginning of notes.

    >>> paint("grpo: responses get longer, +3 tokens")
    'grpo: responses get \\x1b[1;33mlonger\\x1b[0m, +3 tokens'
    """
    lines = text.split("\n")
    beside = zip(lines, ["", *lines], [*lines[1:], ""], strict=False)
    return "\n".join(_painted(line, above, below) for line, above, below in beside)


def _painted(line: str, above: str, below: str) -> str:
    """A line, by how it begins and what stands above and below it; nothing stands above a first line."""
    if not above or COMMAND.match(above):
        told = VERDICT.sub(lambda found: _in(VERDICTS[found[0]], found[0]), line)
        if told != line:
            return told
    if told := _first(NOTE, BLUE, line) or _first(LABEL, CYAN, line):
        return told
    return _in(BOLD, line) if COMMAND.match(line) or _indent(line) < _indent(below) else line


def paint_help(text: str) -> str:
    """A page of help: its titles, and the names of options and commands."""
    return "\n".join(_in(BOLD, line) if TITLE.match(line) else _first(ENTRY, CYAN, line) or line
                     for line in text.split("\n"))


def paint_error(text: str) -> str:
    """A message on stderr: who speaks."""
    return _first(re.compile(r"^(lossim:)"), RED, text) or text


def _first(pattern: re.Pattern[str], colour: str, line: str) -> str:
    """A line with the first group of a pattern in colour; "" where it does not match."""
    found = pattern.match(line)
    if found is None:
        return ""
    return line[:found.start(1)] + _in(colour, found[1]) + line[found.end(1):]


def _in(colour: str, text: str) -> str:
    """A text in a colour, blanks before it left out; nothing of nothing."""
    inner = text.lstrip(" ")
    return f"{text[:len(text) - len(inner)]}\x1b[{colour}m{inner}\x1b[0m" if inner else text


def _indent(line: str) -> int:
    """Blanks that a line begins with; an empty one stands at the margin."""
    return len(line) - len(line.lstrip(" "))
