"""Which slot makes how much of the difference between two schemes: mixtures of both, and Shapley values over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from math import comb
from typing import Any

import numpy as np

from lossim._support.types import FloatArray
from lossim.schemes import Scheme, compare

Player = tuple[str, ...]
"""Slots that change hands together; nearly always one."""


def shapley(values: FloatArray) -> FloatArray:
    """φ_i = Σ_{S ∌ i} |S|! (k - |S| - 1)! / k! · (v(S ∪ i) - v(S)), [player, ...], of values v [coalition, ...].

    Player i is in a coalition if bit i of its number is set. What the players get adds up to that of all of them less
    that of none.

    >>> shapley(np.array([0.0, 1.0, 2.0, 7.0]))  # v(none), v(first), v(second), v(both)
    array([3., 4.])
    """
    return _averaged(values, np.subtract)


def shapley_errors(errors: FloatArray) -> FloatArray:
    """Bounds on the errors of :func:`shapley`, from those of the values."""
    return _averaged(errors, np.add)


def _averaged(values: FloatArray, gain: Callable[[FloatArray, FloatArray], FloatArray]) -> FloatArray:
    """The mean over all orders of what a player's joining makes of the values with it and without."""
    players = len(values).bit_length() - 1
    coalitions = np.arange(len(values))
    sizes = ((coalitions[:, None] >> np.arange(players)) & 1).sum(axis=1)
    means = np.zeros((players, *values.shape[1:]))
    for player in range(players):
        without = coalitions[(coalitions >> player) & 1 == 0]
        weight = np.array([1.0 / (players * comb(players - 1, size)) for size in sizes[without].tolist()])
        means[player] = np.tensordot(weight, gain(values[without | 1 << player], values[without]), axes=1)
    return means


def players_of(before: Scheme, after: Scheme, slots: Sequence[str]) -> tuple[Player, ...]:
    """The slots one by one, but for those that make no scheme apart: these are one player.

    Where a mixture is no scheme its slots are put together with the fewest others that make it one.

    >>> import lossim as ls
    >>> players_of(ls.schemes.dapo(), ls.schemes.ppo(), ("aggregation", "dynamic_sampling", "group_size"))
    (('aggregation',), ('dynamic_sampling', 'group_size'))
    """
    players: list[Player] = [(slot,) for slot in slots]
    while (wrong := next((each for each in _by_size(len(players)) if not _valid(before, after, players, each)), None)):
        larger = (each for each in _by_size(len(players)) if each & wrong == wrong)
        whole = next(each for each in larger if _valid(before, after, players, each))
        together = [player for i, player in enumerate(players) if whole >> i & 1]
        first = players.index(together[0])
        players = [player for player in players if player not in together]
        players.insert(first, tuple(chain.from_iterable(together)))
    return tuple(players)


def mixtures(before: Scheme, after: Scheme, players: Sequence[Player]) -> list[Scheme]:
    """The scheme ``before`` with the slots that each coalition of players has from the one ``after``, [coalition]."""
    return [_mixed(before, after, players, coalition) for coalition in range(1 << len(players))]


def differing(before: Scheme, after: Scheme) -> tuple[str, ...]:
    """The slots in which both differ, in the order of a scheme."""
    return tuple(compare(before, after))


def _by_size(players: int) -> list[int]:
    """All coalitions, small ones first."""
    return sorted(range(1 << players), key=int.bit_count)


def _valid(before: Scheme, after: Scheme, players: Sequence[Player], coalition: int) -> bool:
    try:
        _mixed(before, after, players, coalition)
    except ValueError:
        return False
    return True


def _mixed(before: Scheme, after: Scheme, players: Sequence[Player], coalition: int) -> Scheme:
    slots = [slot for i, player in enumerate(players) if coalition >> i & 1 for slot in player]
    theirs: dict[str, Any] = {slot: getattr(after, slot) for slot in slots}
    name = f"{before.name} with {', '.join(slots)} of {after.name}" if slots else before.name
    return replace(before, doubts=(), name=name, **theirs)
