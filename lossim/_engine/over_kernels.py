"""The drift of mean length under each of a family of kernels.

The gradient in the logits does not depend on the kernel, so another kernel costs a contraction: ⟨∇E[T], K·g⟩.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lossim._engine.readout import NATS
from lossim._model import Coordinates, Directions, Kernel, Kernels, Layout, Logits, Members, Motion, centred
from lossim._support import checks
from lossim._support.quotients import quotient
from lossim._support.records import Record
from lossim._support.types import FloatArray

__all__ = ["Family", "KernelLengths", "checked_family", "family_of", "laid_out", "lengths_over"]

Family = Kernels | Members | tuple[Coordinates, ...]
"""Kernels to look at: a family by ranges, as it is or laid out, or coordinates one by one."""


PLAUSIBLE = Kernels()
"""Those that a network may have that nobody has measured."""


class KernelLengths(Record):
    """What an update does under each kernel: ``length`` [..., kernel] and ``by_path`` [..., kernel, path], tokens per
    unit step, and ``nats`` [..., kernel] of KL per response of that step; [...] is the shape of the directions.
    """

    length: FloatArray
    by_path: FloatArray
    nats: FloatArray

    @property
    def per_kl(self) -> FloatArray:
        """Tokens in a step of 0.01 nats, [..., kernel]; NaN where the policy does not move."""
        return self.length * np.sqrt(quotient(NATS, self.nats, nothing=np.nan))


def checked_family(given: Kernels | Sequence[Coordinates] | None) -> Family | None:
    """Kernels as a user gives them, as they are kept."""
    if given is None or isinstance(given, Kernels):
        return given
    kinds = "kernels() or coordinates, one or several"
    found = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    for each in found:
        if not hasattr(each, "lay_out") or isinstance(each, Kernels):
            checks.fail("kernels", each, f"must be {kinds}", "for example [coordinates(bins=1), coordinates(bins=4)]",
                        TypeError)
    return found


def family_of(given: Family | None, coordinates: Coordinates) -> Family:
    """The kernels that the sign of a drift is looked at under; none beside a kernel that was measured."""
    if given is not None:
        return given
    return () if isinstance(coordinates, Kernel) else PLAUSIBLE


def laid_out(family: Family, layout: Layout, motion: Motion) -> Members | tuple[Coordinates, ...]:
    """The same kernels for the cells of a policy; content that its own coordinates hold fixed stays fixed."""
    return family.lay_out(layout, frozen_paths=motion.path_scale == 0) if isinstance(family, Kernels) else family


def lengths_over(family: Family, directions: Directions, gradient: Logits) -> KernelLengths | None:
    """The drift of one policy, or of several, under every kernel; None where there is none to look at."""
    family = laid_out(family, _layout_of_one(directions), directions.motion)
    if isinstance(family, Members):
        found = _between_knots(family, directions, gradient)
    elif family:
        found = _one_by_one(family, directions, gradient)
    else:
        return None
    if directions.motion.skill_scale == 0:
        return found
    # Skill moves as the policy's own coordinates say, under every kernel.
    skills = directions.motion.push(directions.pull(gradient)).skills
    learned = (directions.apart(directions.policy.cell_weight) * directions.skill_information * skills**2).sum(axis=-1)
    return replace(found, nats=found.nats + 0.5 * learned[..., None])


def _one_by_one(family: Sequence[Coordinates], directions: Directions, gradient: Logits) -> KernelLengths:
    """By the motion that each of the coordinates makes."""
    policy = directions.policy
    layout = _layout_of_one(directions)
    ahead = directions.apart(policy.mean_length_gradient)
    weight = directions.apart(policy.cell_weight)
    by_path = []
    paths = []
    stops = []
    for coordinates in family:
        motion = coordinates.lay_out(layout)
        move = motion.push(motion.pull(*directions.logits_apart(gradient)))
        by_path.append(layout.by_path(np.einsum("...ct,...ct->...c", ahead, move.stops)))
        paths.append(move.paths)
        stops.append((weight * np.einsum("...ct,...ct->...c", directions.fisher, move.stops**2)).sum(axis=-1))
    return _together(directions, np.stack(by_path, axis=-2), np.stack(paths, axis=-2), np.stack(stops, axis=-1))


def _together(directions: Directions, by_path: FloatArray, paths: FloatArray, stops: FloatArray) -> KernelLengths:
    """All numbers of moves that change lengths by ``by_path`` and path logits by ``paths``, [..., kernel, path] both.

    ``stops`` [..., kernel] is what the moves of stop logits add to twice the nats.
    """
    policy = directions.policy
    weight = directions.apart(policy.path_weight)[..., None, :]
    lengths = directions.apart(centred(policy, policy.mean_length_by_path))[..., None, :]
    # Path logits are centred in their class.
    classes = policy.layout.class_of_path[:paths.shape[-1]]
    first = np.flatnonzero(np.diff(classes, prepend=-1))
    chance = directions.apart(policy.probability)[..., None, :]
    across = paths - np.add.reduceat(chance * paths, first, axis=-1)[..., classes]
    return KernelLengths(length=(weight * (by_path + lengths * across)).sum(axis=-1), by_path=by_path,
                         nats=0.5 * (stops + (weight * across**2).sum(axis=-1)))


def _layout_of_one(directions: Directions) -> Layout:
    """The cells of each policy."""
    layout = directions.policy.layout
    return layout.first_of(*directions.shape) if directions.shape else layout


def _between_knots(members: Members, directions: Directions, gradient: Logits) -> KernelLengths:
    """By all members of a family together."""
    apart = directions.apart
    policy = directions.policy
    mean_length = (apart(policy.path_weight) * apart(policy.mean_length_by_path)).sum(axis=-1)
    moves = members.move(members.knots.sums(apart(gradient.stops)), apart(gradient.paths), mean_length)
    sums = directions.at_knots
    along = (moves.stops * sums.ahead[..., None, :, :]).sum(axis=-1)
    own, neighbours = sums.own[..., None, :, :], sums.neighbours[..., None, :, :]
    squares = (moves.stops**2 * own).sum(axis=-1)
    squares += 2.0 * (moves.stops[..., :-1] * moves.stops[..., 1:] * neighbours).sum(axis=-1)
    stops = (squares * apart(policy.cell_weight)[..., None, :]).sum(axis=-1)
    return _together(directions, members.layout.by_path(along), moves.paths, stops)
