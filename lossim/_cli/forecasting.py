"""``lossim forecast``: where mean length goes, from the first steps of a run."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from typing import Any

import numpy as np

from lossim._cli.answers import LOGGED, Answer, answered, given, progress
from lossim._cli.curves import said, subject_of
from lossim._cli.schemes import Asked, one_scheme
from lossim._forecasting import Forecast, forecast
from lossim.curves import Curves

__all__ = ["forecast_of"]


def forecast_of(args: Namespace) -> Answer:
    """``lossim forecast``."""
    asked = one_scheme(args, "forecast")
    if args.steps is None:
        raise ValueError("forecast needs to know how far: give --steps N, steps after the last one")
    if args.reward == LOGGED:
        raise ValueError(f"--reward {LOGGED} is for an audit; give what responses are paid, as in --reward 1,-1")
    subject, cap, notes, payload = subject_of(args, asked.config)
    scheme = asked.schemes[0]
    how: dict[str, Any] = given(first=args.first)
    if isinstance(subject, Curves):
        subject, more = _sized(subject, asked, args)
        notes += more
    elif args.paths is not None:
        how["paths"] = args.paths
    found = forecast(scheme, subject, steps=args.steps, max_tokens=cap, progress=progress(args), **how)
    found = replace(found, notes=tuple(said(found.notes, args)))
    return answered(found.sections(), found.plot, asked.config, [*asked.notes, *notes],
                    ways={scheme.name: _way(found)}, found=found, verdict=f"{scheme.name}: {found.verdict}",
                    forecast=found.to_dict(), **payload)


def _way(found: Forecast) -> str:
    """Which way length goes at the last step, where that is known with a chance of nine tenths."""
    if np.isnan(found.longer[-1]):
        return "nothing moves"
    if not found.decided:
        return "undecided"
    return "longer" if found.longer[-1] > 0.5 else "shorter"


def _sized(curves: Curves, asked: Asked, args: Namespace) -> tuple[Curves, list[str]]:
    """Curves with the responses of a step, where a config or the options tell them."""
    told = asked.config is not None or (args.group_size is not None and args.prompts_per_step is not None)
    if curves.responses_per_step is not None or not told:
        return curves, []
    count = asked.schemes[0].responses_per_step
    return replace(curves, responses_per_step=count), [f"a step has {count:,} responses, as the scheme has it"]
