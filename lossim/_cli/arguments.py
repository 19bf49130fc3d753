"""The command line: ``lossim audit``, ``lossim drift``, ``lossim presets``.

Exit codes: 0 an answer was given, 2 bad input, 130 stopped by Ctrl-C, 141 nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from lossim._cli.commands import LOGGED, Answer, audit_log, drift_of, list_presets
from lossim._logs import FORMATS
from lossim._support import checks
from lossim._support.text import Phrase, Way, reworded
from lossim._support.types import NoClosedForm
from lossim.configs import PARSERS
from lossim.rewards import Reward

DONE = 0
BAD_INPUT = 2
STOPPED = 130
NO_READER = 141
PATHS = ("outcome", "one", "states", "column")
FIGURES = (".png", ".pdf", ".svg")
LOGS = "files (.jsonl, .csv, .tsv, .parquet; .gz may follow) or folders of them, one response per row"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, ``sys.argv`` unless given, and return its exit code.

    >>> main(["audit", "run.jsonl", "--scheme", "drgrpo"])  # on stderr: ... got 'drgrpo'; did you mean 'dr_grpo'?
    2
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that has no ± or λ shows ? instead
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        args = _parsed(sys.argv[1:] if argv is None else list(argv))
        _check_figure(args)
        answer: Answer = args.run(args)
        if args.figure is not None:
            assert answer.plot is not None
            answer.plot().savefig(args.figure)
        print(json.dumps(answer.payload, allow_nan=False, indent=2) if args.json else answer.text)
        sys.stdout.flush()
    except SystemExit as told:  # --help, --version
        return int(told.code or DONE)
    except KeyboardInterrupt:
        return STOPPED
    except BrokenPipeError:
        with contextlib.suppress(OSError):  # or Python complains of it when it flushes at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    except (ValueError, TypeError, OSError, ImportError, NoClosedForm) as error:
        print(f"lossim: {_message(error)}", file=sys.stderr)
        return BAD_INPUT
    return DONE


# --- messages ---------------------------------------------------------------------------------------------------

WORDINGS = {
    "any format": "give --format",
    "column": "--column {}=NAME",
    "column of": "--column {}",
    "correct": "--column correct=NAME",
    "field": "the FIELD of --column",
    "sample": "give --batches 64 to sample instead",
    "unread": "--column {}=",
}
"""How the command line says what messages say in Python, by the code of the :class:`~lossim._support.text.Way`."""


def _worded(way: Way) -> str:
    """An argument is an option of the same name, if WORDINGS does not have it."""
    if way.code in WORDINGS:
        return WORDINGS[way.code].format(way.value)
    return f"--{way.code.replace('_', '-')} {way.value}".rstrip()


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if error.args and isinstance(error.args[0], Phrase):
        return reworded(error.args[0], _worded)
    return str(error) or type(error).__name__


def _nearest(word: str, words: Iterable[str]) -> str:
    fix = checks.nearest(word, words)
    return f"; {fix}" if fix else ""


# --- arguments --------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _check_figure(args: argparse.Namespace) -> None:
    """That the figure can be written where it is to be, before anything is computed."""
    if args.figure is None:
        return
    path = Path(args.figure)
    if path.suffix.lower() not in FIGURES:
        checks.fail("--figure", args.figure, f"must end in one of {', '.join(FIGURES)}")
    if path.is_dir() or not path.parent.is_dir():
        checks.fail("--figure", args.figure, "must be a file in a folder that exists")


def _one_of(*words: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(map(repr, words))}, got {text!r}"
                                             f"{_nearest(text, words)}")
        return text

    return check


def _reward(text: str) -> Reward | str:
    if text == LOGGED:
        return text
    with contextlib.suppress(ValueError):
        paid = [float(part) for part in text.split(",")]
        if len(paid) in (2, 3):
            return Reward(correct=paid[0], incorrect=paid[1], truncated=next(iter(paid[2:]), None))
    raise argparse.ArgumentTypeError(f"must be two or three finite numbers, correct,incorrect[,truncated], or "
                                     f"{LOGGED!r}, got {text!r}; for example 1,-1")


def _shares(text: str) -> tuple[float, ...]:
    with contextlib.suppress(ValueError):
        shares = tuple(float(part) for part in text.split(","))
        if all(0.0 <= share <= 1.0 for share in shares):
            return shares
    raise argparse.ArgumentTypeError(f"must be numbers in [0, 1] with commas between them, got {text!r}; for example "
                                     "0.25,0.5,0.9")


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="lossim", description="What an RL loss does to response length.", allow_abbrev=False,
                     exit_on_error=False)
    parser.add_argument("--version", action="version", version=f"lossim {version('lossim')}")
    kinds = parser.add_subparsers(dest="command", required=True, metavar=COMMAND, title="commands",
                                  description="lossim COMMAND --help lists the arguments of one")
    for name, (run, add_arguments, summary) in COMMANDS.items():
        command = kinds.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.",
                                   allow_abbrev=False)
        command.set_defaults(run=run, figure=None)
        add_arguments(command)
    try:
        args, unknown = parser.parse_known_args(argv)
    except argparse.ArgumentError as wrong:  # of the line itself; those of a command come as ValueError
        first = next((word for word in argv if not word.startswith("-")), "")
        raise ValueError(f"{wrong}{_nearest(first, COMMANDS) if wrong.argument_name == COMMAND else ''}") from None
    if unknown:
        options = [option for action in kinds.choices[args.command]._actions for option in action.option_strings]
        raise ValueError(f"{args.command} has no argument {unknown[0]!r}"
                         f"{_nearest(unknown[0].partition('=')[0], options)}; see lossim {args.command} --help")
    return args


def _audit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", nargs="+", metavar="LOG", help=LOGS)
    _scheme_arguments(parser, "responses are paid as logged unless given")
    parser.add_argument("--compare", metavar="NAME,...", help="presets to set beside it, or 'all'; 'all' if there is "
                        "neither --config nor --scheme")
    _shared_arguments(parser)


def _drift_arguments(parser: argparse.ArgumentParser) -> None:
    _scheme_arguments(parser, "the scheme's own unless given")
    parser.add_argument("--batches", type=int, metavar="N", help="sample so many batches instead of exact sums")
    laws = parser.add_argument_group("responses, by laws of length")
    laws.add_argument("--solve-rate", type=float, metavar="P", help="chance of a right response")
    laws.add_argument("--right", type=float, metavar="TOKENS", help="median length of right responses (lognormal)")
    laws.add_argument("--wrong", type=float, metavar="TOKENS", help="median length of wrong responses (lognormal)")
    laws.add_argument("--sigma", type=float, metavar="S", help="standard deviation of log length of both, 0.7 unless "
                      "given")
    logs = parser.add_argument_group("responses, fitted to a log")
    logs.add_argument("--log", nargs="+", metavar="LOG", help=LOGS)
    _shared_arguments(parser)


def _scheme_arguments(parser: argparse.ArgumentParser, reward: str) -> None:
    group = parser.add_argument_group("scheme")
    which = group.add_mutually_exclusive_group()
    which.add_argument("--scheme", metavar="NAME", help="a preset; lossim presets lists them")
    which.add_argument("--config", metavar="FILE", help="a trainer's config, YAML or JSON; for verl and openrlhf also "
                       "the arguments of the run as one string (--config='...')")
    group.add_argument("--trainer", type=_one_of(*PARSERS), metavar="NAME", help=f"whose config: {', '.join(PARSERS)}")
    group.add_argument("--algorithm", type=_one_of("grpo", "rloo"), metavar="NAME",
                       help="which of TRL's two trainers: grpo, rloo; told from the settings unless given")
    group.add_argument("--processes", type=int, metavar="N", help="devices that TRL's batch sizes are per")
    group.add_argument("--unsupported", type=_one_of("error", "report"), metavar="error|report",
                       help="settings that no slot of a scheme holds: an error (default), or left out and reported")
    group.add_argument("--ignore", action="append", metavar="KEY",
                       help="a setting of your own to pass over; repeatable")
    group.add_argument("--reward", type=_reward, metavar="C,I[,T]", help="reward of correct, incorrect and truncated "
                       f"responses, such as 1,-1, or '{LOGGED}'; {reward}")


def _shared_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of all commands but presets: how a log is read, and how the answer comes out."""
    group = parser.add_argument_group("reading a log")
    group.add_argument("--column", action="append", metavar="FIELD=NAME", help="the column of a field, such as "
                       "length=completion_length; an empty NAME: do not read it; repeatable, and rewards given several "
                       "times are summed, weighted as in reward=0.5*format")
    group.add_argument("--tokenizer", metavar="MODULE:FUNCTION", help="from text to its tokens or their number, for "
                       "logs of text alone")
    group.add_argument("--format", type=_one_of(*FORMATS), metavar="|".join(FORMATS),
                       help="format of the files, told from their names unless given")
    group.add_argument("--max-tokens", type=int, metavar="N", help="cap on length; the config's unless given, where "
                       "the log does not say which responses were cut")
    group.add_argument("--correct-above", type=float, metavar="X", help="responses paid more are correct, where "
                       "the log has no grades")
    group.add_argument("--on-error", type=_one_of("raise", "report"), metavar="raise|report",
                       help="bad rows: stop at the first (default), or leave them out and count them")
    group.add_argument("--paths", type=_one_of(*PATHS), metavar="|".join(PATHS), help="whether right and wrong "
                       "responses are paths of their own (default), share one, share one on which they are done once "
                       "their answer is there, or take the paths that a column names")
    group.add_argument("--needed", type=_shares, metavar="S[,S]", help="shares of a right response's length at which "
                       "its answer was there, with --paths states; a column of the log, or 0.25,0.5,0.9, unless given")
    group.add_argument("--replicates", type=int, metavar="N", help="how often prompts are drawn again for standard "
                       "errors; 0 for none")
    group = parser.add_argument_group("output")
    group.add_argument("--json", action="store_true", help="strict JSON instead of text")
    group.add_argument("--figure", metavar="FILE", help=f"write a figure, {', '.join(FIGURES)}")
    say = group.add_mutually_exclusive_group()
    say.add_argument("--progress", action="store_true", help="report progress on stderr, also if it is no terminal")
    say.add_argument("--quiet", action="store_true", help="report no progress")


def _presets_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="strict JSON instead of text")


COMMAND = "COMMAND"
COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], Answer], Callable[[argparse.ArgumentParser], None], str]] = {
    "audit": (audit_log, _audit_arguments, "which way a loss pushes length on a logged run, and through which "
              "responses"),
    "drift": (drift_of, _drift_arguments, "which way a loss pushes length, from laws of length or from those fitted "
              "to a log"),
    "presets": (list_presets, _presets_arguments, "the presets, slot by slot"),
}
"""What computes the answer, what declares the arguments, and what is said of both."""
