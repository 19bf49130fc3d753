"""``lossim drift``: what schemes do to a policy, given by numbers or fitted to a log."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from typing import Any

import numpy as np

from lossim._cli.answers import LOGGED, Answer, answered, given, progress, refuse
from lossim._cli.logs import read_log
from lossim._cli.numbers import NUMBERS, policy_of
from lossim._cli.schemes import Asked, asked_schemes
from lossim._cli.tables import side_by_side, side_of_drift, ways
from lossim._engine import drift
from lossim._fitting import FittedDrift, fit
from lossim._support import checks
from lossim._support.text import wrapped

__all__ = ["drift_of"]


def drift_of(args: Namespace) -> Answer:
    """``lossim drift``."""
    asked = asked_schemes(args)
    if not asked.schemes:
        raise ValueError("drift needs a scheme: give --scheme NAME, or several with --compare NAME,... or --compare "
                         "all, or --config FILE")
    if args.log is not None:
        return _of_log(args, asked)
    return _of_one(args, asked) if len(asked.schemes) == 1 else _of_several(args, asked)


def _of_one(args: Namespace, asked: Asked) -> Answer:
    scheme, = asked.schemes
    policy, notes = policy_of(args, asked.config, "drift")
    found = drift(scheme, policy, **_how(args))
    return answered(found.sections(), found.plot, asked.config, [*asked.notes, *notes],
                    ways=ways([side_of_drift(found)]), found=found,
                    verdict=f"{scheme.name}: {found.verdict}", drift=found.to_dict(arrays=False))


def _of_several(args: Namespace, asked: Asked) -> Answer:
    if args.figure is not None:
        raise ValueError("--figure draws one scheme; give --scheme NAME without --compare")
    policy, notes = policy_of(args, asked.config, "drift")
    found = [drift(scheme, policy, **_how(args)) for scheme in asked.schemes]
    said = side_by_side(found)
    if asked.config is not None:
        said["slots"] = wrapped("scheme", asked.schemes[0].slots)  # which nothing else prints
    drifts = [{"scheme": each.scheme.name, "verdict": each.verdict, **each.to_dict(arrays=False)} for each in found]
    return answered(said, None, asked.config, [*asked.notes, *notes], ways=ways(list(map(side_of_drift, found))),
                    found=found, verdict=said["verdict"][0], drifts=drifts)


def _of_log(args: Namespace, asked: Asked) -> Answer:
    refuse(args, NUMBERS, "is for responses by numbers; leave it out, or leave out --log")
    if len(asked.schemes) > 1:
        raise ValueError(f"drift fits a log for one scheme; for several use lossim audit LOG --compare "
                         f"{','.join(each.name for each in asked.schemes)}")
    scheme, = asked.schemes
    rollouts, reading, cap, about_log = read_log(args, asked.config)
    notes = [*asked.notes, *about_log]
    if args.correct_above is not None:
        rollouts = replace(rollouts, correct=np.asarray(rollouts.rewards > args.correct_above))
        notes.append(f"grades are read off the rewards: above {args.correct_above:g} is correct")
    if args.needed is not None and len(args.needed) > 1:
        checks.fail("--needed", args.needed, "must be one share where a policy is fitted", "ask for each by itself")
    needed = None if args.needed is None else args.needed[0]
    fitted = fit(rollouts, paths=args.paths or "outcome", needed=needed, max_tokens=cap,
                 **given(replicates=args.replicates))
    if args.reward == LOGGED:
        refuse(args, ("shaping",), f"shapes what a rule pays, and --reward {LOGGED} pays the means of the log")
        scheme = replace(scheme, reward=fitted.reward)
    if args.reward is None:
        notes.append(f"{scheme.reward.text}, whatever the log paid; --reward {LOGGED} pays the means of the log")
    refuse(args, ("pace",), "is for responses by numbers here; lossim pace LOG reads that of a log")
    found = fitted.drift(scheme, **_how(args))
    said = found.sections() | {"scheme": wrapped("scheme", scheme.slots)}
    said |= {name: lines for name, lines in fitted.sections().items() if name != "notes"}  # the drift has them
    said |= reading.sections()
    return answered(said, found.drift.plot, asked.config, notes, ways={scheme.name: _way(found)}, found=found.drift,
                    verdict=f"{scheme.name}: {found.verdict}", drift=found.to_dict(arrays=False),
                    fit=fitted.to_dict(), reading=reading.to_dict())


def _way(found: FittedDrift) -> str:
    """Which way length goes, as far as the log is large enough to tell."""
    if found.all_alike:
        return "nothing moves"
    (way,) = ways([side_of_drift(found.drift)]).values()
    return way if found.verdict == found.drift.verdict else "undecided"


def _how(args: Namespace) -> dict[str, Any]:
    """Exact sums, or so many sampled batches."""
    how: dict[str, Any] = {"progress": progress(args)}
    if args.pace is not None:
        how["pace"] = args.pace
    if args.batches is not None:
        how |= {"method": "monte_carlo", "batches": args.batches, "rng": np.random.default_rng(0)}
    return how
