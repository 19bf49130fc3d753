"""Other settings on the same log: what each change does to the drift, and where that is zero."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from lossim._auditing.bootstrap import FEW, Spread, read_together, redraw
from lossim._auditing.breakdown import Covariance
from lossim._auditing.doubts import all_doubts
from lossim._auditing.on_log import OnLog
from lossim._auditing.plugin import Plugin
from lossim._changes import Stop, WhatIf, changed, chosen_knobs, found_stops
from lossim._support.types import FloatArray


def what_if(plugin: Plugin, weights: FloatArray, before: str = "") -> tuple[WhatIf, ...]:
    """The same log under other settings, and as it is if that has a name; cells alike are redrawn alike.

    What nobody knows of the critic and of the scheme is looked at as it is alone.
    """
    few = weights[:FEW]
    settings = [(before, plugin)] if before else []
    settings += [(words, other.plugin) for words, other in changed(OnLog(plugin=plugin))]
    found: list[WhatIf] = []
    for cells, group in groupby(settings, key=lambda setting: setting[1].cells):
        some = list(group)
        covariances = [Covariance(cells.log) for _ in some]
        read = read_together([other for _, other in some], covariances)
        spreads = [(words, covariance, Spread(other, sums))
                   for (words, other), covariance, sums in zip(some, covariances, read, strict=True)]
        redraw([spread for _, _, spread in spreads], few)
        found += [WhatIf(change=words, covariance=covariance.estimate(few),
                         doubts=all_doubts(spread, weights) if words == before else spread.doubts,
                         length_per_kl=spread.ratios.length_per_kl,
                         length=spread.estimate(spread.changes.length, spread.stderr.length))
                  for words, covariance, spread in spreads]
    return tuple(found)


def stops(plugin: Plugin, say: Callable[[str], None], knob: str | None = None) -> tuple[Stop, ...]:
    """For each knob, or the one of that name, where the drift is zero, by root finding on the log itself."""
    return found_stops(chosen_knobs(OnLog(plugin=plugin), knob), say)
