"""``lossim train``: where some steps of a scheme lead, in the mean field."""

from __future__ import annotations

from argparse import Namespace

import numpy as np

from lossim._cli.answers import Answer, answered, progress
from lossim._cli.numbers import policy_of
from lossim._cli.schemes import one_scheme
from lossim._engine import headline
from lossim._support import checks
from lossim._support.text import noted, wrapped
from lossim._training import train
from lossim.optimizers import SGD
from lossim.policies import Policy
from lossim.schemes import Scheme

__all__ = ["train_of"]

PACE = 3e-6
"""Nats of KL per response of the first step, unless something is said of it."""


def train_of(args: Namespace) -> Answer:
    """``lossim train``."""
    asked = one_scheme(args, "train")
    if args.steps is None:
        raise ValueError("train needs to know how long: give --steps N")
    policy, notes = policy_of(args, asked.config, "train")
    scheme = asked.schemes[0]
    rate, about_rate = _rate(args, scheme, policy)
    found = train(scheme, policy, steps=args.steps, optimizer=SGD(learning_rate=rate), progress=progress(args))
    change = found.length[-1] - found.length[0]
    gained = found.accuracy[-1] - found.accuracy[0]
    verdict = (f"{scheme.name}: {change:+.3g} tokens and {100.0 * gained:+.2g} points of accuracy in {found.steps:,} "
               "steps")
    printed = found.sections()
    said = {"verdict": [verdict], "setting": [*wrapped("scheme", scheme.slots), *wrapped("policy", [repr(policy)])],
            "run": printed["verdict"], "numbers": printed["numbers"], "notes": noted(found.notes)}
    return answered(said, found.plot, asked.config, [*asked.notes, *notes, *about_rate], verdict=verdict,
                    training=found.to_dict())


def _rate(args: Namespace, scheme: Scheme, policy: Policy) -> tuple[float, list[str]]:
    """The learning rate: as given, or the one of a first step of so many nats."""
    if args.learning_rate is not None:
        if args.pace is not None:
            raise ValueError("--pace is another way to say --learning-rate; leave one of them out")
        return checks.positive("learning_rate", args.learning_rate), []
    pace = PACE if args.pace is None else checks.positive("pace", args.pace)
    nats = headline(scheme, policy).nats
    rate = float(np.sqrt(pace / nats)) if nats > 0 else 1.0
    assumed = "" if args.pace is not None else "assumed: "
    return rate, [f"{assumed}the first step moves the policy by {pace:g} nats per response (--pace), a learning rate "
                  f"of {rate:.3g}; what a run's pace is, its first steps tell"]
