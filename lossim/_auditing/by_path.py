"""The paths that a log names, over its steps: how often each was taken, and how often it was right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lossim._auditing.log import Log, widening
from lossim._support.quotients import quotient
from lossim._support.text import Note
from lossim._support.types import FloatArray
from lossim.estimates import Estimate

QUARTERS = 4
SURE = 2.0
"""Standard errors beyond which a gap in accuracy is taken to have closed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ByPath:
    """The named paths of a log over its steps.

    Attributes:
        names: the paths.
        steps: first and last step of each run of steps, about a quarter of them.
        share: [run, path], how often each path was taken.
        accuracy: [run, path], P(correct | path); NaN where it was not taken. Standard errors from redrawn prompts.
    """

    names: tuple[str, ...]
    steps: tuple[tuple[int, int], ...]
    share: Estimate
    accuracy: Estimate
    notes: tuple[Note, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        return {"names": list(self.names), "steps": [list(run) for run in self.steps], "share": self.share.to_dict(),
                "accuracy": self.accuracy.to_dict()}


def by_path(log: Log, weights: FloatArray) -> ByPath:
    """Counts of a log by path, with what becomes of them where blocks are redrawn so often, [replicate, block]."""
    steps = len(log.steps)
    run_of_step = np.arange(steps) * min(steps, QUARTERS) // steps
    runs = int(run_of_step[-1]) + 1
    paths = len(log.path_names)
    counts = np.zeros((log.blocks, runs, paths, 2))
    kind_size = 2 * log.shape[2]
    for slab in log.slabs():
        kind, rest = np.divmod(slab.place, kind_size)
        grade = rest // log.shape[2]
        at = np.ravel_multi_index((slab.each(slab.block), slab.each(run_of_step[slab.step]), kind % paths, grade),
                                  counts.shape)
        np.add.at(counts.ravel(), at, 1.0)

    def read(x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Shares and accuracies [..., run, path] of counts [..., run, path, grade]."""
        taken = x.sum(axis=-1)
        share = quotient(taken, taken.sum(axis=-1, keepdims=True), nothing=np.nan)
        return share, quotient(x[..., 0], taken, nothing=np.nan)

    share, accuracy = read(counts.sum(axis=0))
    drawn_share, drawn = read(np.tensordot(weights, counts, axes=1))

    def estimate(value: FloatArray, redrawn: FloatArray) -> Estimate:
        spread = np.full(value.shape, np.nan)
        if len(redrawn):
            spread = widening(log.blocks) * np.sqrt(np.nanmean((redrawn - value) ** 2, axis=0))
        return Estimate(value=value, stderr=spread, n=len(redrawn), method="bootstrap")

    ends = np.flatnonzero(np.diff(run_of_step, append=runs))
    firsts = np.append(0, ends[:-1] + 1)
    return ByPath(names=log.path_names, share=estimate(share, drawn_share), accuracy=estimate(accuracy, drawn),
                  steps=tuple((int(log.steps[a]), int(log.steps[b])) for a, b in zip(firsts, ends, strict=True)),
                  notes=tuple(_turns(log.path_names, share, accuracy, drawn, widening(log.blocks))))


def _turns(names: tuple[str, ...], share: FloatArray, accuracy: FloatArray, drawn: FloatArray, wide: float
           ) -> list[Note]:
    """Where a path that lost share is catching up in accuracy with the one that gained most: its share may turn."""
    if len(share) < 2 or not len(drawn):
        return []
    notes = []
    leader = int(np.nanargmax(share[-1] - share[0]))
    for path, name in enumerate(names):
        gap = accuracy[[0, -1], leader] - accuracy[[0, -1], path]
        redrawn = drawn[:, [0, -1], leader] - drawn[:, [0, -1], path]
        closed = gap[0] - gap[1]
        noise = wide * float(np.nanstd(redrawn[:, 0] - redrawn[:, 1]))
        if share[-1, path] < share[0, path] and gap[0] > 0 and closed > SURE * noise:
            notes.append(Note("turn", f"the path {name} is catching up with {names[leader]}, to which it lost share: "
                              f"it was right {gap[0]:.3f} less often at first and {gap[1]:.3f} at last; if that goes "
                              "on, its share turns round"))
    return notes
