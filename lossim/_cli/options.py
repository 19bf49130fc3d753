"""Groups of arguments that commands share, and what the text of one becomes."""

from __future__ import annotations

import argparse
import ast
import contextlib
import inspect
from collections.abc import Callable
from typing import Any

from lossim._cli.answers import LOGGED
from lossim._cli.colours import WHEN
from lossim._cli.words import nearest
from lossim._engine import Pace, pace
from lossim._logs import FORMATS
from lossim._surveying import CRITICS
from lossim.configs import TRAINERS
from lossim.critics import Constant, Critic
from lossim.rewards import Reward, shapings

__all__ = ["FAIL_IF", "FIGURES", "LOGS", "METRICS", "add_curves", "add_numbers", "add_output", "add_print",
           "add_reading", "add_scheme", "add_settings", "one_of", "reward", "run_pace"]

FIGURES = (".png", ".pdf", ".svg")
LOGS = ("files (.jsonl, .json, .csv, .tsv, .parquet, .arrow; .gz, .bz2, .xz, .zst may follow), folders of them, or - "
        "for standard input")
METRICS = ("what a trainer logged: trainer_state.json, CSV or JSON of wandb, event files of TensorBoard, verl's "
           "console or file log; or folders of these")
FAIL_IF = ("longer", "shorter", "undecided")
"""Verdicts at which a script may want to stop."""
PATHS = ("outcome", "one", "states", "column")


def one_of(*words: str) -> Callable[[str], str]:
    """A check that a text is one of some words."""
    def check(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(map(repr, words))}, got {text!r}"
                                             f"{nearest(text, words)}")
        return text

    return check


def trainer(text: str) -> str:
    """The name of a trainer, which its version may follow."""
    one_of(*TRAINERS)(text.partition("==")[0])
    return text


def reward(text: str) -> Reward | str:
    """``correct,incorrect[,truncated]``, or what the log paid."""
    if text == LOGGED:
        return text
    with contextlib.suppress(ValueError):
        paid = [float(part) for part in text.split(",")]
        if len(paid) in (2, 3):
            return Reward(correct=paid[0], incorrect=paid[1], truncated=next(iter(paid[2:]), None))
    raise argparse.ArgumentTypeError(f"must be two or three finite numbers, correct,incorrect[,truncated], or "
                                     f"{LOGGED!r}, got {text!r}; for example 1,-1")


def shaping(text: str) -> Any:
    """A shaping as Python writes it, ``ALP(beta=0.0001)``; what needs no number may leave the brackets out.

    >>> shaping("KimiLength")
    KimiLength(weight=1.0)
    """
    example = "for example 'ALP(beta=0.0001)'; lossim rewards lists them"
    name, _, given = text.partition("(")
    kinds = shapings()
    if name not in kinds:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(map(repr, kinds))}, got {name!r}"
                                         f"{nearest(name, kinds)}; {example}")
    try:
        call = ast.parse(f"{name}({given}" if given else f"{name}()", mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise SyntaxError
        values = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
    except (SyntaxError, ValueError):
        raise argparse.ArgumentTypeError(f"must name its numbers, got {text!r}; {example}") from None
    takes = list(inspect.signature(kinds[name]).parameters)
    unknown = [each for each in values if each not in takes]
    if unknown:
        raise argparse.ArgumentTypeError(f"{name} takes {', '.join(takes)}, got {unknown[0]}"
                                         f"{nearest(unknown[0], takes)}")
    try:
        return kinds[name](**values)
    except (TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def critic(text: str) -> Critic:
    """A critic by name, or the number that it says everywhere."""
    name = text.lower().replace("-", " ")
    if name in CRITICS:
        return CRITICS[name]
    with contextlib.suppress(ValueError):
        return Constant(value=float(text))
    names = [each.replace(" ", "-") for each in CRITICS]
    raise argparse.ArgumentTypeError(f"must be one of {', '.join(map(repr, names))}, or a number, got {text!r}"
                                     f"{nearest(text, names)}")


def run_pace(text: str) -> Pace:
    """Nats of KL in a step, or FROM:TO:STEPS, what accuracy was before and after so many steps."""
    with contextlib.suppress(ValueError):
        first, *rest = text.split(":")
        if not rest:
            return pace(kl_per_step=float(first))
        if len(rest) == 2:
            return pace(accuracy=(float(first), float(rest[0])), steps=int(rest[1]))
    raise argparse.ArgumentTypeError(f"must be nats of KL in a step, or FROM:TO:STEPS with two accuracies, got "
                                     f"{text!r}; for example 3e-6, or 0.45:0.50:50")


def _shares(text: str) -> tuple[float, ...]:
    with contextlib.suppress(ValueError):
        shares = tuple(float(part) for part in text.split(","))
        if all(0.0 <= share <= 1.0 for share in shares):
            return shares
    raise argparse.ArgumentTypeError(f"must be numbers in [0, 1] with commas between them, got {text!r}; for example "
                                     "0.25,0.5,0.9")


# --- groups -----------------------------------------------------------------------------------------------------


def add_scheme(parser: argparse.ArgumentParser, paid: str, *, several: bool) -> argparse._ArgumentGroup:
    """Which scheme: by name or by config; and what it pays."""
    group = parser.add_argument_group("scheme")
    which = group.add_mutually_exclusive_group()
    names = "NAME[,...]" if several else "NAME"
    which.add_argument("--scheme", metavar=names, help="a preset"
                       f"{', or several with commas' * several}; lossim presets lists them")
    which.add_argument("--config", metavar="FILE", help="how a run is started: a shell script, Python, a notebook, "
                       "YAML, JSON or TOML, or the command as one string (--config='...'); nothing is run")
    group.add_argument("--trainer", type=trainer, metavar="NAME[==VERSION]", help="whose config: "
                       f"{', '.join(TRAINERS)}, with its version if known; found unless given")
    group.add_argument("--algorithm", type=one_of("grpo", "rloo"), metavar="NAME",
                       help="which of TRL's two trainers: grpo, rloo; told from the settings unless given")
    group.add_argument("--processes", type=int, metavar="N", help="devices that TRL's batch sizes are per")
    group.add_argument("--strict", action="store_const", const=True,
                       help="refuse a config with keys that are not known, or that no slot of a scheme holds")
    group.add_argument("--ignore", action="append", metavar="KEY",
                       help="a setting of your own to pass over; repeatable")
    group.add_argument("--set", action="append", dest="settings", metavar="KEY=VALUE",
                       help="a setting that counts over the config's, such as one that only running tells; repeatable")
    group.add_argument("--reward", type=reward, metavar="C,I[,T]", help="reward of correct, incorrect and truncated "
                       f"responses, such as 1,-1, or '{LOGGED}' for those of a log; {paid}")
    group.add_argument("--shaping", type=shaping, action="append", metavar="NAME(X=..)", help="make the reward "
                       "depend on length, as in 'LinearPenalty(slope=0.0001)'; lossim rewards lists them; repeatable, "
                       "in order")
    return group


def add_settings(group: argparse._ArgumentGroup, *, critics: bool = True) -> None:
    """Settings in which a scheme differs from its preset or config."""
    group.add_argument("--lambda", type=float, dest="gae_lambda", metavar="X", help="λ of GAE")
    if critics:
        names = "|".join(each.replace(" ", "-") for each in CRITICS)
        group.add_argument("--critic", type=critic, metavar=names, help="what the critic of GAE says: 0, the mean "
                           "of each class, the exact value, half of it; or a number")
    group.add_argument("--kl", type=float, metavar="X", help="coefficient of the KL: the scheme's own kind, or else "
                       "k3 in the loss; 0 for none")
    group.add_argument("--group-size", type=int, metavar="N", help="responses to each prompt")
    group.add_argument("--prompts", type=int, dest="prompts_per_step", metavar="N", help="prompts of a step")


def add_numbers(parser: argparse.ArgumentParser, number: Callable[[str], object] = float, *,
                medians: bool = True) -> None:
    """Responses by numbers; ``number`` reads one, or where that is asked a range."""
    group = parser.add_argument_group("responses, by means as trainers log them")
    for name, metavar, said in MEANS:
        group.add_argument(name, type=number, metavar=metavar, help=said)
    group.add_argument("--classes", type=int if number is float else number, metavar="N", help="classes of prompts, by "
                       "solve rate; all alike unless given")
    group.add_argument("--mean-of", type=one_of("all", "terminated"), metavar="all|terminated", help="whose mean "
                       "--mean-length is: of all responses (default), or of those that were not cut")
    if medians:
        laws = parser.add_argument_group("responses, by medians before the cut")
        laws.add_argument("--solve-rate", type=float, metavar="P", help="chance of a right response; --right and "
                          "--wrong are medians with it")
        laws.add_argument("--sigma", type=float, metavar="S", help="standard deviation of log length, 0.7 unless "
                          "given")


MEANS = (
    ("--accuracy", "P", "share of right responses"),
    ("--mean-length", "TOKENS", "mean length"),
    ("--right", "TOKENS", "mean length of right responses"),
    ("--wrong", "TOKENS", "mean length of wrong responses; right ones are as long unless something says otherwise"),
    ("--ratio", "X", "wrong over right"),
    ("--truncated", "P", "share cut; as few as the lengths allow unless given"),
    ("--spread", "S", "standard deviation of log length on a path, 0.5 unless given"),
    ("--premature", "P", "share of the wrong responses that stopped too early: a policy that works on its answers"),
    ("--verbosity", "TOKENS", "tokens of a right response after its answer, of such a policy"),
)
"""Arguments of :func:`lossim.policies.from_summary`."""


def add_reading(parser: argparse.ArgumentParser) -> None:
    """How a log is read."""
    group = parser.add_argument_group("reading a log")
    group.add_argument("--column", action="append", metavar="FIELD=NAME", help="the column of a field, such as "
                       "length=completion_length; an empty NAME: do not read it; repeatable, and rewards given several "
                       "times are summed, weighted as in reward=0.5*format")
    group.add_argument("--rows", metavar="NAME", help="the list of objects in each row, or in the file, that are the "
                       "responses, where several could be")
    group.add_argument("--tokenizer", metavar="FILE|NAME", help="for logs of text: a tokenizer.json, a "
                       "folder with one, a name in the Hugging Face cache, or MODULE:FUNCTION from text to its tokens "
                       "or their number; without one lengths are estimated")
    group.add_argument("--format", type=one_of(*FORMATS), metavar="|".join(FORMATS),
                       help="format of the files, told from their names unless given")
    group.add_argument("--correct-above", type=float, metavar="X", help="responses paid more are correct, where "
                       "the log has no grades")
    group.add_argument("--on-error", type=one_of("raise", "report"), metavar="raise|report",
                       help="bad rows: stop at the first (default), or leave them out and count them")
    group.add_argument("--paths", type=one_of(*PATHS), metavar="|".join(PATHS), help="whether right and wrong "
                       "responses are paths of their own (default), share one, share one on which they are done once "
                       "their answer is there, or take the paths that a column names")
    group.add_argument("--needed", type=_shares, metavar="S[,S]", help="shares of a right response's length at which "
                       "its answer was there, with --paths states; a column of the log, or 0.25,0.5,0.9, unless given")
    group.add_argument("--replicates", type=int, metavar="N", help="how often prompts are drawn again for standard "
                       "errors; 0 for none")


def add_curves(parser: argparse.ArgumentParser, *, column: bool) -> None:
    """How curves are read; ``column``: with their columns, which a log has too."""
    group = parser.add_argument_group("reading curves")
    if column:
        group.add_argument("--column", action="append", metavar="SERIES=NAME", help="the metric that is a series, such "
                           "as length=my/mean_length; an empty NAME: do not read it; repeatable")
    group.add_argument("--run", dest="run_name", metavar="NAME", help="which run, where a file holds several")
    group.add_argument("--kl-per", type=one_of("response", "token"), metavar="response|token", help="what the KL is a "
                       "mean over, where its name does not tell")
    group.add_argument("--paid", type=_pair, metavar="RIGHT,WRONG", help="what right and wrong responses are paid, to "
                       "read accuracy off the mean reward")
    group.add_argument("--responses", type=int, dest="responses_per_step", metavar="N", help="responses of a step")


def _pair(text: str) -> tuple[float, float]:
    with contextlib.suppress(ValueError):
        right, wrong = (float(part) for part in text.split(","))
        return right, wrong
    raise argparse.ArgumentTypeError(f"must be two numbers, got {text!r}; for example 1,0")


def add_print(group: argparse._ActionsContainer) -> None:
    """How an answer is printed."""
    group.add_argument("--json", action="store_true", help="strict JSON instead of text")
    group.add_argument("--color", type=one_of(*WHEN), metavar="|".join(WHEN), default="auto", help="colours in text: "
                       "auto, on a terminal; NO_COLOR and FORCE_COLOR in the environment say so for good")


def _ways(text: str) -> tuple[str, ...]:
    return tuple(map(one_of(*FAIL_IF), text.split(",")))


def add_output(parser: argparse.ArgumentParser, *, figure: bool = True, report: bool = True, verdict: bool = False,
               cap: Callable[[str], object] = int) -> None:
    """The cap, and how the answer comes out; ``verdict``: it says which way length goes."""
    parser.add_argument("--max-tokens", type=cap, metavar="N", help="cap on length; the config's unless given")
    group = parser.add_argument_group("output")
    add_print(group)
    if figure:
        group.add_argument("--figure", metavar="FILE", help=f"write a figure, {', '.join(FIGURES)}")
    if report:
        group.add_argument("--report", metavar="FILE", help="write a page of HTML that stands by itself, to hand on: "
                           "the verdict, what it rests on, what would change it, pictures")
    if verdict:
        group.add_argument("--fail-if", type=_ways, action="append", metavar="WAY[,...]", help="exit with code 3 if "
                           "the verdict of any scheme is longer, shorter or undecided; the answer is printed all the "
                           "same; repeatable")
    say = group.add_mutually_exclusive_group()
    say.add_argument("--progress", action="store_true", help="report progress on stderr, also if it is no terminal")
    say.add_argument("--quiet", action="store_true", help="report no progress")
