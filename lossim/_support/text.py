"""Text as data until it is printed: notes with codes, messages that know their Python, numbers, tables and sections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import numpy as np

Sections = dict[str, list[str]]
"""A printed result in parts: the lines of each, by name, in the order of print."""


class Note(str):
    """A text with a code, by which a program knows what it is about, and the value that it names if there is one.

    >>> note = Note("not read", "not read: 'time'")
    >>> note
    "not read: 'time'"
    >>> note.code
    'not read'
    """

    code: str
    value: str

    def __new__(cls, code: str, text: str, value: str = "") -> Self:
        note = super().__new__(cls, text)
        note.code = code
        note.value = value
        return note

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.code, str(self), self.value)


def code(text: str) -> str:
    """The code of a note, "" of a text that has none."""
    return text.code if isinstance(text, Note) else ""


class Way(Note):
    """Something of the Python interface, as messages call it; another face has words of its own for the code.

    >>> Way("column", "columns={'kl': ...}", "kl").value
    'kl'
    """


def argument(name: str, value: object = None) -> Way:
    """An argument of the Python interface, or what to pass for it.

    >>> argument("max_tokens"), argument("paths", "one")
    ('max_tokens=', "paths='one'")
    """
    return Way(name, f"{name}=") if value is None else Way(name, f"{name}={value!r}", str(value))


class Phrase(str):
    """A text that keeps the parts it is made of, among which there are ways.

    >>> Phrase("give ", argument("max_tokens"), ", the cap")
    'give max_tokens=, the cap'
    """

    parts: tuple[str, ...]

    def __new__(cls, *parts: str) -> Self:
        phrase = super().__new__(cls, "".join(parts))
        phrase.parts = parts
        return phrase


def reworded(text: str, word: Callable[[Way], str]) -> str:
    """The text, every way in it said by ``word``.

    >>> reworded(Phrase("give ", argument("max_tokens"), ", the cap"), lambda way: f"--{way.code}")
    'give --max_tokens, the cap'
    """
    if isinstance(text, Way):
        return word(text)
    if isinstance(text, Phrase):
        return "".join(reworded(part, word) for part in text.parts)
    return text


def either(names: Iterable[str]) -> str:
    """Names as alternatives.

    >>> either(("trl", "verl", "openrlhf"))
    'trl, verl or openrlhf'
    """
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def page(sections: Mapping[str, Sequence[str]]) -> str:
    """All lines of all sections."""
    return "\n".join(line for lines in sections.values() for line in lines)


class Printed(ABC):
    """A result that prints as all lines of its sections; a dataclass of this kind has ``repr=False``."""

    @abstractmethod
    def sections(self) -> Sections:
        """The lines that it prints, by what they are about."""

    def __str__(self) -> str:
        return page(self.sections())

    __repr__ = __str__


def noted(notes: Iterable[str], indent: int = 2) -> list[str]:
    """Notes, one a line."""
    return [f"{' ' * indent}note: {note}" for note in notes]


def wrapped(label: str, parts: Sequence[str]) -> list[str]:
    """The parts on lines of some hundred characters, broken between them."""
    lines = [f"  {label:<8}{parts[0]}"]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) < 106:
            lines[-1] += f" · {part}"
        else:
            lines.append(f"          {part}")
    return lines


class Columns:
    """The columns of a table, by the width of each: "<30" has its cells on the left, ">15" on the right.

    >>> Columns("<8", ">6").row("mean", "1.5")
    '  mean       1.5'
    """

    def __init__(self, *widths: str, indent: int = 2) -> None:
        self.widths = widths
        self.margin = " " * indent

    def row(self, *cells: str) -> str:
        """The cells on a line, as far as there are any."""
        padded = [format(cell, width) for cell, width in zip(cells, self.widths, strict=False)]
        return (self.margin + "".join(padded)).rstrip()


SAMPLED = ("monte carlo", "bootstrap")
"""Methods of an :class:`lossim.Estimate` whose numbers have a standard error."""


def decimals(largest: float, digits: int) -> int:
    """Decimals that show a number to so many digits: at least 1, and -1 where only an exponent will do."""
    if not largest > 0.0:
        return 1
    wanted = digits - 1 - int(np.floor(np.log10(largest)))
    return max(wanted, 1) if wanted <= 6 else -1


def percent(share: float, decimals: int = 0) -> str:
    """A share in percent.

    >>> percent(0.931)
    '93 %'
    """
    return f"{100.0 * share:.{decimals}f} %"


def number(x: Any, decimals: int) -> str:
    """An :class:`lossim.Estimate` to so many decimals: ~0 if nothing is left of it, "" for NaN.

    The standard error of a sampled one stands behind it, if it is known.
    """
    value, noise = float(x.value), float(x.stderr)
    if np.isnan(value):
        return ""
    form = f".{decimals}f" if decimals > 0 else ".2e"
    if value == 0.0:
        text = "0"
    elif abs(value) <= float(x.error) or not float(f"{value:{form}}"):
        text = "~0"
    else:
        text = f"{value:+{form}}"
    if np.isnan(noise):
        return text
    bar = f"{noise:{form}}" if decimals > 0 else f"{noise:.0e}"
    if float(bar) or (x.method in SAMPLED and text not in ("0", "~0")):
        return f"{text} ± {bar}"
    return text
