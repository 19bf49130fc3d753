"""Attribution on a log: mixtures of two schemes side by side, and how each share scatters where it is redrawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lossim._auditing.asked import Asked, asked_of
from lossim._auditing.bootstrap import FEW, Spread, read, redraw
from lossim._auditing.doubts import asides_of
from lossim._auditing.log import widening
from lossim._auditing.on_log import ROUNDING_OF_DRIFT
from lossim._changes import Attribution, Numbers, Setting, attributed, path_of
from lossim._engine import FIRST_STEP, unsettled_notes
from lossim._support import checks
from lossim._support.progress import Progress
from lossim._support.text import Note
from lossim._support.types import FloatArray
from lossim.rollouts import AnyLog, as_rollouts
from lossim.schemes import Scheme

TOGETHER = 8
"""Mixtures that are redrawn side by side."""


def attribution_of_log(scheme: Scheme | Sequence[Scheme], rollouts: AnyLog, *, relative_to: Scheme,
                       progress: bool = False, **reading: Any) -> Attribution:
    """See :func:`lossim.attribute`; other keywords are those by which :func:`lossim.audit` reads a log."""
    path = path_of(scheme, relative_to)
    rollouts = as_rollouts(rollouts)
    asked = asked_of(rollouts, path, **reading)
    weights = asked.weights[:FEW]
    paid = "as logged" if asked.plugins[0].rule is None else "as reward= says"
    setting = Setting(look=partial(_looked, asked, weights), method="bootstrap", n=len(weights),
                      idle=FIRST_STEP | {"reward": f"an audit, which pays {paid}"},
                      widening=widening(asked.log.blocks))
    with Progress(checks.flag("progress", progress)) as reporter:
        drifts, shares, notes = attributed(path, setting, reporter.say)
    read_as = Note("reading", f"the log is read with paths={asked.plugins[0].cells.paths!r}")
    unsettled = [note for each in path for note in unsettled_notes(each)]
    return Attribution(schemes=path, subject=repr(rollouts), drifts=drifts, shares=shares, provenance=asked.provenance,
                       notes=(*notes, *dict.fromkeys(unsettled), *asides_of(asked.log), read_as, *asked.notes))


def _looked(asked: Asked, weights: FloatArray, schemes: Sequence[Scheme]) -> list[Numbers]:
    """Each scheme on the log, redrawn alike for all."""
    plugins = [replace(asked.plugins[0], scheme=scheme) for scheme in schemes]
    found = []
    for start in range(0, len(plugins), TOGETHER):
        spreads = [Spread(plugin, read(plugin)) for plugin in plugins[start:start + TOGETHER]]
        redraw(spreads, weights)
        found += [_numbers(spread, len(weights)) for spread in spreads]
    return found


def _numbers(spread: Spread, draws: int) -> Numbers:
    kernels = [doubt.lengths for doubt in spread.doubts]
    lengths = np.array([float(spread.changes.length), float(spread.ratios.length_per_kl)])
    drawn = spread.lengths_drawn if spread.count else np.full((2, draws), np.nan)
    values = np.concatenate([lengths, *kernels])
    return Numbers(values=values, errors=ROUNDING_OF_DRIFT * np.abs(values), draws=drawn)
