"""How a command is run: its line is read, its answer printed and drawn, and what went wrong said in a line."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lossim._cli.answers import Answer
from lossim._cli.colours import coloured, paint, paint_error
from lossim._cli.options import FIGURES
from lossim._cli.parsing import parsed
from lossim._cli.words import in_columns, message
from lossim._display import checked_path, write
from lossim._support import checks
from lossim._support.types import NoClosedForm

__all__ = ["run"]

DONE = 0
BAD_INPUT = 2
FAILED_IF = 3


def run(words: Sequence[str]) -> int:
    """Run a command, and return its exit code."""
    args = None
    try:
        args = parsed(words)
        _check_figure(args)
        if args.report is not None:
            checked_path("--report", args.report)
        answer: Answer = args.run(args)
        if args.report is not None:
            assert answer.page is not None
            write(answer.page(), args.report)
        if args.figure is not None:
            assert answer.plot is not None
            answer.plot().savefig(args.figure)
        print(json.dumps(answer.payload, allow_nan=False, indent=2) if args.json else _text(answer, args))
        sys.stdout.flush()
    except SystemExit as told:  # --help, --version
        return int(told.code or DONE)
    except BrokenPipeError:  # which is an OSError
        raise
    except (ValueError, TypeError, OSError, ImportError, NoClosedForm) as error:
        _complain(message(error, args), args)
        return BAD_INPUT
    return _fail_if(args, answer)


def _text(answer: Answer, args: argparse.Namespace) -> str:
    """The answer as it is printed."""
    text = in_columns(answer.text)
    return paint(text) if coloured(args.color, sys.stdout) else text


def _complain(text: str, args: argparse.Namespace | None) -> None:
    """A line on stderr."""
    line = f"lossim: {text}"
    when = "auto" if args is None else args.color
    print(paint_error(line) if coloured(when, sys.stderr) else line, file=sys.stderr)


def _fail_if(args: argparse.Namespace, answer: Answer) -> int:
    """Whether the answer is one at which a script is to stop; if so a line says why."""
    ways = [way for group in args.fail_if or () for way in group]
    met = {name: way for name, way in answer.ways.items() if way in ways}
    if not met:
        return DONE
    _complain(f"exit code {FAILED_IF}, as --fail-if {','.join(dict.fromkeys(met.values()))} asks: "
              f"{', '.join(f'{way} under {name}' for name, way in met.items())}", args)
    return FAILED_IF


def _check_figure(args: argparse.Namespace) -> None:
    """That the figure can be written where it is to be, before anything is computed."""
    if args.figure is None:
        return
    path = Path(args.figure)
    if path.suffix.lower() not in FIGURES:
        checks.fail("--figure", args.figure, f"must end in one of {', '.join(FIGURES)}")
    if path.is_dir() or not path.parent.is_dir():
        checks.fail("--figure", args.figure, "must be a file in a folder that exists")
