"""How errors are worded: in options of the command line, where the library speaks of arguments in Python."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterable

from lossim._cli.answers import flag
from lossim._support import checks
from lossim._support.text import Phrase, Way, reworded

__all__ = ["in_columns", "in_options", "message", "nearest"]

WORDINGS = {
    "accuracy": "--paid RIGHT,WRONG to read it off the rewards, or --column accuracy=NAME",
    "any format": "give --format",
    "column": "--column {}=NAME",
    "column of": "--column {}",
    "correct": "--column correct=NAME",
    "field": "the FIELD of --column",
    "sample": "give --batches 64 to sample instead",
    "unread": "--column {}=",
}
"""How the command line says what messages say in Python, by the code of the :class:`~lossim._support.text.Way`."""


def message(error: BaseException, args: Namespace | None) -> str:
    """An error in one line; ``args`` are those of the command, if it came so far."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    text = str(error) or type(error).__name__
    if error.args and isinstance(error.args[0], Phrase):
        text = reworded(error.args[0], _worded)
    text = in_columns(text)
    return text if args is None else _flagged(text, error, args)


def nearest(word: str, words: Iterable[str]) -> str:
    """What may have been meant, behind a semicolon; nothing if no word is near."""
    fix = checks.nearest(word, words)
    return f"; {fix}" if fix else ""


def _worded(way: Way) -> str:
    """An argument is an option of the same name, if WORDINGS does not have it."""
    if way.code in WORDINGS:
        return WORDINGS[way.code].format(way.value)
    return f"{flag(way.code)} {way.value}".rstrip()


def _flagged(text: str, error: BaseException, args: Namespace) -> str:
    """Names of arguments as options: the first word if it is that option, elsewhere what can be nothing else."""
    options = _options(args)
    subject = getattr(error, "name", "")
    # It is the option that was given, or the one that is missing.
    if subject in options and (getattr(args, subject) is not None or getattr(error, "value", "") is None):
        text = text.replace(subject, flag(subject), 1)
    text = re.sub(r"^unknowns\['(\w+)'\]", lambda found: flag(found[1]), text)
    return in_options(text, args)


def in_columns(text: str) -> str:
    """What a text says of ``columns=``, in options.

    >>> in_columns("columns={'class': 'level'} insists on it, columns={'kl': None} leaves it unread")
    '--column class=level insists on it, --column kl= leaves it unread'
    """
    return re.sub(r"columns=\{'(\w+)': (?:'([^']*)'|None)\}",
                  lambda found: f"--column {found[1]}={found[2] or ''}", text)


def _options(args: Namespace) -> set[str]:
    """Names of the options that a command has."""
    _, commands = args.line()
    return {action.dest for action in commands[args.command]._actions if action.option_strings}


def in_options(text: str, args: Namespace) -> str:
    """A text in which arguments of Python are options, where they can be nothing else."""
    for name in sorted(_options(args), key=len, reverse=True):
        text = re.sub(rf"(?<![\w-]){name}='([^']*)'", rf"{flag(name)} \1", text)
        text = re.sub(rf"(?<![\w-]){name}=(?=[\d(])", rf"{flag(name)} ", text)
        if "_" in name:
            text = re.sub(rf"(?<![\w'-]){name}(?![\w'])", flag(name), text)
    return text
