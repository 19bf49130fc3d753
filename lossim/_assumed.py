"""What a log leaves open, settled: which responses are correct, which were cut, and where."""

from __future__ import annotations

import numpy as np

from lossim import _check
from lossim._types import BoolArray, FloatArray
from lossim.rollouts import Rollouts

__all__ = ["CHUNK", "check", "cuts", "grades", "levels"]

CHUNK = 1 << 20
"""Responses looked at at once: a log may be larger than memory."""


def check(rollouts: Rollouts) -> None:
    """Rollouts, and at least one response."""
    if not isinstance(rollouts, Rollouts):
        _check.fail("rollouts", rollouts, "must be Rollouts", "for example Rollouts.read('log.jsonl')", TypeError)
    if not len(rollouts):
        _check.fail("rollouts", rollouts, "must hold at least one response")


def levels(rollouts: Rollouts, most: int = 3) -> FloatArray:
    """The different rewards, increasing, up to so many of them."""
    found: FloatArray = np.zeros(0)
    for at in range(0, len(rollouts), CHUNK):
        found = np.unique(np.concatenate([found, rollouts.rewards[at:at + CHUNK]]))[:most]
        if len(found) == most:
            break
    return found


def grades(rollouts: Rollouts, notes: list[str], above: float | None = None) -> BoolArray | None:
    """Which responses are correct: as logged, else those paid more than ``above``, else the better paid of two rewards.

    None if nothing says.
    """
    if rollouts.correct is not None:
        if above is not None:
            _check.fail("correct_above", above, "is for logs without grades, and this one has them", "leave it out")
        return rollouts.correct
    if above is not None:
        notes.append(f"grades are read off the rewards: above {above:g} is correct")
        return np.asarray(rollouts.rewards > above)
    paid = levels(rollouts)
    if len(paid) != 2:
        return None
    notes.append(f"grades are read off the rewards: {paid[1]:g} is correct, {paid[0]:g} is not")
    return np.asarray(rollouts.rewards > paid[0])


def cuts(rollouts: Rollouts, max_tokens: int | None, notes: list[str]) -> tuple[BoolArray | None, int]:
    """Which responses were cut (None for none), and the cap."""
    longest = int(rollouts.lengths.max())
    if max_tokens is not None and longest > _check.whole("max_tokens", max_tokens):
        _check.fail("max_tokens", max_tokens, f"must be at least the longest response, {longest:,} tokens",
                    "leave those responses out, or give the cap they were drawn under")
    cut = rollouts.truncated
    if cut is None and max_tokens is None:
        notes.append(f"max_tokens is the longest response, {longest:,} tokens, and none is taken to be truncated: the "
                     "log does not say, and max_tokens= was not given")
        return None, longest
    if cut is None:
        assert max_tokens is not None
        cut = np.asarray(rollouts.lengths >= max_tokens)
        notes.append(f"a response of max_tokens, {max_tokens:,} tokens, is taken to be truncated "
                     f"({cut.sum():,} of {len(cut):,} are): the log does not say")
        return cut, max_tokens
    at = [np.unique(rollouts.lengths[i:i + CHUNK][cut[i:i + CHUNK]]) for i in range(0, len(cut), CHUNK)]
    where = np.unique(np.concatenate(at))
    if not len(where):
        if max_tokens is None:
            notes.append(f"max_tokens is the longest response, {longest:,} tokens: none was truncated, and max_tokens= "
                         "was not given")
        return cut, longest if max_tokens is None else max_tokens
    if len(where) > 1:
        _check.fail("lengths of truncated responses", [int(where[0]), int(where[-1])], "must all be max_tokens (two of "
                    "them are shown)", "take the responses of each cap separately, or mark as truncated only those cut "
                    "at max_tokens")
    if max_tokens not in (None, int(where[0])):
        _check.fail("max_tokens", max_tokens, f"must be the length of the truncated responses, {where[0]}",
                    f"leave it out, or pass max_tokens={where[0]}")
    if longest > where[0]:
        _check.fail("max_tokens", int(where[0]), "(the length of the truncated responses) must be at least the longest "
                    f"response, {longest:,} tokens", "check which responses are truncated")
    return cut, int(where[0])
