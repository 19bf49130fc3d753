"""The arguments of each command, and what computes its answer."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from lossim._changes import KNOBS
from lossim._cli.answers import Answer
from lossim._cli.auditing import audit_log
from lossim._cli.changing import attribution_of, stops_of, what_if_of
from lossim._cli.completing import SHELLS, completion_of
from lossim._cli.describing import curves_of, fit_of, pace_of
from lossim._cli.drifting import drift_of
from lossim._cli.forecasting import forecast_of
from lossim._cli.inspecting import doctor_of
from lossim._cli.listing import list_presets, list_rewards
from lossim._cli.options import (
    LOGS,
    METRICS,
    add_curves,
    add_numbers,
    add_output,
    add_print,
    add_reading,
    add_scheme,
    add_settings,
    one_of,
    run_pace,
)
from lossim._cli.showing import demo_of
from lossim._cli.surveying import KERNEL, survey_of, unknown, words
from lossim._cli.training import PACE, train_of
from lossim._cli.watching import EVERY, watch_folder

__all__ = ["TAKES"]

OWN_REWARD = "the scheme's own unless given"
BATCHES = "sample so many batches instead of exact sums"



def _audit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", nargs="+", metavar="LOG", help=LOGS)
    add_settings(add_scheme(parser, "responses are paid as logged unless given", several=True))
    parser.add_argument("--compare", metavar="NAME,...", help="presets to set beside it, or 'all'; 'all' if there is "
                        "neither --config nor --scheme")
    add_reading(parser)
    add_output(parser, verdict=True)


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
    add_output(parser, verdict=True)


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
    add_output(parser, verdict=True, cap=unknown)


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings(add_scheme(parser, OWN_REWARD, several=False))
    _add_run(parser.add_argument_group("run"))
    add_numbers(parser)
    add_output(parser, verdict=True)


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
    add_output(parser, verdict=True)


def _watch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="FOLDER", help="where the run writes its responses: verl's rollout_data_dir, "
                        "TRL's completions, or any log that lossim audit reads")
    add_settings(add_scheme(parser, "not for watch: responses are paid as logged", several=False))
    group = parser.add_argument_group("watching")
    group.add_argument("--every", type=float, metavar="SECONDS", help=f"look so often, {EVERY:g} unless given")
    group.add_argument("--once", action="store_true", help="look once, at what is there, and end: for scripts")
    group.add_argument("--window", type=int, metavar="N", help="how many of the last steps are audited together, 16 "
                       "unless given")
    group.add_argument("--until", type=int, metavar="STEP", help="the last step of the run, which is forecast; 100 "
                       "steps ahead unless given")
    add_reading(parser)
    add_output(parser, figure=False, report=False)


def _fit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("log", nargs="+", metavar="LOG", help=LOGS)
    parser.add_argument("--classes", type=int, metavar="N", help="classes of prompts by solve rate; as many as the log "
                        "tells apart unless given")
    add_reading(parser)
    add_output(parser, figure=False)


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", metavar="FOLDER", help="copy the files there first, and ask of the copies")
    add_print(parser)


def _completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", type=one_of(*SHELLS), metavar="SHELL", help=f"which shell: {', '.join(SHELLS)}")
    parser.set_defaults(json=False, color="never")  # for shells, not for people


def _presets_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="presets; all unless given")
    add_print(parser)


TAKES: dict[str, tuple[Callable[[argparse.Namespace], Answer], Callable[[argparse.ArgumentParser], None]]] = {
    "drift": (drift_of, _drift_arguments),
    "what-if": (what_if_of, _change_arguments),
    "stops": (stops_of, _stops_arguments),
    "attribute": (attribution_of, _attribute_arguments),
    "survey": (survey_of, _survey_arguments),
    "train": (train_of, _train_arguments),
    "audit": (audit_log, _audit_arguments),
    "watch": (watch_folder, _watch_arguments),
    "fit": (fit_of, _fit_arguments),
    "curves": (curves_of, _curves_arguments),
    "pace": (pace_of, _pace_arguments),
    "forecast": (forecast_of, _forecast_arguments),
    "demo": (demo_of, _demo_arguments),
    "completion": (completion_of, _completion_arguments),
    "doctor": (doctor_of, add_print),
    "presets": (list_presets, _presets_arguments),
    "rewards": (list_rewards, add_print),
}
"""By command: what computes the answer, and what declares the arguments."""
