"""Verdicts that hang on what a log does not tell: one wording for whoever asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lossim._support.doubts import Doubt
from lossim._support.records import Record

WAYS = {1: "longer", -1: "shorter", 0: "within the noise"}
STEP = "tokens in a step of 0.01 nats"
READINGS = {"outcome": "right and wrong are paths that a response knows it is on", "one": "it cannot tell them apart"}
"""What a reading of a log as a policy takes for granted."""


class AtOneShare(Record):
    """Which way mean length goes if that share of a right response was needed, and if cut ones were done from there on.

    ``way`` is 1, -1 or 0, ``said`` how many tokens.
    """

    share: float
    way: int
    said: str
    way_if_cut_done: int
    said_if_cut_done: str


def over_shares(shares: Sequence[AtOneShare]) -> str:
    """Which way mean length goes, where that may hang on what was needed, or on what cut responses had.

    >>> over_shares([AtOneShare(share=0.2, way=1, said="+4", way_if_cut_done=1, said_if_cut_done="+3"),
    ...              AtOneShare(share=0.9, way=1, said="+2", way_if_cut_done=-1, said_if_cut_done="-1")])
    'undecided: whether truncated responses had their answer decides, ... tokens in a step of 0.01 nats'
    """
    ways = {each.way for each in shares}
    first, last = shares[0], shares[-1]
    whatever = f"whatever share was needed ({first.share:.3g} to {last.share:.3g})"
    if len(ways) > 1:
        each_says = (f"{WAYS[each.way]} if it is {each.share:.3g} ({each.said})" for each in shares)
        return ("undecided: the share of a right response that was needed decides, and the log does not tell it: "
                f"{', '.join(each_says)}, {STEP}")
    if any({each.way_if_cut_done} != ways for each in shares):
        done = (f"{WAYS[each.way_if_cut_done]} if at {each.share:.3g} of their length ({each.said_if_cut_done})"
                for each in shares)
        return ("undecided: whether truncated responses had their answer decides, and the log does not tell it: "
                f"{WAYS[first.way]} if they had not ({first.said} to {last.said}), {', '.join(done)}, {STEP}")
    if ways == {0}:
        return f"no drift of mean length beyond the noise of this log, {whatever}"
    return f"responses get {WAYS[first.way]} {whatever}: {first.said} to {last.said} {STEP}"


def over_doubts(doubts: Sequence[Doubt], lengths: tuple[float, float]) -> str:
    """That the sign hangs on these, with the lowest and the highest number of tokens."""
    low, high = (f"{bound:+.3g}" for bound in lengths)
    return f"undecided: {'; '.join(doubt.text for doubt in doubts)}; {low} to {high} {STEP}"


def over_readings(ways: Mapping[str, tuple[int, str]]) -> str:
    """That the sign hangs on whether responses know their outcome: by reading, which way, and how many tokens.

    >>> over_readings({"outcome": (1, "+4.0"), "one": (-1, "-2.0")})
    'undecided: it hangs on whether responses know their outcome, ... tokens in a step of 0.01 nats'
    """
    each_says = (f"{WAYS[way]} if {READINGS[paths]} ({said})" for paths, (way, said) in ways.items())
    return ("undecided: it hangs on whether responses know their outcome, and the log does not tell it: "
            f"{', '.join(each_says)}, {STEP}")
