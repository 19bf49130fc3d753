"""What a command gives back, and what all commands do with their arguments."""

from __future__ import annotations

import shlex
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from lossim._cli.reporting import page_of
from lossim._display import Page
from lossim._support.text import Sections, Way, noted, page
from lossim.configs import ParsedConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LOGGED", "Answer", "answered", "flag", "given", "progress", "refuse"]

LOGGED = "logged"
"""The reward of a log, as an argument."""
FLAGS = {"gae_lambda": "--lambda", "prompts_per_step": "--prompts", "responses_per_step": "--responses",
         "run_name": "--run"}
"""Options whose names are not those of their arguments."""


class Answer(NamedTuple):
    """What a command prints, text or ``payload`` as JSON; what it draws and writes; which way length goes by scheme."""

    text: str
    payload: dict[str, Any]
    plot: Callable[[], Figure] | None = None
    ways: Mapping[str, str] = {}
    page: Callable[[], Page] | None = None


def answered(said: Sections, plot: Callable[[], Figure] | None, config: ParsedConfig | None, notes: Sequence[str],
             *, ways: Mapping[str, str] | None = None, found: Any = None, **payload: Any) -> Answer:
    """An answer with its notes, that ends with what became of the config's settings; ``found`` is what a page shows."""
    said["notes"] = [*said.get("notes", []), *noted(notes)]
    if config is not None:
        said |= {name: lines for name, lines in config.sections().items() if name not in ("verdict", "scheme")}
        said = {name: [_in_options(line, config) for line in lines] for name, lines in said.items()}
        if config.settling:
            said["settle"] = [f"settled as it was read by: {settling(config)}"]
    settings = None if config is None else config.to_dict()
    text = page(said)
    report = None if found is None else partial(page_of, found, payload["verdict"], text, config)
    return Answer(text, {**payload, "config": settings, "notes": list(notes)}, plot, ways or {}, report)


SETTLING = {"version": "--trainer {}", "ignore": "--ignore {}", "settings": "--set {}=VALUE"}
"""How the command line says what settles a doubt, by the code of the :class:`~lossim._support.text.Way`."""


def _in_options(line: str, config: ParsedConfig) -> str:
    """A line with what settles the config's doubts said as options."""
    for doubt in config.doubts:
        if isinstance(doubt.settle, Way):
            option = SETTLING.get(doubt.settle.code, f"{flag(doubt.settle.code)} {{}}")
            line = line.replace(doubt.settle, option.format(doubt.settle.value))
    return line


def settling(config: ParsedConfig) -> str:
    """The options that settle what is not settled about a config as it was read."""
    words: list[str] = []
    for name, value in config.settling:
        if name == "version":
            words.append(f"--trainer {config.trainer}=={value}")
        elif name == "ignore":
            words += [f"--ignore {shlex.quote(key)}" for key in value]
        elif name == "settings":
            words += [f"--set {shlex.quote(key)}=..." for key in value]
        else:
            words.append(f"{flag(name)} {value}")
    return " ".join(words)


def progress(args: Namespace) -> bool:
    """Whether to report progress."""
    return bool(args.progress or (sys.stderr.isatty() and not args.quiet))


def given(**options: Any) -> dict[str, Any]:
    """The options that were given: others keep the library's defaults."""
    return {name: value for name, value in options.items() if value is not None}


def flag(name: str) -> str:
    """An argument as the command line calls it.

    >>> flag("max_tokens"), flag("gae_lambda")
    ('--max-tokens', '--lambda')
    """
    return FLAGS.get(name, f"--{name.replace('_', '-')}")


def refuse(args: Namespace, names: Sequence[str], why: str) -> None:
    """Options that would have no effect are errors."""
    known: Mapping[str, Any] = vars(args)
    for name in names:
        if known.get(name) is not None:
            raise ValueError(f"{flag(name)} {why}")
