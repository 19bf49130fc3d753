"""What would stop the drift: for each knob the value at which mean length no longer moves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from lossim._auditing.bootstrap import length_now
from lossim._auditing.findings import Stop
from lossim._auditing.plugin import Plugin
from lossim._auditing.reading import coefficient_scale, sums_of
from lossim._auditing.settings import KNOBS, Knob

__all__ = ["stops"]

ROUNDING = 1e-13
"""A drift this much smaller than its coefficients and lengths is a rounding error."""
NOTHING = 1e-9
"""A drift this much smaller than the largest that a knob makes is none."""
JUMP = 1e-2
"""What is left, at a root, of the drift as it is now: with more the drift jumps there."""


def stops(plugin: Plugin, say: Callable[[str], None]) -> tuple[Stop, ...]:
    """For each knob the smallest change that brings the drift to zero, by root finding on the log itself."""
    found = []
    for make in KNOBS:
        knob = make(plugin)
        if knob is not None:
            say(knob.name)
            found.append(stop(knob))
    return tuple(found)


def drift_of(plugin: Plugin) -> float:
    """dE[T]/dη, tokens per unit step; 0 where it is a rounding error."""
    sums = sums_of(plugin)
    length = length_now(plugin, sums)
    uncancelled = coefficient_scale(plugin, sums) * plugin.log.mean_length * plugin.cells.policy.motion.largest
    return length if abs(length) > ROUNDING * uncancelled else 0.0


def stop(knob: Knob) -> Stop:
    """The root nearest to where the knob stands, between two values of the grid where the drift changes sign."""
    from scipy.optimize import brentq  # which would double the time of `import lossim`

    def drift(x: float) -> float:
        return drift_of(knob.make(x))

    now = knob.now
    grid = sorted(knob.grid if now is None else {*knob.grid, now})
    at = [drift(x) for x in grid]
    largest = max(map(abs, at))
    span = f"between {grid[0]:.3g} and {grid[-1]:.3g}"
    if largest == 0.0:
        return Stop(knob=knob.name, now=now, needed=None, note=f"nothing moves {span}")
    # Roots at values of the grid, and between two of them.
    roots = [x for x, y in zip(grid, at, strict=True) if abs(y) <= NOTHING * largest]
    for (a, x), (b, y) in pairwise(zip(grid, at, strict=True)):
        if x * y < 0 and min(abs(x), abs(y)) > NOTHING * largest:
            roots.append(float(brentq(drift, a, b, xtol=1e-4 * max(b - a, 1e-12), rtol=1e-6)))
    if not roots:
        kept = f"none {span} does, the drift keeps its sign"
        return Stop(knob=knob.name, now=now, needed=None, note=_joined(kept, knob.note))
    # The nearest one, and whether the drift passes through zero there.
    if now is None:
        needed = roots[0]
        before = largest
    else:
        needed = min(roots, key=lambda x: abs(x - now))
        before = abs(at[grid.index(now)])
    notes = []
    if abs(drift(needed)) > JUMP * before:
        notes += ["the drift jumps across zero there", knob.jump]
    notes.append(knob.note)
    if needed < 0:
        notes.append(knob.below_zero)
    return Stop(knob=knob.name, now=now, needed=float(needed), note=_joined(*notes))


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
