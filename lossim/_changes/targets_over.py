"""What is needed for a length after some steps under other kernels, the two that one step says are extreme."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lossim._changes.knobs import Knob
from lossim._changes.on_policy import OnPolicy
from lossim._changes.results import Stop
from lossim._engine import family_of, laid_out
from lossim._model import Kernels, Members
from lossim._support.text import Note
from lossim._support.types import FloatArray, NoClosedForm

OWN_KERNEL = Note("kernel", "runs follow the expected update under the policy's own coordinates alone: no range over "
                  "kernels")
NUDGE = 1e-3
"""How far a number is turned for what a little of it does, as a share of its grid."""
Reached = Callable[[Knob, OnPolicy], Stop]
"""The value at which runs of a case end at the length."""


def over_kernels(found: Stop, knob: Knob, as_it_is: OnPolicy, paced: bool, reached: Reached) -> Stop:
    """A stop with the range of what is needed under the two kernels that one step says are extreme.

    At the value x* that is needed under the policy's own coordinates, mean length drifts by d_k(x*) under kernel k and
    by d(x*) under its own; to first order k needs x* + (d(x*) - d_k(x*))/d_k'(x*). By this kernels are put in order,
    and runs are followed under the first and the last of them.
    """
    if found.needed is None:
        return found
    order = _in_order(knob, found.needed, as_it_is, paced)
    ends = [order[0], order[-1]] if len(order) > 1 else order
    needed = []
    for number in ends:
        try:
            stop = reached(_turned(knob, number), under(as_it_is, number))
        except (NoClosedForm, ValueError):  # as a pace that sets no step size there
            continue
        needed += [] if stop.needed is None else [stop.needed]
    return replace(found, kernels=len(ends), without=len(ends) - len(needed),
                   range=(min(needed), max(needed)) if needed else None)


def note_on(case: OnPolicy, paced: bool) -> Note:
    """What the ranges hold."""
    count = _count(case)
    if not count:
        return OWN_KERNEL
    rate = ", at the learning rate that makes the pace there" if paced else ""
    some = f"each range under every kernel{rate}" if count <= 2 else (
        f"each range under 2 of {count} kernels{rate}, those that one step says need least and most: others may need "
        "less or more")
    return Note("kernel", f"runs follow the expected update under the policy's own coordinates, and {some}")


def _count(case: OnPolicy) -> int:
    """How many kernels there are to look at; none where skill moves, which runs under other kernels would hold."""
    family = family_of(case.question.kernels, case.policy.coordinates)
    if not isinstance(family, Kernels | Members):
        return len(family)
    if case.policy.motion.skill_scale:
        return 0
    return family.count if isinstance(family, Kernels) else len(family.sharing)


def under(case: OnPolicy, number: int) -> OnPolicy:
    """A case whose policy moves by one of the kernels, at the typical length of its start."""
    policy = case.policy
    family = laid_out(family_of(case.question.kernels, policy.coordinates), policy.layout, policy.motion)
    one = family.one(number).each(policy.mean_length)[0] if isinstance(family, Members) else family[number]
    return case.moving_by(one)


def _turned(knob: Knob, number: int) -> Knob:
    """The knob of a case that moves by a kernel."""
    def make(x: float) -> Any:
        case = knob.make(x)
        return under(case, number) if isinstance(case, OnPolicy) else case

    return replace(knob, make=make)


def _in_order(knob: Knob, needed: float, as_it_is: OnPolicy, paced: bool) -> list[int]:
    """The kernels by what they need to first order, least first."""
    if not _count(as_it_is):
        return []
    now = as_it_is.headline()
    # At a pace every kernel has the learning rate with which it goes as far.
    rate = np.sqrt(now.nats / now.over_nats) if paced and now.nats > 0 else np.ones(len(now.told_over))

    def drifts(x: float) -> tuple[float, FloatArray]:
        other: OnPolicy = knob.make(x)  # type: ignore[assignment]
        told = other.headline()
        return told.told, told.told_over * rate

    grid = np.sort(knob.grid)
    step = 1.0 if knob.whole else NUDGE * float(grid[-1] - grid[0])
    beside = needed + step if needed + step <= grid[-1] else needed - step
    own, here = drifts(needed)
    _, there = drifts(beside)
    slope = (there - here) / (beside - needed)
    if not np.all(slope):  # what is turned does nothing in the first step, as a KL to the start
        slope = np.ones(len(here))
    order: list[int] = np.argsort((own - here) / slope, kind="stable").tolist()
    return order
