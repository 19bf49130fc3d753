"""What a finding is made of: its source, what is known and what is not, a start, and a question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

import lossim as ls

Values = Mapping[str, Any]
SchemeOf = Callable[[Values], ls.Scheme]
"""A scheme as what is drawn makes it."""


class Source(NamedTuple):
    """Where a finding was published."""

    name: str
    url: str


class Of(NamedTuple):
    """A number, or a range as :func:`lossim.survey` takes it, and why this one."""

    law: Any
    why: str


@dataclass(frozen=True, eq=False)
class Start(ls.Policy):
    """A policy that knows what it was drawn from."""

    values: Values = field(default_factory=dict, kw_only=True)

    @classmethod
    def of(cls, policy: ls.Policy, values: Values) -> Start:
        """The policy with these values."""
        found = object.__new__(cls)
        vars(found).update(vars(policy), values=dict(values))
        return found


class Asked(NamedTuple):
    """One draw's answer: numbers whose signs are asked about.

    ``per_kl`` is at equal KL (tokens in a step of 0.01 nats, or what the question says instead), ``per_step`` at an
    equal learning rate. ``correlation`` and ``towards`` are what two baselines say; NaN where they say nothing.
    """

    per_kl: float
    per_step: float
    correlation: float
    towards: float


class Question(Protocol):
    """What is asked of starts."""

    def of_each(self, starts: Sequence[Start]) -> list[Asked]:
        """The answer of each."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One observation of one source.

    Attributes:
        id: of the finding, with a letter where it has several parts.
        label: a few words for figure and table.
        setting, observed: a line each, in plain words. grade: A (in the source's text or code), B (read off a figure),
            C (from a secondary summary), D (an issue thread or informal run).
        kind: a single run, or a pair of runs of which one ends longer.
        expected: 1 grew, or the first of the pair is longer; -1 shrank, or the second is; 0 flat, or alike.
        ask: the question. when: at which point of the run it is asked.
        start: makes a policy of all that ``given`` holds.
        given: everything that start and schemes take, with a reason for each.
        sizes: lengths before and after, or of the two of a pair, tokens, where the source has them.
        declined: why the library gives no sign, whatever the draws say.
        about: words for what the number is where it is not mean length.
    """

    id: str
    label: str
    source: Source
    grade: Literal["A", "B", "C", "D"]
    setting: str
    observed: str
    kind: Literal["single", "pair"]
    expected: Literal[-1, 0, 1]
    when: Literal["first step", "after some training"] = "first step"
    start: Callable[..., ls.Policy]
    given: Mapping[str, Of]
    ask: Question
    sizes: tuple[tuple[float, float], ...] = ()
    declined: str = ""
    about: str = "mean length"
