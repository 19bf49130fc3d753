"""The values of numbers at which mean length after some steps is what is asked for: a bracket, then Brent's method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from lossim._changes.knobs import Knob, chosen_knobs
from lossim._changes.on_policy import OnPolicy, case_of
from lossim._changes.results import AS_IT_IS, Goal, Stop, Stops
from lossim._changes.targets_over import note_on, over_kernels
from lossim._model import Coordinates, Kernels
from lossim._support import checks
from lossim._support.progress import Progress
from lossim._support.text import Note
from lossim._support.types import NoClosedForm
from lossim._training import Training, paced_rule, train
from lossim.optimizers import SGD, Optimizer
from lossim.policies import Policy
from lossim.schemes import Scheme, short

CLOSE = 1e-4
"""How near a run has to end, as a share of the length that is asked for."""
ONE_AT_A_TIME = Note("one at a time", "one number is turned at a time and stays so through the run, all else is as it "
                     "is")
SAME_RATE = Note("rate", "every run has the optimiser of the scheme as it is, at the same learning rate")
STANDS = Note("as it is", "what is not settled about the scheme, or about its critic, is taken as it is")
KernelsGiven = Kernels | Sequence[Coordinates] | None
Ends = Callable[[Any], float]
"""Mean length after the steps, tokens, of a case; NaN where the run ends early."""


def targets_of_policy(scheme: Scheme, policy: Policy, knob: str | None, *, length: float, steps: int,
                      pace: Any = None, optimizer: Optimizer | None = None, reference: Policy | None = None,
                      kernels: KernelsGiven = None, progress: bool = False) -> Stops:
    """See :func:`lossim.stops`: the values at which mean length is ``length`` after ``steps``."""
    length = checks.at_least("length", length, 1.0, "responses have a token at least")
    steps = checks.whole("steps", steps)
    case, how = case_of(scheme, policy, "exact", None, None, None, reference, kernels, many_steps=True)
    rule = _rule(case, pace, optimizer)
    case = case.settled
    paced = pace is not None
    knobs = list(chosen_knobs(case, knob))

    def followed(other: OnPolicy, rule: Optimizer) -> Training:
        return train(other.scheme, other.policy, steps=steps, optimizer=rule, reference=other.reference, kernels=())

    def ends_by(rule: Optimizer) -> Ends:
        def ends(other: OnPolicy) -> float:
            run = followed(other, rule)
            return float(run.length[-1]) if run.steps == steps else np.nan

        return ends

    with Progress(checks.flag("progress", progress)) as reporter:
        def reached_from(knob: Knob, start: OnPolicy) -> Stop:
            """Of a case as it is, whose pace is that of every run."""
            return reached(knob, length, ends_by(_rule(start, pace, optimizer)), reporter.say)

        reporter.say(f"train: {AS_IT_IS}")
        run = followed(case, rule)
        found = tuple(over_kernels(each, turned, case, paced, reached_from) for each, turned in
                      zip(_found(knobs, length, ends_by(rule), reporter.say), knobs, strict=True))
    goal = Goal(length=length, steps=steps, start=float(run.length[0]),
                end=float(run.length[-1]) if run.steps == steps else np.nan)
    step = Note("pace", f"a step is one rollout by {short(rule)}" + ("" if pace is None else f": {pace}"))
    doubts = [STANDS] if scheme.doubts or scheme.advantage.assumed_critics else []
    return Stops(scheme=scheme, subject=repr(policy), length=float(case.lengths()[0]), stops=found, goal=goal,
                 notes=(ONE_AT_A_TIME, step, SAME_RATE, note_on(case, paced), *doubts, *run.notes),
                 provenance=how | {"steps": steps, "optimizer": repr(rule)})


def _rule(case: OnPolicy, pace: Any, optimizer: Optimizer | None) -> Optimizer:
    """The optimiser of every run: as for ``train``, a pace being that of the scheme as it is."""
    if pace is None:
        rule = SGD(learning_rate=1.0) if optimizer is None else optimizer
        checks.of_kind("optimizer", rule, Optimizer, "an optimizer, for example optimizers.SGD(learning_rate=0.01)")
        return rule
    if optimizer is not None:
        checks.fail("optimizer", optimizer, "must not be given with a pace, which is a learning rate",
                    "leave one of them out")
    return paced_rule(case.scheme, case.policy, case.reference, pace)


def _found(knobs: Iterable[Knob], length: float, ends: Ends, say: Callable[[str], None]) -> tuple[Stop, ...]:
    """For each knob the value that is needed; one that cannot be computed says why."""
    found = []
    for knob in knobs:
        try:
            found.append(reached(knob, length, ends, say))
        except (NoClosedForm, ValueError) as reason:
            found.append(Stop(knob=knob.name, now=knob.now, needed=None, note=f"not computed: {reason}"))
    return tuple(found)


def reached(knob: Knob, length: float, ends: Ends, say: Callable[[str], None]) -> Stop:
    """The value nearest to ``now`` on the grid at which runs end at a length, and where those of other values end.

    From ``now`` the grid is walked to both sides, first where runs end nearer, until they end on either side of the
    length; two values between neighbours of the grid are not seen.
    """
    known: dict[float, float] = {}

    def gap(x: float) -> float:
        """How far beyond the length a run ends; 0 where that is near enough."""
        value = float(round(x)) if knob.whole else float(x)
        if value not in known:
            say(f"{knob.name} {value:.4g}: run {len(known) + 1}")
            known[value] = ends(knob.make(value))
        return _near(known[value] - length, length)

    grid = sorted(knob.grid.tolist() if knob.now is None else {*knob.grid.tolist(), knob.now})
    first = len(grid) // 2 if knob.now is None else grid.index(knob.now)
    bracket = _bracket(gap, grid, first)
    told = {x: end for x, end in known.items() if not np.isnan(end)}
    early = f"runs end early at {len(known) - len(told)} of {len(known)} values" if len(told) < len(known) else ""
    if bracket is None:
        if not told:
            return Stop(knob=knob.name, now=knob.now, needed=None, note="not computed: every run ends early")
        reach = (min(told.values()), max(told.values()))
        note = (f"no value between {min(told):.3g} and {max(told):.3g} gets there, they end at {reach[0]:.4g} to "
                f"{reach[1]:.4g} tokens")
        return Stop(knob=knob.name, now=knob.now, needed=None, reach=reach, note=_joined(note, early, knob.note))
    needed = _root(gap, *bracket, knob.whole, known, length)
    end = known[needed]
    jumps = not knob.whole and _near(end - length, length) != 0.0
    notes = ["length jumps across it there", knob.jump] if jumps else []
    notes += ["the whole number that ends nearest"] if knob.whole and end != length else []
    notes += [early, knob.note, knob.below_zero if needed < 0 else ""]
    return Stop(knob=knob.name, now=knob.now, needed=needed, roots=(needed,), jumps=jumps, ends=end,
                reach=(min(told.values()), max(told.values())), note=_joined(*notes))


def _near(gap: float, length: float) -> float:
    return 0.0 if abs(gap) <= CLOSE * length else gap


def _bracket(gap: Callable[[float], float], grid: list[float], first: int) -> tuple[float, float] | None:
    """Two neighbours of the grid at which runs end on either side of the length, or one at which they end there."""
    if gap(grid[first]) == 0.0:
        return grid[first], grid[first]
    # The last value that was looked at on either side, and whether there are more.
    at = {-1: first, 1: first}
    left = {side: 0 <= first + side < len(grid) and not np.isnan(gap(grid[first])) for side in (1, -1)}
    sides = [side for side in (1, -1) if left[side]]
    while sides:
        unseen = [side for side in sides if at[side] == first]
        side = unseen[0] if unseen else min(sides, key=lambda each: abs(gap(grid[at[each]])))
        before, after = grid[at[side]], grid[at[side] + side]
        if gap(after) == 0.0:
            return after, after
        if gap(before) * gap(after) < 0:
            return min(before, after), max(before, after)
        at[side] += side
        if np.isnan(gap(after)) or not 0 <= at[side] + side < len(grid):
            sides.remove(side)
    return None


def _root(gap: Callable[[float], float], low: float, high: float, whole: bool, known: dict[float, float],
          length: float) -> float:
    """Where runs end at the length, between two values that bracket it; of whole numbers the one that ends nearest."""
    from scipy.optimize import brentq  # which would double the time of `import lossim`

    if low == high:
        return low
    if not whole:
        root = float(brentq(gap, low, high, xtol=1e-6 * (high - low), rtol=1e-9))
        gap(root)
        return root
    root = float(brentq(gap, low, high, xtol=0.5))
    for each in (np.floor(root), np.ceil(root)):
        gap(float(np.clip(each, low, high)))
    return min((x for x in known if low <= x <= high), key=lambda x: abs(known[x] - length))


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
