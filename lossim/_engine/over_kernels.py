"""The drift of mean length under each of a family of kernels.

The gradient in the logits does not depend on the kernel, so another kernel costs a contraction: ⟨∇E[T], K·g⟩.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from lossim._engine.readout import NATS, Directions, centred
from lossim._model import CellArrays, Coordinates, Kernel, Kernels, Logits, Members
from lossim._support import checks
from lossim._support.quotients import quotient
from lossim._support.records import Record
from lossim._support.types import FloatArray

__all__ = ["Family", "KernelLengths", "checked_family", "family_of", "lengths_over"]

Family = Kernels | tuple[Coordinates, ...]
"""Kernels to look at: a family by ranges, or coordinates one by one."""


class KernelLengths(Record):
    """What an update does under each kernel: ``length`` [kernel] and ``by_path`` [kernel, path], tokens per unit step,
    and ``nats`` [kernel] of KL per response of that step.
    """

    length: FloatArray
    by_path: FloatArray
    nats: FloatArray

    @property
    def per_kl(self) -> FloatArray:
        """Tokens in a step of 0.01 nats, [kernel]; NaN where the policy does not move."""
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
    return () if isinstance(coordinates, Kernel) else Kernels()


def lengths_over(family: Family, directions: Directions, gradient: Logits) -> KernelLengths | None:
    """The drift of one policy under every kernel; None where there is none to look at."""
    if isinstance(family, Kernels):
        found = _Knotted(directions=directions, family=family).lengths(gradient)
    elif family:
        found = _one_by_one(family, directions, gradient)
    else:
        return None
    if directions.motion.skill_scale == 0:
        return found
    # Skill moves as the policy's own coordinates say, under every kernel.
    skills = directions.motion.push(directions.motion.pull(*gradient)).skills
    learned = directions.policy.cell_weight @ (directions.skill_information * skills**2)
    return replace(found, nats=found.nats + 0.5 * learned)


def _one_by_one(family: Sequence[Coordinates], directions: Directions, gradient: Logits) -> KernelLengths:
    """By the motion that each of the coordinates makes."""
    policy = directions.policy
    by_path = []
    across = []
    nats = []
    for coordinates in family:
        motion = coordinates.lay_out(policy.layout)
        move = motion.push(motion.pull(*gradient))
        along = np.einsum("ct,ct->c", policy.mean_length_gradient, move.stops)
        chosen = centred(policy, move.paths)
        by_path.append(policy.layout.by_path(along))
        across.append(chosen)
        squares = policy.cell_weight @ np.einsum("ct,ct->c", directions.fisher, move.stops**2)
        nats.append(0.5 * (squares + policy.path_weight @ chosen**2))
    return _together(policy, np.array(by_path), np.array(across), np.array(nats))


def _together(policy: CellArrays, by_path: FloatArray, across: FloatArray, nats: FloatArray) -> KernelLengths:
    """Mean length from what changes on each path and how paths change frequency, [kernel, path] both."""
    length = by_path @ policy.path_weight
    length += across @ (policy.path_weight * centred(policy, policy.mean_length_by_path))
    return KernelLengths(length=length, by_path=by_path, nats=nats)


class _Knotted(Record):
    """A family of kernels between knots, and what a policy alone gives at them."""

    directions: Directions
    family: Kernels

    @cached_property
    def members(self) -> Members:
        """The family laid out; content that the policy's own coordinates hold fixed stays fixed."""
        policy = self.directions.policy
        return self.family.lay_out(policy.layout, policy.mean_length,
                                   frozen_paths=self.directions.motion.path_scale == 0)

    def lengths(self, gradient: Logits) -> KernelLengths:
        """The drift under every member."""
        policy = self.directions.policy
        members = self.members
        moves = members.move(members.at_knots(gradient.stops), gradient.paths)
        along = (moves.stops * members.at_knots(policy.mean_length_gradient)).sum(axis=2)
        chosen = np.array([centred(policy, paths) for paths in moves.paths])
        own, neighbours = members.squares_at_knots(self.directions.fisher)
        squares = (moves.stops**2 * own).sum(axis=2)
        squares += 2.0 * (moves.stops[..., :-1] * moves.stops[..., 1:] * neighbours).sum(axis=2)
        nats = 0.5 * (squares @ policy.cell_weight + chosen**2 @ policy.path_weight)
        return _together(policy, policy.layout.by_path(along), chosen, nats)
