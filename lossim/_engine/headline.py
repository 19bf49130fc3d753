"""The drift of mean length and nothing else, where many policies are asked: what ``drift`` reports first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lossim._engine.exact import update_scale
from lossim._engine.over_kernels import Family, lengths_over
from lossim._engine.readout import NATS, length_changes
from lossim._engine.report import Question, content_notes, unsettled_notes
from lossim._engine.side_by_side import measures_at_once
from lossim._engine.step import Step
from lossim._model import Directions, Members
from lossim._support.records import Record
from lossim._support.types import FloatArray
from lossim.policies import Policy
from lossim.schemes import Scheme

PARTS = 4.0
"""Contributions of tokens that stop, that go on and of paths, at most, in units of the largest coefficient."""


class Headline(Record):
    """How mean length drifts along an update.

    ``length`` is dE[T]/dη in tokens per unit step, ``error`` the bound of what is rounding in it, ``nats`` the KL per
    response of a unit step, in its second order, and 0 where the update is a rounding error itself; ``notes`` say
    what was assumed. ``over`` [kernel] is the same length under each kernel that was asked for, ``over_nats`` the KL.
    """

    length: float
    error: float
    nats: float
    notes: tuple[str, ...]
    over: FloatArray
    over_nats: FloatArray

    @property
    def told(self) -> float:
        """dE[T]/dη; 0 where it is a rounding error."""
        return 0.0 if abs(self.length) <= self.error else self.length

    @property
    def told_over(self) -> FloatArray:
        """The same under each kernel, [kernel]."""
        return np.where(np.abs(self.over) <= self.error, 0.0, self.over)

    @property
    def stretch(self) -> float:
        """Unit steps in a step of 0.01 nats; 0 where nothing moves."""
        return float(np.sqrt(NATS / self.nats)) if self.nats > 0 else 0.0

    @property
    def length_per_kl(self) -> float:
        """Tokens in a step of 0.01 nats; 0 where nothing moves, and where what moves leaves length alone."""
        return self.told * self.stretch


def headline(scheme: Scheme, policy: Policy, member: Members | None = None, kernels: Family = ()) -> Headline:
    """The drift of mean length by sums over the law of a step; as :func:`drift`, at half the cost.

    ``member`` is a family of one kernel, by which the policy then moves instead of by its own coordinates; without one,
    ``kernels`` are looked at beside them.

    Raises:
        NoClosedForm: the expectation of a slot has no closed form.
    """
    step = Question(scheme=scheme, policy=policy, old=policy, reference=policy).step
    found = headline_of(step, policy.directions, kernels if member is None else member)
    if member is not None:
        found = replace(found, length=float(found.over[0]), nats=float(found.over_nats[0]) if found.nats > 0 else 0.0)
    return replace(found, notes=(*found.notes, *content_notes(scheme, policy), *unsettled_notes(scheme)))


def headline_of(step: Step, directions: Directions, kernels: Family = ()) -> Headline:
    """The same of a step as engines see it, and under some kernels; its notes say what was taken to a limit."""
    expected = measures_at_once(step)
    changes = length_changes(directions, step, expected.measures)
    squares = changes.squares(directions)
    scale = update_scale(step)
    moves = directions.moves(squares, scale)
    over = lengths_over(kernels, directions, changes.gradient)
    nothing = np.zeros(0)
    return Headline(length=float(changes.length), nats=float(squares.nats) if moves else 0.0,
                    notes=tuple(expected.notes), over=nothing if over is None else over.length,
                    over_nats=nothing if over is None else over.nats,
                    error=expected.relative_error(step.scheme) * PARTS * scale * float(directions.largest))
