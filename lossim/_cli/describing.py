"""``lossim curves``, ``lossim pace`` and ``lossim fit``: what a run shows, how fast it goes, and its policy."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict, replace

from lossim._cli.answers import Answer, answered, given, progress
from lossim._cli.curves import read_curves, said, subject_of
from lossim._cli.logs import paths_of, read_log
from lossim._engine import Pace, pace
from lossim._fitting import fit
from lossim._support import checks
from lossim._support.plain import plain
from lossim._support.text import wrapped
from lossim.curves import Curves

__all__ = ["curves_of", "fit_of", "pace_of"]


def curves_of(args: Namespace) -> Answer:
    """``lossim curves``."""
    found = read_curves(args, args.max_tokens).describe(max_tokens=args.max_tokens)
    found = replace(found, notes=tuple(said(found.notes, args)))
    return answered(found.sections(), found.plot, None, [], found=found, verdict=found.verdict,
                    description=found.to_dict())


def pace_of(args: Namespace) -> Answer:
    """``lossim pace``."""
    subject, _, notes, payload = subject_of(args, None)
    curves = subject if isinstance(subject, Curves) else Curves.of(subject)
    found = pace(curves)
    lines = {"verdict": [f"pace: {found}"], "setting": wrapped("seen", [repr(curves)]),
             "numbers": _as_option(found, curves)}
    return answered(lines, None, None, notes, found=found, verdict=f"pace: {found}", pace=plain(asdict(found)),
                    **payload)


def fit_of(args: Namespace) -> Answer:
    """``lossim fit``."""
    rollouts, reading, cap, notes = read_log(args, None)
    paths, about_paths = paths_of(args, rollouts)
    if args.needed is not None and len(args.needed) > 1:
        checks.fail("--needed", args.needed, "must be one share where a policy is fitted", "ask for each by itself")
    found = fit(rollouts, paths=paths, needed=None if args.needed is None else args.needed[0], max_tokens=cap,
                correct_above=args.correct_above, progress=progress(args),
                **given(replicates=args.replicates, classes=args.classes))
    lines = found.sections()
    lines |= {name: text for name, text in reading.sections().items() if name != "notes"}
    return answered(lines, None, None, [*notes, *about_paths], found=found, verdict=lines["fit"][0],
                    fit=found.to_dict(), reading=reading.to_dict())


def _as_option(found: Pace, curves: Curves) -> list[str]:
    """The pace as an option of other commands."""
    steps = int(curves.steps[-1] - curves.steps[0])
    if found.by == "kl":
        return [f"  for drift and train: --pace {found.per_step:.3g}"]
    if found.by == "accuracy" and curves.accuracy is not None:
        middle, half = float(curves.accuracy[curves.accuracy == curves.accuracy].mean()), found.per_step * steps / 2.0
        if min(middle - half, middle + half) >= 0.0 and max(middle - half, middle + half) <= 1.0:
            return [f"  for drift and train: --pace {middle - half:.4g}:{middle + half:.4g}:{steps}"]
    return []
