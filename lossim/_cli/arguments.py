"""The command line: its commands, what each takes, and how one is run.

Exit codes: 0 an answer was given, 2 bad input, 130 stopped by Ctrl-C, 141 nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from lossim._changes import KNOBS
from lossim._cli.answers import Answer
from lossim._cli.auditing import audit_log
from lossim._cli.changing import attribution_of, stops_of, what_if_of
from lossim._cli.describing import curves_of, fit_of, pace_of
from lossim._cli.drifting import drift_of
from lossim._cli.forecasting import forecast_of
from lossim._cli.listing import list_presets, list_rewards
from lossim._cli.options import (
    FIGURES,
    LOGS,
    METRICS,
    add_curves,
    add_numbers,
    add_output,
    add_reading,
    add_scheme,
    add_settings,
    run_pace,
)
from lossim._cli.surveying import KERNEL, survey_of, unknown, words
from lossim._cli.training import PACE, train_of
from lossim._cli.words import in_columns, message, nearest
from lossim._support import checks
from lossim._support.types import NoClosedForm
from lossim.schemes import presets

DONE = 0
BAD_INPUT = 2
STOPPED = 130
NO_READER = 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, ``sys.argv`` unless given, and return its exit code.

    >>> main(["audit", "run.jsonl", "--scheme", "drgrpo"])  # on stderr: ... got 'drgrpo'; did you mean 'dr_grpo'?
    2
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that has no ± or λ shows ? instead
        with contextlib.suppress(AttributeError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    args = None
    try:
        args = _parsed((sys.argv[1:] if argv is None else list(argv)) or ["--help"])
        _check_figure(args)
        answer: Answer = args.run(args)
        if args.figure is not None:
            assert answer.plot is not None
            answer.plot().savefig(args.figure)
        print(json.dumps(answer.payload, allow_nan=False, indent=2) if args.json else in_columns(answer.text))
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
        print(f"lossim: {message(error, args)}", file=sys.stderr)
        return BAD_INPUT
    return DONE


class _Parser(argparse.ArgumentParser):
    """Raises where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _parsed(argv: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(prog="lossim", description="What an RL loss does to response length.", allow_abbrev=False,
                     exit_on_error=False, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--version", action="version", version=f"lossim {version('lossim')}")
    kinds = parser.add_subparsers(dest="command", required=True, metavar=COMMAND, title="commands",
                                  description="lossim COMMAND --help lists the arguments of one")
    for name, (run, add_arguments, summary) in COMMANDS.items():
        command = kinds.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.",
                                   allow_abbrev=False)
        command.set_defaults(run=run, figure=None)
        add_arguments(command)
    try:
        args, extra = parser.parse_known_args(argv)
    except argparse.ArgumentError as wrong:  # of the line itself; those of a command come as ValueError
        first = next((word for word in argv if not word.startswith("-")), "")
        raise ValueError(f"{wrong}{nearest(first, COMMANDS) if wrong.argument_name == COMMAND else ''}") from None
    if extra:
        options = [option for action in kinds.choices[args.command]._actions for option in action.option_strings]
        raise ValueError(f"{args.command} has no argument {extra[0]!r}{_meant(extra[0], options)}; see lossim "
                         f"{args.command} --help")
    return args


def _meant(word: str, options: Sequence[str]) -> str:
    """What may have been meant by an argument that a command does not have."""
    option = word.partition("=")[0]
    if option in ALSO_CALLED and ALSO_CALLED[option][0] in options:
        known, why = ALSO_CALLED[option]
        return f"; it is {known} here{why}"
    if word.lower() in presets() and "--scheme" in options:
        return f"; did you mean '--scheme {word.lower()}'?"
    return nearest(option, options)


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


def _check_figure(args: argparse.Namespace) -> None:
    """That the figure can be written where it is to be, before anything is computed."""
    if args.figure is None:
        return
    path = Path(args.figure)
    if path.suffix.lower() not in FIGURES:
        checks.fail("--figure", args.figure, f"must end in one of {', '.join(FIGURES)}")
    if path.is_dir() or not path.parent.is_dir():
        checks.fail("--figure", args.figure, "must be a file in a folder that exists")


# --- arguments by command ---------------------------------------------------------------------------------------


def _audit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", nargs="+", metavar="LOG", help=LOGS)
    add_settings(add_scheme(parser, "responses are paid as logged unless given", several=True))
    parser.add_argument("--compare", metavar="NAME,...", help="presets to set beside it, or 'all'; 'all' if there is "
                        "neither --config nor --scheme")
    add_reading(parser)
    add_output(parser)


def _drift_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(add_scheme(parser, OWN_REWARD, several=True))
    parser.add_argument("--compare", metavar="NAME,...", help="presets to set beside it, or 'all'")
    parser.add_argument("--batches", type=int, metavar="N", help=BATCHES)
    parser.add_argument("--pace", type=run_pace, metavar="NATS|FROM:TO:STEPS", help="how far a step goes: nats of KL "
                        "per response, or accuracy before and after so many steps; tokens are then per step too")
    add_numbers(parser)
    logs = parser.add_argument_group("responses, fitted to a log")
    logs.add_argument("--log", nargs="+", metavar="LOG", help=LOGS)
    add_reading(parser)
    add_output(parser)


def _change_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", nargs="*", metavar="LOG", help=f"{LOGS}; or none, and numbers")
    add_settings(add_scheme(parser, f"{OWN_REWARD}; a log is paid as logged", several=False))
    parser.add_argument("--batches", type=int, metavar="N", help=BATCHES)
    add_numbers(parser)
    add_reading(parser)
    add_output(parser, figure=False)


def _attribute_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", nargs="*", metavar="LOG", help=f"{LOGS}; or none, and numbers")
    add_settings(add_scheme(parser, f"{OWN_REWARD}; a log is paid as logged", several=True))
    parser.add_argument("--compare", metavar="NAME,...", help="presets that lead on from it, in this order")
    parser.add_argument("--batches", type=int, metavar="N", help=BATCHES)
    add_numbers(parser)
    add_reading(parser)
    add_output(parser)


def _stops_arguments(parser: argparse.ArgumentParser) -> None:
    _change_arguments(parser)
    knobs = ", ".join(each.replace("_", "-") for each in KNOBS)
    parser.add_argument("--knob", metavar="NAME", help=f"one number to turn instead of all: {knobs}")
    group = parser.add_argument_group("run")
    group.add_argument("--length", type=float, metavar="N", help="ask where a run ends at this mean length instead of "
                       "where nothing drifts, tokens")
    _add_run(group)


def _survey_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("question", nargs="?", metavar="QUESTION", help="a preset (which way does length go?), two "
                        "with a comma (which lengthens more?), or two treatments of truncated responses such as "
                        "mask:keep, with --scheme")
    add_settings(add_scheme(parser, OWN_REWARD, several=True), critics=False)
    add_numbers(parser, unknown, medians=False)
    group = parser.add_argument_group("what else is not known")
    group.add_argument("--critic", type=words, metavar="NAME,...", help="critics of GAE that it may be: zero, "
                       "class-mean, exact, lagging")
    for name in KERNEL:
        group.add_argument(f"--{name.replace('_', '-')}", type=unknown, metavar="X", help="of the kernel, see "
                           "lossim.coordinates")
    group.add_argument("--steps", type=int, metavar="N", help="ask where so many steps lead")
    group.add_argument("--pace", type=unknown, metavar="NATS", help="KL per response of the first of them")
    group.add_argument("--draws", type=int, metavar="N", help="draws of all that is not known, 256 unless given")
    group.add_argument("--seed", type=int, metavar="N", help="of the draws, 0 unless given")
    add_output(parser, cap=unknown)


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(add_scheme(parser, OWN_REWARD, several=False))
    _add_run(parser.add_argument_group("run"))
    add_numbers(parser)
    add_output(parser)


def _add_run(group: argparse._ArgumentGroup) -> None:
    """How many steps, and how far they go."""
    group.add_argument("--steps", type=int, metavar="N", help="how many steps")
    group.add_argument("--pace", type=run_pace, metavar="NATS|FROM:TO:STEPS", help=f"how far the first step goes: nats "
                       f"of KL per response, {PACE:g} unless given; or accuracy before and after so many steps")
    group.add_argument("--learning-rate", type=float, metavar="X", help="of plain gradient steps, in the model's own "
                       "units")


def _curves_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help=METRICS)
    add_curves(parser, column=True)
    add_output(parser)


def _pace_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help=f"{METRICS}; or responses: {LOGS}")
    add_curves(parser, column=False)
    add_reading(parser)
    add_output(parser, figure=False)


def _forecast_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help=f"{METRICS}; or responses: {LOGS}")
    add_settings(add_scheme(parser, OWN_REWARD, several=False))
    group = parser.add_argument_group("forecast")
    group.add_argument("--steps", type=int, metavar="N", help="how many steps ahead")
    group.add_argument("--first", type=int, metavar="N", help="use so many of the steps that are there, not all")
    add_curves(parser, column=False)
    add_reading(parser)
    add_output(parser)


def _fit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", nargs="+", metavar="LOG", help=LOGS)
    parser.add_argument("--classes", type=int, metavar="N", help="classes of prompts by solve rate; as many as the log "
                        "tells apart unless given")
    add_reading(parser)
    add_output(parser, figure=False)


def _presets_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="presets; all unless given")
    parser.add_argument("--json", action="store_true", help="strict JSON instead of text")


def _rewards_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="strict JSON instead of text")


COMMAND = "COMMAND"
OWN_REWARD = "the scheme's own unless given"
BATCHES = "sample so many batches instead of exact sums"
COMMANDS: dict[str, tuple[Callable[[argparse.Namespace], Answer], Callable[[argparse.ArgumentParser], None], str]] = {
    "drift": (drift_of, _drift_arguments, "which way a loss pushes length, from numbers or a log; several side by "
              "side"),
    "what-if": (what_if_of, _change_arguments, "what other settings would do, one at a time"),
    "attribute": (attribution_of, _attribute_arguments, "which slots make the difference between two schemes, or along "
                  "several"),
    "stops": (stops_of, _stops_arguments, "at which values of a setting length does not drift"),
    "survey": (survey_of, _survey_arguments, "a question over ranges: how often is the answer which, and what decides"),
    "train": (train_of, _train_arguments, "where some steps lead"),
    "audit": (audit_log, _audit_arguments, "which way a loss pushes length on a logged run, and through which "
              "responses"),
    "fit": (fit_of, _fit_arguments, "the policy that a log was drawn from"),
    "curves": (curves_of, _curves_arguments, "what the numbers by step of a run show: where length goes, and whose"),
    "pace": (pace_of, _pace_arguments, "how far a step of a run goes"),
    "forecast": (forecast_of, _forecast_arguments, "where length goes from the first steps of a run"),
    "presets": (list_presets, _presets_arguments, "the presets, slot by slot"),
    "rewards": (list_rewards, _rewards_arguments, "rewards by length, for --shaping"),
}
"""What computes the answer, what declares the arguments, and what is said of both."""
EXAMPLES = """for example:
  lossim drift --accuracy 0.45 --right 700 --wrong 1050 --max-tokens 4096 --compare grpo,dr_grpo,dapo
  lossim survey grpo --accuracy 0.3:0.6 --mean-length 900 --ratio 0.7:2:log --max-tokens 4096
  lossim audit log.jsonl --scheme grpo"""
