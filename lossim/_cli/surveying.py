"""``lossim survey``: a question over what nobody knows, with ranges in place of numbers."""

from __future__ import annotations

import contextlib
from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast, get_args

from lossim._cli.answers import Answer, answered, flag, given, progress
from lossim._cli.schemes import Asked, asked_schemes
from lossim._surveying import Survey, log_range, survey
from lossim.schemes import Scheme, Truncation

__all__ = ["KERNEL", "survey_of", "unknown", "words"]

KERNEL = ("sharing", "class_sharing", "path_scale", "skill_scale")
"""Arguments of the coordinates that may be unknown."""
STARTS = ("accuracy", "mean_length", "right", "wrong", "ratio", "truncated", "mean_of", "spread", "premature",
          "verbosity", "classes", "max_tokens")
HOW = ("critic", "pace", *KERNEL)
EXAMPLE = "for example 0.4, 0.3:0.6 (a range), 0.7:2:log or 0.1,0.5,0.9"


def survey_of(args: Namespace) -> Answer:
    """``lossim survey``."""
    question, asked = _question(args)
    unknowns = given(**{name: getattr(args, name) for name in (*STARTS, *HOW)})
    missing = [flag(name) for name in ("accuracy", "max_tokens") if name not in unknowns]
    if not {"mean_length", "right", "wrong"} & set(unknowns):
        missing.append("--mean-length (or --right and --wrong)")
    if missing:
        raise ValueError(f"survey needs responses: give {', '.join(missing)}; each a number or a range, {EXAMPLE}")
    if not any(isinstance(value, tuple | list) or hasattr(value, "at") for value in unknowns.values()):
        raise ValueError(f"survey needs a range for at least one of {', '.join(map(flag, unknowns))}, {EXAMPLE}; with "
                         "numbers alone ask lossim drift")
    found = survey(question, unknowns, progress=progress(args), **given(draws=args.draws, seed=args.seed))
    verdict = f"{found.title}: {found.verdict}"
    way = "undecided" if found.verdict.startswith("undecided") else _commonest(found)
    return answered(found.sections(), found.plot, asked.config, asked.notes, ways={found.title: way}, found=found,
                    verdict=verdict, survey=found.to_dict())


def _commonest(found: Survey) -> str:
    """The answer that most draws have."""
    shares = (found.longer.value, found.shorter.value, found.still.value)
    return found.words[shares.index(max(shares))]


def _question(args: Namespace) -> tuple[Any, Asked]:
    """One scheme, two of them, two treatments of truncated responses, or a run of some steps."""
    text = args.question
    treatments = () if text is None or ":" not in text else tuple(text.split(":"))
    if text is not None and not treatments:
        if args.scheme is not None or args.config is not None:
            raise ValueError(f"survey asks of {text!r} already; leave out --scheme and --config, or the first word")
        args = Namespace(**{**vars(args), "scheme": text})
    asked = asked_schemes(Namespace(**{**vars(args), "critic": None}))
    schemes = asked.schemes
    told = {way for ways in args.fail_if or [] for way in ways} - {"undecided"}
    if told and (treatments or len(schemes) == 2):
        raise ValueError(f"--fail-if {min(told)} is for one scheme: of two a survey says which lengthens more; use "
                         "--fail-if undecided, or ask of one")
    if not schemes:
        raise ValueError("survey needs a question: a preset, as in lossim survey grpo ...; two, as in grpo,dapo; or "
                         "mask:keep with --scheme NAME")
    if treatments:
        schemes = _treated(schemes, treatments)
    if len(schemes) > 2:
        raise ValueError(f"survey compares two schemes, and there are {len(schemes)}; ask for two at a time")
    if args.steps is None:
        if args.pace is not None:
            raise ValueError("--pace is for a run; give --steps N too")
        return (schemes[0] if len(schemes) == 1 else schemes), asked
    if len(schemes) > 1:
        raise ValueError("--steps is for one scheme; leave it out to compare two")
    return [(schemes[0], args.steps)], asked


def _treated(schemes: Sequence[Scheme], treatments: Sequence[str]) -> tuple[Scheme, ...]:
    """One scheme with two treatments of truncated responses."""
    known = get_args(Truncation)
    if len(treatments) != 2 or len(schemes) != 1 or not set(treatments) <= set(known):
        raise ValueError(f"survey compares two treatments of truncated responses under one scheme, two of "
                         f"{', '.join(known)}, as in mask:keep, got {':'.join(treatments)!r}")
    return tuple(replace(schemes[0], truncation=cast(Truncation, each)) for each in treatments)


def unknown(text: str) -> Any:
    """A number, a range low:high, one in logarithms low:high:log, or choices a,b,c.

    >>> unknown("0.4"), unknown("0.3:0.6"), unknown("1,4")
    (0.4, (0.3, 0.6), [1, 4])
    >>> unknown("0.7:2:log")
    LogRange(low=0.7, high=2.0)
    """
    with contextlib.suppress(ValueError, TypeError):
        low, *rest = text.split(":")
        if not rest:
            choices = [_number(each) for each in text.split(",")]
            return choices if len(choices) > 1 else choices[0]
        if len(rest) == 1:
            return _number(low), _number(rest[0])
        if len(rest) == 2 and rest[1] == "log":
            return log_range(float(low), float(rest[0]))
    raise ArgumentTypeError(f"must be a number, low:high, low:high:log or a,b,c, got {text!r}; {EXAMPLE}")


def words(text: str) -> Any:
    """Critics by name, or their choices.

    >>> words("zero"), words("zero,class-mean")
    ('zero', ['zero', 'class mean'])
    """
    names = [each.strip().lower().replace("-", " ") for each in text.split(",")]
    return names if len(names) > 1 else names[0]


def _number(text: str) -> float:
    """A whole number as one."""
    return int(text) if text.strip().lstrip("+-").isdigit() else float(text)
