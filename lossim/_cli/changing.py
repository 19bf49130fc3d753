"""``lossim what-if``, ``attribute`` and ``stops``: other settings, who makes a difference, what holds length."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np

from lossim._cli.answers import Answer, answered, given, progress, refuse
from lossim._cli.logs import paths_of, read_log
from lossim._cli.numbers import NUMBERS, policy_of
from lossim._cli.schemes import Asked, asked_schemes, one_scheme, rule_of
from lossim._cli.training import pace_of_run
from lossim._verbs import attribute, stops, what_if

__all__ = ["attribution_of", "stops_of", "what_if_of"]


def what_if_of(args: Namespace) -> Answer:
    """``lossim what-if``."""
    asked = one_scheme(args, "what-if")
    subject, how, notes, payload = _subject(args, asked, "what-if", given(replicates=args.replicates))
    found = what_if(asked.schemes[0], subject, **how)
    return _said(found, asked, notes, payload | {"what_if": found.to_dict()})


def attribution_of(args: Namespace) -> Answer:
    """``lossim attribute``: from the first scheme to the others, in the order in which they are given."""
    asked = asked_schemes(args)
    if len(asked.schemes) < 2:
        raise ValueError("attribute needs two schemes or more: give --scheme NAME or --config FILE and --compare "
                         "NAME,..., or several names to --compare")
    first, *others = asked.schemes
    subject, how, notes, payload = _subject(args, asked, "attribute", given(replicates=args.replicates))
    found = attribute(others, subject, relative_to=first, **how)
    return answered(found.sections(), found.plot, asked.config, notes, found=found, verdict=found.verdict, **payload,
                    attribution=found.to_dict())


def stops_of(args: Namespace) -> Answer:
    """``lossim stops``."""
    asked = one_scheme(args, "stops")
    refuse(args, ("replicates",), "is not for stops, for which no prompts are drawn again; leave it out")
    subject, how, notes, payload = _subject(args, asked, "stops", {})
    if args.length is None and args.steps is None:
        refuse(args, ("pace", "learning_rate"), "is for a run that is to reach a length; give --length and --steps")
    else:
        refuse(args, ("batches",), "is for one step, not for a run; leave it out")
        paced, about_pace = pace_of_run(args)
        how |= given(length=args.length, steps=args.steps) | paced
        notes = [*notes, *about_pace]
    knob = None if args.knob is None else args.knob.replace("-", "_")
    found = stops(asked.schemes[0], subject, knob, **how)
    return _said(found, asked, notes, payload | {"stops": found.to_dict()})


def _subject(args: Namespace, asked: Asked, command: str, more: dict[str, Any]
             ) -> tuple[Any, dict[str, Any], list[str], dict[str, Any]]:
    """A policy or a log, how it is asked, notes, and what JSON says of it."""
    if not args.log:
        policy, notes = policy_of(args, asked.config, command)
        how: dict[str, Any] = {"progress": progress(args)}
        if args.batches is not None:
            how |= {"method": "monte_carlo", "batches": args.batches, "rng": np.random.default_rng(0)}
        return policy, how, [*asked.notes, *notes], {}
    refuse(args, NUMBERS, "is for responses by numbers; leave it out, or leave out the log")
    refuse(args, ("batches",), "is for responses by numbers: nothing is sampled on a log")
    rollouts, reading, cap, notes = read_log(args, asked.config)
    paths, about_paths = paths_of(args, rollouts)
    how = {"reward": rule_of(args, asked), "paths": paths, "needed": args.needed, "max_tokens": cap,
           "correct_above": args.correct_above, "progress": progress(args), **more}
    return rollouts, how, [*asked.notes, *notes, *about_paths], {"reading": reading.to_dict()}


def _said(found: Any, asked: Asked, notes: list[str], payload: dict[str, Any]) -> Answer:
    scheme = asked.schemes[0]
    return answered(found.sections(), None, asked.config, notes, found=found,
                    verdict=f"{scheme.name}: {found.verdict}", **payload)
