"""Where mean length goes as a policy moves, and how far a move goes: what depends on no scheme.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from lossim._model.arrays import CellArrays
from lossim._model.coordinates import Logits, Motion
from lossim._model.knots import Knots
from lossim._support.records import Record
from lossim._support.types import FloatArray

ROUNDING = 1e-12
"""An update this much smaller than its coefficients is a rounding error."""

Value = Any
"""A number, or an array of them by [...]."""


def inner_product(one: Logits, other: Logits) -> Value:
    """Σ over all logits, [..., cell, t], [..., path] and [..., cell]; not by BLAS, whose threads cost more."""
    stops = np.einsum("...ct,...ct->...", one.stops, other.stops)
    paths = np.einsum("...k,...k->...", one.paths, other.paths)
    return stops + paths + np.einsum("...c,...c->...", one.skills, other.skills)


def centred(policy: CellArrays, paths: FloatArray) -> FloatArray:
    """x_k - Σ_l π_l x_l within each class, of [path, ...]."""
    layout = policy.layout
    weighed = (policy.probability * paths.T).T
    means = np.add.reduceat(weighed, [mine.start for mine in layout.class_paths], axis=0)
    return paths - means[layout.class_of_path]


class Squares(Record):
    """Quadratic forms of a gradient g: ``nats`` of KL per response of the step K·g, and ``size`` g·K·g."""

    nats: Value
    size: Value


class KnotSums(Record):
    """Sums over positions at the knots: of ∂E[T | path]/∂z, ``ahead`` [..., cell, knot], and of the Fisher information.

    The latter with the weight of each knot twice, ``own`` [..., cell, knot], and with those of neighbours,
    ``neighbours`` [..., cell, knot - 1].
    """

    ahead: FloatArray
    own: FloatArray
    neighbours: FloatArray


class Directions(Record):
    """What depends on a policy and its coordinates alone, and serves the readouts of all schemes on it.

    Several policies of the same cells are one of the ``shape`` (count,), whose cells are those of the first, then of
    the second, ...; the ``motion`` is that of each. What is read off them has that shape in front: [...].
    """

    policy: CellArrays
    motion: Motion
    shape: tuple[int, ...] = ()

    def apart(self, x: FloatArray) -> FloatArray:
        """[cell, ...], [path, ...] or [class, ...] of all policies as [..., cell, ...] and so on."""
        return x.reshape(*self.shape, -1, *x.shape[1:])

    def logits_apart(self, logits: Logits) -> Logits:
        """The same of a number for each logit."""
        return Logits(*map(self.apart, logits))

    def pull(self, gradient: Logits) -> FloatArray:
        """The move [..., coordinate] that a gradient in the logits of all policies makes."""
        return self.motion.pull(*self.logits_apart(gradient))

    def push(self, update: FloatArray) -> Logits:
        """The move of the logits of all policies that a move of their coordinates is."""
        stops, paths, skills = self.motion.push(update)
        return Logits(stops.reshape(self.policy.logits.shape), paths.ravel(), skills.ravel())

    @cached_property
    def length(self) -> Logits:
        """K · ∇E[T]: what a unit of gradient in each logit does to mean length."""
        policy = self.policy
        stops = policy.cell_weight[:, None] * policy.mean_length_gradient
        paths = policy.path_weight * centred(policy, policy.mean_length_by_path)
        return self.push(self.pull(Logits(stops, paths, np.zeros(policy.layout.cells))))

    @cached_property
    def largest(self) -> Value:
        """The most that a unit of gradient in one logit does to mean length, tokens, [...]."""
        return np.max([np.abs(self.apart(part)).reshape(*self.shape, -1).max(axis=-1, initial=0.0)
                       for part in self.length], axis=0)

    @cached_property
    def largest_by_paths(self) -> Value:
        """About the most that it adds to mean length by how often paths are taken, before these cancel, tokens, [...].
        """
        lengths = self.apart(self.policy.path_weight * self.policy.mean_length_by_path)
        return self.motion.largest * lengths.max(axis=-1)

    @cached_property
    def needed(self) -> Logits:
        """What a move of each logit does to mean length, as far as that changes accuracy: see ``Drift.needed``."""
        policy = self.policy
        layout = policy.layout
        accuracy = layout.by_path(policy.law[:, 0].sum(axis=-1))
        paths = policy.path_weight * centred(policy, policy.mean_length_by_path)
        return Logits(policy.cell_weight[:, None] * policy.needed_length_gradient,
                      np.where(layout.unlike(accuracy), paths, 0.0), np.zeros(layout.cells))

    def scores(self, cells: slice = slice(None)) -> tuple[FloatArray, FloatArray]:
        """What a unit of coefficient on a token adds to dE[T]: of one that stops and of one that goes on, [cell, t].

        With the first token comes the choice of the path.
        """
        policy = self.policy
        stop = policy.stay[cells] * self.length.stops[cells]
        go = -policy.hazard[cells] * self.length.stops[cells]
        path = centred(policy, self.length.paths)[policy.layout.path_of_cell[cells]]
        stop[:, 0] += path
        go[:, 0] += path
        return stop, go

    @cached_property
    def fisher(self) -> FloatArray:
        """Fisher information of each stop logit in its cell, P(T >= t) h (1 - h), [..., cell, t]."""
        return self.apart(self.policy.pmf * self.policy.stay)

    @cached_property
    def skill_information(self) -> FloatArray:
        """Fisher information of the skill in each cell, Σ P(end) s (1 - s), [..., cell]."""
        policy = self.policy
        return self.apart(np.einsum("ce,ce,ce->c", policy.ends, policy.correctness, 1.0 - policy.correctness))

    @cached_property
    def at_knots(self) -> KnotSums:
        """What kernels of a family ask of these policies."""
        knots = Knots.of(self.policy.max_tokens)
        own, neighbours = knots.squares(self.fisher)
        return KnotSums(ahead=knots.sums(self.apart(self.policy.mean_length_gradient)), own=own, neighbours=neighbours)

    def squares(self, gradient: Logits, update: FloatArray) -> Squares:
        """How far the ``update`` [..., coordinate] goes that a gradient makes: by the Fisher metric, and by the kernel.

        On a single policy the gradient may be that of any number of updates.
        """
        move = self.motion.push(update)
        return Squares(nats=self._nats(move), size=inner_product(gradient, move))

    def nats(self, update: FloatArray) -> Value:
        """KL per response of a move of the coordinates, to second order: ½ E[dz² P(T >= t) h (1 - h)] + ½ Var(dy).

        What skill moves counts likewise, ½ E[du² s (1 - s)].
        """
        return self._nats(self.motion.push(update))

    def _nats(self, move: Logits) -> Value:
        policy = self.policy
        # Paths are centred in their class.
        classes = policy.layout.class_of_path[:move.paths.shape[-1]]
        first = np.flatnonzero(np.diff(classes, prepend=-1))
        means = np.add.reduceat(self.apart(policy.probability) * move.paths, first, axis=-1)[..., classes]
        by_cell = np.einsum("...ct,...ct,...ct->...c", self.fisher, move.stops, move.stops)
        if self.motion.skill_scale > 0:
            by_cell += self.skill_information * move.skills**2
        squares = np.einsum("...c,...c->...", self.apart(policy.cell_weight), by_cell)
        squares += np.einsum("...k,...k->...", self.apart(policy.path_weight), (move.paths - means) ** 2)
        return 0.5 * squares

    def moves(self, squares: Squares, scale: float | FloatArray) -> Value:
        """Whether an update is more than a rounding error of coefficients of this scale, [...] all."""
        return squares.size > (ROUNDING * scale) ** 2 * self.motion.largest
