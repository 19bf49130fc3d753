"""From the words of a line to arguments; where one is not known, what may have been meant."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NoReturn

from lossim._cli.answers import Answer
from lossim._cli.arguments import TAKES
from lossim._cli.colours import coloured, paint_help
from lossim._cli.commands import COMMANDS, about, overview
from lossim._cli.words import nearest
from lossim.schemes import presets

__all__ = ["parsed", "parser"]

COMMAND = "COMMAND"
ROOT = ("-h", "--help", "--version")
"""What may stand in place of a command."""
MEAN = ", a mean where --accuracy is given"
ALSO_CALLED = {
    "--mean-right": ("--right", MEAN), "--mean-wrong": ("--wrong", MEAN),
    "--median-right": ("--right", ", a median where --solve-rate is given"),
    "--median-wrong": ("--wrong", ", a median where --solve-rate is given"),
    "--gae-lambda": ("--lambda", ""), "--lam": ("--lambda", ""), "--beta": ("--kl", ""), "--kl-coef": ("--kl", ""),
    "--num-generations": ("--group-size", ""), "--prompts-per-step": ("--prompts", ""),
    "--max-completion-length": ("--max-tokens", ""), "--lr": ("--learning-rate", ""),
}
"""Options by names that they have elsewhere, and what else there is to say."""


class Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and exit; its help has the colours of the rest."""

    color: bool  # Python's own, from 3.14 on

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; see {self.prog} --help" if "required" in message else message)

    def print_help(self, file: Any = None) -> None:
        page = self.format_help()
        print(paint_help(page) if coloured("auto", sys.stdout) else page, end="", file=file)


class Line(Parser):
    """The parser of the whole line, whose help is the page of all commands."""

    def format_help(self) -> str:
        return overview()


def parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of the line, and those of the commands."""
    line = Line(prog="lossim", allow_abbrev=False, exit_on_error=False)
    line.add_argument("--version", action="version", version=f"lossim {version('lossim')}")
    kinds = line.add_subparsers(dest="command", required=True, metavar=COMMAND, parser_class=Parser)
    for name, (run, add_arguments) in TAKES.items():
        summary = COMMANDS[name].summary
        command = kinds.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.",
                                   allow_abbrev=False, epilog=about(name),
                                   formatter_class=argparse.RawDescriptionHelpFormatter)
        command.set_defaults(run=run, figure=None, report=None, fail_if=None, color="auto", ask=_asked,
                             line=lambda: (line, dict(kinds.choices)))
        command.color = False
        add_arguments(command)
    return line, dict(kinds.choices)


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of a line.

    Raises:
        ValueError: words that are no arguments; the message says what may have been meant.
        SystemExit: help or the version was asked for, and printed.
    """
    line, commands = parser()
    first = words[0] if words else ""
    if first.startswith("-") and first.partition("=")[0] not in ROOT:
        raise ValueError(f"lossim has no argument {first!r} before a command{nearest(first, ROOT)}; see lossim --help")
    try:
        args, extra = line.parse_known_args(words)
    except argparse.ArgumentError as wrong:  # of the line itself; those of a command come as ValueError
        raise ValueError(f"{wrong}{nearest(first, COMMANDS) if wrong.argument_name == COMMAND else ''}") from None
    if extra:
        options = [option for action in commands[args.command]._actions for option in action.option_strings]
        raise ValueError(f"{args.command} has no argument {extra[0]!r}{_meant(extra[0], options)}; see lossim "
                         f"{args.command} --help")
    return args


def _asked(words: Sequence[str]) -> Answer:
    """The answer to another line, for a command that runs others."""
    args = parsed(words)
    answer: Answer = args.run(args)
    return answer


def _meant(word: str, options: Sequence[str]) -> str:
    """What may have been meant by an argument that a command does not have."""
    option = word.partition("=")[0]
    if option in ALSO_CALLED and ALSO_CALLED[option][0] in options:
        known, why = ALSO_CALLED[option]
        return f"; it is {known} here{why}"
    if word.lower() in presets() and "--scheme" in options:
        return f"; did you mean '--scheme {word.lower()}'?"
    return nearest(option, options)
