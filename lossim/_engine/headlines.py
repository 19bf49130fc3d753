"""The drift of mean length of many policies in one go: what :func:`headline` says of each of them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from lossim._engine.headline import PARTS, Headline, headline
from lossim._engine.over_kernels import Family, lengths_over
from lossim._engine.readout import length_changes
from lossim._engine.report import content_notes, unsettled_notes
from lossim._engine.side_by_side import side_by_side, takes
from lossim._model import Coordinates, Directions, Kernel, Logits, Members, Motion, kernels_side_by_side
from lossim.policies import Policy
from lossim.schemes import Scheme

__all__ = ["headlines"]

SLAB = 1 << 17
"""Numbers [cell, t] of the policies that are worked on at once: what is made of them stays in a processor's cache."""


def headlines(scheme: Scheme, policies: Sequence[Policy], members: Sequence[Members | None] | None = None,
              kernels: Family = ()) -> list[Headline]:
    """The drift of mean length under one scheme of each policy: as :func:`headline` of one by one, to rounding.

    Policies of one shape (the same classes, paths, states, grades and max_tokens) in the same coordinates, or by
    kernels of numbers with the same knots, are read side by side, a few at a time, in the order in which they are
    given; so numbers depend, in their last digits, on what they are given together with. Schemes that need a
    quadrature, statistics of a step or a length-weighted baseline are read one by one.

    ``members`` has for each policy a family of one kernel, by which it moves instead of by its own coordinates, or
    None; each laid out for that policy's cells. ``kernels`` are looked at beside the own coordinates of policies that
    have no such family.

    Raises:
        NoClosedForm, ValueError: what :func:`headline` raises of one of them.
    """
    families = [None] * len(policies) if members is None else list(members)
    slabs: dict[Hashable, list[int]] = {}
    for number, (policy, family) in enumerate(zip(policies, families, strict=True)):
        slabs.setdefault((policy.layout, _alike(policy.coordinates), family is None), []).append(number)
    found: dict[int, Headline] = {}
    together = takes(scheme)
    for numbers in slabs.values():
        layout = policies[numbers[0]].layout
        size = max(SLAB // (layout.cells * layout.max_tokens), 1) if together else 1
        for first in range(0, len(numbers), size):
            some = numbers[first:first + size]
            each = _of_slab(scheme, [policies[number] for number in some], [families[number] for number in some],
                            kernels)
            found |= zip(some, each, strict=True)
    return [found[number] for number in range(len(policies))]


def _alike(coordinates: Coordinates) -> object:
    """What coordinates that can be read side by side have in common."""
    if isinstance(coordinates, Kernel):
        return coordinates.positions.tobytes(), coordinates.paths.shape
    return coordinates


def _motion(policies: Sequence[Policy]) -> Motion:
    """The motions of policies whose coordinates are alike, as one."""
    kernels = [policy.coordinates for policy in policies if isinstance(policy.coordinates, Kernel)]
    if not kernels or all(kernel is kernels[0] for kernel in kernels):
        return policies[0].motion
    return kernels_side_by_side(kernels, policies[0].layout)


def _of_slab(scheme: Scheme, policies: Sequence[Policy], members: Sequence[Members | None], kernels: Family
             ) -> list[Headline]:
    """Of some policies with the same cells; all have a family of kernels, or none has."""
    if len(policies) > 1:
        found = _together(scheme, policies, [family for family in members if family is not None], kernels)
        if found is not None:
            return found
    return [headline(scheme, policy, family, kernels) for policy, family in zip(policies, members, strict=True)]


def _together(scheme: Scheme, policies: Sequence[Policy], members: Sequence[Members], kernels: Family
              ) -> list[Headline] | None:
    """Of policies side by side; None where these do not stand so, by what they are paid or by their denominators."""
    stack = side_by_side(scheme, [policy.arrays for policy in policies])
    if not (stack.alike and stack.few):
        return None
    expected = stack.expected()
    directions = Directions(policy=stack.step.policy, motion=_motion(policies), shape=(stack.count,))
    changes = length_changes(directions, stack.step, expected.measures)
    squares = changes.squares(directions)
    moves = directions.moves(squares, stack.scale)
    gradient = Logits(*(part.reshape(-1, *part.shape[2:]) for part in changes.gradient))
    over = lengths_over(Members.side_by_side(members) if members else kernels, directions, gradient)
    by_member = over if members else None
    length = changes.length if by_member is None else by_member.length[:, 0]
    nats = np.where(moves, squares.nats if by_member is None else by_member.nats[:, 0], 0.0)
    nothing = np.zeros((stack.count, 0))
    lengths, over_nats = (nothing, nothing) if over is None else (over.length, over.nats)
    error = expected.relative_error(scheme) * PARTS * stack.scale * directions.largest
    unsettled = unsettled_notes(scheme)
    return [Headline(length=float(length[i]), error=float(error[i]), nats=float(nats[i]), over=lengths[i],
                     over_nats=over_nats[i], notes=(*expected.notes, *content_notes(scheme, policy), *unsettled))
            for i, policy in enumerate(policies)]
