"""``lossim train``: where some steps of a scheme lead, in the mean field."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

import numpy as np

from lossim._cli.answers import Answer, answered, progress, refuse
from lossim._cli.numbers import policy_of
from lossim._cli.schemes import one_scheme
from lossim._engine import pace
from lossim._support.text import noted, wrapped
from lossim._training import Training, train
from lossim.optimizers import SGD

__all__ = ["pace_of_run", "train_of"]

PACE = 3e-6
"""Nats of KL per response of the first step, unless something is said of it."""


def train_of(args: Namespace) -> Answer:
    """``lossim train``."""
    asked = one_scheme(args, "train")
    if args.steps is None:
        raise ValueError("train needs to know how long: give --steps N")
    policy, notes = policy_of(args, asked.config, "train")
    scheme = asked.schemes[0]
    how, about_pace = pace_of_run(args)
    found = train(scheme, policy, steps=args.steps, progress=progress(args), **how)
    verdict = f"{scheme.name}: {found.verdict}"
    printed = found.sections()
    said = {"verdict": [verdict], "setting": [*wrapped("scheme", scheme.slots), *wrapped("policy", [repr(policy)])],
            "run": printed["title"], "numbers": printed["numbers"], "notes": noted(found.notes)}
    return answered(said, found.plot, asked.config, [*asked.notes, *notes, *about_pace],
                    ways={scheme.name: _way(found)}, found=found, verdict=verdict, training=found.to_dict())


def _way(found: Training) -> str:
    """Which way mean length went, of the median replicate, where that hangs on nothing unknown."""
    if found.undecided:
        return "undecided"
    change = float(np.median(found.length[-1] - found.length[0]))
    return "longer" if change > 0.0 else "shorter" if change < 0.0 else "nothing moves"


def pace_of_run(args: Namespace) -> tuple[dict[str, Any], list[str]]:
    """How fast it goes: by a learning rate, or so that the first step goes as far as is said."""
    if args.learning_rate is not None:
        refuse(args, ("pace",), "is another way to say --learning-rate; leave one of them out")
        return {"optimizer": SGD(learning_rate=args.learning_rate)}, []
    if args.pace is not None:
        return {"pace": args.pace}, []
    return {"pace": pace(kl_per_step=PACE)}, [
        f"assumed: the first step moves the policy by {PACE:g} nats per response; how fast a run goes its first steps "
        "tell, as --pace FROM:TO:STEPS (accuracy) or --pace NATS"]
