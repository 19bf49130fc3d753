"""The front door: a question asked of many starts, drawn from what is not known of one."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from typing import Any

import numpy as np

from lossim._engine import describe_scheme, versions
from lossim._model import Kernels
from lossim._support import checks
from lossim._support.executors import checked_executor, in_order
from lossim._support.progress import Progress
from lossim._support.types import FloatArray
from lossim._surveying.cells import MOVES, Chunk, answered
from lossim._surveying.questions import CRITICS, Answer, Question, asked
from lossim._surveying.result import Survey
from lossim._surveying.unknowns import Unknown, label, unknown, values
from lossim.critics import Critic
from lossim.policies import Policy, from_summary

CHUNK = 16
"""Draws that are sent to a worker at once."""


def survey(question: Any, unknowns: Mapping[str, Any], *, start: Callable[..., Policy] = from_summary,
           draws: int = 256, executor: Executor | None = None, progress: bool = False, seed: int = 0) -> Survey:
    """Ask a question of starts that are drawn from what is not known: how often is the answer yes, and what decides?

    Draws are a Latin hypercube over the unknowns, each by its inverse cdf: of n draws one falls into each n-th part of
    every unknown. Their number answers alone; an unknown's law is an assumption of whoever asks.

    Args:
        question: a :class:`~lossim.Scheme` (which way does length go?); two of them (which lengthens more? for mask
            against keep, ``(dataclasses.replace(scheme, truncation="mask"), scheme)``); a sequence of (scheme, steps)
            or (scheme, steps, weights of the prompt classes from there on, as in `Policy.reweighted`) (where does
            training lead, phase after phase in the mean field?); or a function of a policy that gives a number (is it
            above 0?). A callable object with a method ``of_each`` is asked of several policies at once: it takes a list
            of them and returns as many numbers; where it raises they are asked one by one.
        unknowns: by the name of an argument of ``start``, one value (known), ``(low, high)`` (all alike),
            ``ls.log_range(low, high)``, a list (choices, all alike) or a frozen distribution of scipy.stats. And by
            name, what is no argument of a start: ``critic`` (critics, or "zero", "class mean", "exact") for schemes
            that have one; ``coordinates``, or the arguments of :func:`lossim.coordinates` (``sharing``,
            ``class_sharing``, ``path_scale``, ``bins``, ``skill_scale``, ...); ``kernels``, the family of which each
            draw has one member by which it moves, :func:`lossim.kernels` unless coordinates are given, or None for
            those of the start (its ``count`` is the number of draws); for training ``pace`` (nats of KL per response of
            the first step of a phase, 0.001 unless given; the learning rate is what gives that) and ``steps`` (of every
            phase). What must be whole is rounded. What is not settled about a scheme (``scheme.doubts``) is drawn too,
            as far as it is known what each possibility does; under its name one of them can be chosen.
        start: a function that returns a policy: :func:`~lossim.policies.from_summary`,
            :func:`~lossim.policies.reasoning`, or your own.
        draws: how many, at least 16.
        executor: any :class:`concurrent.futures.Executor` (one of processes needs ``start`` and ``question`` to be
            picklable); the result is the same to the last bit whoever computes it.
        progress: report draws on stderr.
        seed: of the draws.

    Returns:
        A :class:`Survey`. Draws that no policy has, or that cannot be answered, are counted in ``.failures`` by what
        stood in the way.

    Raises:
        NoClosedForm: the question has no exact answer.
        ValueError: bad arguments; or every draw failed.

    >>> import lossim as ls
    >>> asked = ls.survey(ls.schemes.grpo(), dict(mean_length=1000, accuracy=(0.2, 0.5), max_tokens=4096,
    ...                                           ratio=ls.log_range(0.7, 2.0)), draws=64)
    >>> print(asked.verdict)
    shorter in 69 % of 64 draws [56, 80 %]: depends mostly on `ratio`
    """
    asks = asked(question)
    _check_options(start, progress)
    executor = checked_executor(executor)
    count = checks.whole("draws", draws, low=16, fix="fewer say little of a share")
    seed = checks.whole("seed", seed, low=0)
    checks.of_kind("unknowns", unknowns, Mapping, "a mapping of names to what is known of them",
                   "for example {'accuracy': (0.2, 0.5)}")
    own = _check_names(asks, start, unknowns)
    kernels = _kernels(unknowns, own, count, seed)
    unknowns = {name: given for name, given in unknowns.items() if name != "kernels" or name in own}
    unknowns = {name: options for name, options in asks.unsettled.items() if name not in own} | dict(unknowns)
    drawn, known = _apart(unknowns)
    if not drawn and kernels is None:
        checks.fail("unknowns", dict(unknowns), "must leave something unknown", "give a range, as in (0.2, 0.5)")
    u = latin_hypercube(count, len(drawn), seed)
    columns = {name: values(name, each, column) for (name, each), column in zip(drawn.items(), u.T, strict=True)}
    _check_critics(columns.get("critic", [known.get("critic")]) if "critic" not in own else [])
    for name, options in asks.unsettled.items():
        for chosen in (columns.get(name) or [known[name]]) if name not in own else ():
            checks.choice(name, chosen, options)
    rows = [known | {name: column[draw] for name, column in columns.items()} for draw in range(count)]
    chunks = [Chunk(question=asks, start=start, own=own, kernels=kernels, first=first,
                    draws=tuple(rows[first:first + CHUNK]))
              for first in range(0, count, CHUNK)]
    answers = _collected(in_order(answered, chunks, executor), count, progress)
    if all(answer.failed for answer in answers):
        checks.fail("unknowns", dict(unknowns), f"must leave a start that can be answered: all {count:,} draws failed, "
                    f"the first by: {answers[0].message}", "change what stands in the way")
    provenance = {"start": getattr(start, "__name__", repr(start)), "draws": count, "seed": seed,
                  "kernels": kernels if kernels is None else repr(kernels),
                  "schemes": [describe_scheme(scheme) for scheme in asks.schemes], "versions": versions()}
    parts = _parts(answers)
    ranks = [column.argsort().argsort() / count for column in parts.values()]
    laws = {f"kernels.{part}": kernels.law(part.split()[0]) for part in parts} if kernels is not None else {}
    made = {name: np.array(_column(column)) for name, column in columns.items()}
    return Survey.of(asks, answers, columns=made | dict(zip(laws, parts.values(), strict=True)),
                     u=np.column_stack([u, *ranks]), unknowns={name: str(each) for name, each in drawn.items()} | laws,
                     known={name: label(value) for name, value in known.items()}, provenance=provenance)


def _parts(answers: Iterable[Answer]) -> dict[str, FloatArray]:
    """The kernels that were drawn, by their parts, [draw]; NaN where a draw has none."""
    found = [answer.kernel for answer in answers]
    names = dict.fromkeys(name for kernel in found for name in kernel)
    return {name: np.array([kernel.get(name, np.nan) for kernel in found]) for name in names}


def _kernels(unknowns: Mapping[str, Any], own: frozenset[str], draws: int, seed: int) -> Kernels | None:
    """The family of which each draw has a member; None where coordinates are given, or no family is wanted."""
    fixed = [name for name in ("coordinates", *MOVES) if name in unknowns and name not in own]
    fixed += ["coordinates"] if "coordinates" in unknowns else []
    if "kernels" not in unknowns or "kernels" in own:
        return None if fixed else Kernels(count=draws, seed=seed)
    given = unknowns["kernels"]
    if given is None:
        return None
    checks.of_kind("kernels", given, Kernels, "a family of kernels", "for example kernels(sharing=(0.9, 1.0)); for "
                   "those that you know, coordinates=[...]")
    if fixed:
        checks.fail("unknowns", fixed[0], "cannot be given together with kernels", "leave one of them out")
    return dataclasses.replace(given, count=draws)


def _apart(unknowns: Mapping[str, Any]) -> tuple[dict[str, Unknown], dict[str, Any]]:
    """What is unknown, and what is known, by name."""
    drawn: dict[str, Unknown] = {}
    known: dict[str, Any] = {}
    for name, given in unknowns.items():
        found = unknown(name, given)
        if found is None:
            known[name] = given
        else:
            drawn[name] = found
    return drawn, known


def latin_hypercube(draws: int, unknowns: int, seed: int) -> FloatArray:
    """Points in the unit cube, [draw, unknown], one in each of the ``draws`` slices of every unknown."""
    from scipy.stats import qmc  # takes longer to import than lossim does

    return qmc.LatinHypercube(d=unknowns, seed=np.random.default_rng(seed)).random(draws)


def _column(drawn: list[Any]) -> list[Any]:
    """What was drawn for an unknown as a column: numbers, or text."""
    numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in drawn)
    return drawn if numbers else [label(x) for x in drawn]


def _collected(results: Iterable[list[Answer]], count: int, progress: bool) -> list[Answer]:
    """The answers in the order of the draws."""
    answers: list[Answer] = []
    with Progress(progress) as report:
        for some in results:
            answers += some
            report.say(f"survey: {len(answers):,} of {count:,} draws")
    return answers


# --- what is refused --------------------------------------------------------------------------------------------


def _check_options(start: Any, progress: Any) -> None:
    """A start that can be called."""
    if not callable(start):
        checks.fail("start", start, "must be a function that returns a policy", "for example policies.from_summary",
                    TypeError)
    checks.flag("progress", progress)


def _check_names(question: Question, start: Callable[..., Policy], unknowns: Mapping[str, Any]) -> frozenset[str]:
    """Refuse names that nothing takes, and starts that lack an argument; the names that the start takes."""
    parameters = inspect.signature(start).parameters.values()
    named = [each for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    others = (*question.names, *question.unsettled, "kernels", "coordinates", *MOVES)
    taken = [each.name for each in named]
    anything = any(each.kind == each.VAR_KEYWORD for each in parameters)
    for name in unknowns:
        if name not in taken and name not in others:
            if anything:
                taken.append(name)
                continue
            if name == "critic":
                checks.fail("unknowns", name, "must not be asked for: no scheme of the question has a critic")
            if name in ("pace", "steps"):
                checks.fail("unknowns", name, "must not be asked for: nothing is trained", "ask [(scheme, steps)]")
            checks.choice("name in unknowns", name, dict.fromkeys((*taken, *others)))
    missing = [each.name for each in named if each.default is each.empty and each.name not in unknowns]
    if missing:
        checks.fail("unknowns", list(unknowns), f"must also have {', '.join(missing)}, which the start needs",
                    "give a value, a range, choices or a distribution")
    moves = [name for name in MOVES if name in unknowns and name not in taken]
    if moves and "coordinates" in unknowns:
        checks.fail("unknowns", moves[0], "cannot be given together with coordinates", "leave one of them out")
    return frozenset(name for name in unknowns if name in taken) | ({"coordinates"} & set(taken))


def _check_critics(critics: Iterable[Any]) -> None:
    """Critics are critics, or known by name."""
    for critic in critics:
        if isinstance(critic, str):
            checks.choice("critic", critic, CRITICS)
        elif critic is not None:
            checks.of_kind("critic", critic, Critic, "a critic, or one of " + ", ".join(map(repr, CRITICS)))
