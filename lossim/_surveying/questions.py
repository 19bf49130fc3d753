"""What is asked of each start: one number whose sign is the answer, and what is rounding in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lossim._engine import NATS, Headline, headline, headlines
from lossim._model import Members
from lossim._support import checks
from lossim._support.text import code
from lossim._training import train
from lossim.critics import ClassMean, Critic, Exact, Scaled, Zero
from lossim.optimizers import SGD
from lossim.policies import Policy
from lossim.schemes import Scheme, compare, short

__all__ = ["Answer", "How", "Question", "asked"]

ROUNDING = 1e-9
"""Relative rounding of numbers that are compared with one another."""
PACE = 1e-3
"""KL per response of the first step of a phase, nats, unless it is an unknown."""
CRITICS: dict[str, Critic] = {"zero": Zero(), "class mean": ClassMean(), "exact": Exact(),
                              "lagging": Scaled(critic=Exact(), factor=0.5)}
"""Critics by name; any other is given as itself."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One draw: the number, what is rounding in it, and notes; or what failed, by a name and in words.

    ``kernel`` is the kernel that was drawn, by the names of its parts.
    """

    size: float = float("nan")
    error: float = 0.0
    notes: tuple[str, ...] = ()
    kernel: Mapping[str, float] = field(default_factory=dict)
    failed: str = ""
    message: str = ""

    @property
    def direction(self) -> int:
        """1, -1, or 0 where the number is a rounding error."""
        return 0 if not abs(self.size) > self.error else int(np.sign(self.size))


@dataclass(frozen=True, kw_only=True)
class How:
    """How a question is put, where it is open: the critic of schemes that have one, and how far training goes.

    ``member`` is a family of one kernel by which the start moves, where it is not by its own coordinates.
    """

    member: Members | None = None
    critic: Critic | None = None
    pace: float = PACE
    steps: int | None = None
    settled: Mapping[str, str] = field(default_factory=dict)
    """What is not settled about a scheme, by name, and what it is taken to be."""

    def on(self, scheme: Scheme) -> Scheme:
        """The scheme with the critic, and as it is where what is not settled is settled so."""
        if scheme.doubts:
            scheme = self._settled(scheme)
        if self.critic is None or scheme.advantage.token_level is None:
            return scheme
        return replace(scheme, advantage=scheme.advantage.with_critic(self.critic))

    def moving(self, start: Policy) -> Policy:
        """The start in the coordinates of the kernel."""
        if self.member is None:
            return start
        return start.in_coordinates(self.member.each(start.mean_length)[0])

    def _settled(self, scheme: Scheme) -> Scheme:
        """The scheme as it then is; what nobody can say stays open."""
        slots: dict[str, Any] = {}
        for doubt in scheme.doubts:
            slots |= dict(doubt.known).get(self.settled.get(doubt.unknown, ""), {})
        left = tuple(doubt for doubt in scheme.doubts if doubt.unknown not in self.settled or doubt.untold)
        return replace(scheme, doubts=left, **slots)


class Question(ABC):
    """Something to be asked of each start."""

    unit = ""

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        """The schemes that it is about."""
        return ()

    @property
    def unsettled(self) -> dict[str, list[str]]:
        """What is not settled about its schemes, by name, and what each may be."""
        found: dict[str, list[str]] = {}
        for doubt in (doubt for scheme in self.schemes for doubt in scheme.doubts):
            options = found.setdefault(doubt.unknown, [])
            options += [name for name, _ in doubt.known if name not in options]
        return {name: options for name, options in found.items() if len(options) > 1}

    @property
    def names(self) -> tuple[str, ...]:
        """What may be unknown of how it is put."""
        return ("critic",) if any(scheme.advantage.token_level is not None for scheme in self.schemes) else ()

    @property
    @abstractmethod
    def title(self) -> str:
        """What is asked about."""

    @property
    @abstractmethod
    def words(self) -> tuple[str, str, str]:
        """A number above 0, below 0, and 0, each as what it says."""

    @abstractmethod
    def answer(self, start: Policy, how: How) -> Answer:
        """The number of a start.

        Raises:
            ValueError, ArithmeticError: this start has none.
        """

    def answers(self, starts: Sequence[Policy], hows: Sequence[How]) -> list[Answer] | None:
        """The numbers of several starts at once, to rounding as one by one; None for what is asked one by one.

        Raises:
            ValueError, ArithmeticError: one of the starts has none.
        """
        return None


def _headlines(scheme: Scheme, starts: Sequence[Policy], hows: Sequence[How]) -> list[Headline]:
    """How mean length drifts on each start, in the order of the starts; those are read together that ask alike."""
    alike: dict[tuple[Any, ...], list[int]] = {}
    for number, how in enumerate(hows):
        alike.setdefault((id(how.critic), *sorted(how.settled.items())), []).append(number)
    found: dict[int, Headline] = {}
    for numbers in alike.values():
        each = headlines(hows[numbers[0]].on(scheme), [starts[number] for number in numbers],
                         [hows[number].member for number in numbers])
        found |= zip(numbers, each, strict=True)
    return [found[number] for number in range(len(starts))]


def _drifts(found: Headline) -> Answer:
    """The answer of one scheme."""
    return Answer(size=found.length_per_kl, notes=found.notes)


def _differ(one: Headline, other: Headline) -> Answer:
    """The answer of two."""
    error = 0.0
    for each in (one, other):
        error += ROUNDING * abs(each.length_per_kl)
        error += each.error * np.sqrt(NATS / each.nats) if each.nats > 0 else 0.0
    notes = dict.fromkeys((*one.notes, *other.notes))
    return Answer(size=float(one.length_per_kl - other.length_per_kl), error=float(error), notes=tuple(notes))


@dataclass(frozen=True, kw_only=True)
class OneScheme(Question):
    """Which way does a step of the scheme move mean length, in a step of 0.01 nats?"""

    scheme: Scheme
    unit = f"tokens in a step of {NATS:g} nats"

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        return (self.scheme,)

    @property
    def title(self) -> str:
        return self.scheme.name

    @property
    def words(self) -> tuple[str, str, str]:
        return "longer", "shorter", "does not move"

    def answer(self, start: Policy, how: How) -> Answer:
        return _drifts(headline(how.on(self.scheme), start, how.member))

    def answers(self, starts: Sequence[Policy], hows: Sequence[How]) -> list[Answer]:
        return [_drifts(found) for found in _headlines(self.scheme, starts, hows)]


@dataclass(frozen=True, kw_only=True)
class TwoSchemes(Question):
    """Which of two schemes lengthens more, in a step of 0.01 nats each?"""

    one: Scheme
    other: Scheme
    unit = f"tokens in a step of {NATS:g} nats, the first less the second"

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        return self.one, self.other

    @property
    def called(self) -> tuple[str, str]:
        """The schemes by name, or where they have one name by the slots in which they differ."""
        if self.one.name != self.other.name:
            return self.one.name, self.other.name
        pairs = compare(self.one, self.other)
        one, other = ([f"{slot} {value if isinstance(value, str) else short(value)}"
                       for slot, value in ((slot, pair[side]) for slot, pair in pairs.items())] for side in (0, 1))
        return f"{self.one.name} ({', '.join(one)})", f"{self.other.name} ({', '.join(other)})"

    @property
    def title(self) -> str:
        return " against ".join(self.called)

    @property
    def words(self) -> tuple[str, str, str]:
        one, other = self.called
        return f"{one} lengthens more", f"{other} lengthens more", "both alike"

    def answer(self, start: Policy, how: How) -> Answer:
        one, other = (headline(how.on(scheme), start, how.member) for scheme in self.schemes)
        return _differ(one, other)

    def answers(self, starts: Sequence[Policy], hows: Sequence[How]) -> list[Answer]:
        return list(map(_differ, *(_headlines(scheme, starts, hows) for scheme in self.schemes)))


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Steps of training by a scheme, on prompts in other shares than before where ``weights`` says so."""

    scheme: Scheme
    steps: int
    weights: Mapping[str, float] | None = None

    @property
    def title(self) -> str:
        """The phase in words."""
        mix = ", ".join(f"{name} {weight:.3g}" for name, weight in (self.weights or {}).items())
        return f"{self.steps:,} steps of {self.scheme.name}{mix and f' on {mix}'}"


@dataclass(frozen=True, kw_only=True)
class Course(Question):
    """What does training do to mean length, phase after phase in the mean field?

    The number is Σ (mean length after a phase - before it), each on the prompts of that phase; where the phases have
    the same prompts that is mean length at the end less that at the start.
    """

    phases: tuple[Phase, ...]
    unit = "tokens from start to end"

    @property
    def schemes(self) -> tuple[Scheme, ...]:
        return tuple(phase.scheme for phase in self.phases)

    @property
    def names(self) -> tuple[str, ...]:
        return (*super().names, "pace", "steps")

    @property
    def title(self) -> str:
        return ", then ".join(phase.title for phase in self.phases)

    @property
    def words(self) -> tuple[str, str, str]:
        return "longer", "shorter", "does not move"

    def answer(self, start: Policy, how: How) -> Answer:
        policy = how.moving(start)
        change = 0.0
        notes: dict[str, None] = {}
        for phase in self.phases:
            scheme = how.on(phase.scheme)
            if phase.weights is not None:
                policy = policy.reweighted(phase.weights)
            first = headline(scheme, policy)
            rate = np.sqrt(how.pace / first.nats) if first.nats > 0 else 1.0
            run = train(scheme, policy, steps=how.steps or phase.steps, optimizer=SGD(learning_rate=float(rate)))
            notes |= dict.fromkeys(run.notes)
            for note in run.notes:
                if code(note) == "ended early":
                    return Answer(failed="training", message=note)
            change += run.policy.mean_length - policy.mean_length
            policy = run.policy
        return Answer(size=change, error=ROUNDING * start.mean_length, notes=tuple(notes))


@dataclass(frozen=True, kw_only=True)
class Function(Question):
    """What number does a function give? One with a method ``of_each`` is asked of several policies at once."""

    function: Callable[[Policy], float]

    @property
    def title(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))

    @property
    def words(self) -> tuple[str, str, str]:
        return "above 0", "below 0", "0"

    def answer(self, start: Policy, how: How) -> Answer:
        return self._told(start, float(self.function(how.moving(start))))

    def answers(self, starts: Sequence[Policy], hows: Sequence[How]) -> list[Answer] | None:
        of_each: Callable[[list[Policy]], Sequence[float]] | None = getattr(self.function, "of_each", None)
        if of_each is None:
            return None
        sizes = of_each([how.moving(start) for start, how in zip(starts, hows, strict=True)])
        return [self._told(start, float(size)) for start, size in zip(starts, sizes, strict=True)]

    def _told(self, start: Policy, size: float) -> Answer:
        """A number as an answer."""
        if not np.isfinite(size):
            return Answer(failed=self.title, message=f"{self.title} gave {size:g}, which is no number")
        return Answer(size=size, notes=start.notes)


def asked(given: Any) -> Question:
    """The question that was given: a scheme, a pair of them, phases of schemes with steps, or a function."""
    if isinstance(given, Scheme):
        return OneScheme(scheme=given)
    if isinstance(given, Sequence) and not isinstance(given, str):
        entries = tuple(given)
        if len(entries) == 2 and all(isinstance(entry, Scheme) for entry in entries):
            return TwoSchemes(one=entries[0], other=entries[1])
        phases = [_phase(*entry) for entry in entries if isinstance(entry, Sequence) and len(entry) in (2, 3)
                  and isinstance(entry[0], Scheme)]
        if entries and len(phases) == len(entries):
            return Course(phases=tuple(phases))
    elif callable(given):
        return Function(function=given)
    checks.fail("question", given, "must be a Scheme, two of them, a sequence of (Scheme, steps) or (Scheme, steps, "
                "weights of classes), or a function of a policy", "for example schemes.grpo()", TypeError)


def _phase(scheme: Scheme, steps: Any, weights: Any = None) -> Phase:
    """A phase of training, checked."""
    if weights is not None:
        checks.of_kind("weights of the question", weights, Mapping, "a mapping of class names to weights",
                       "for example {'hard': 1.0}")
    return Phase(scheme=scheme, steps=checks.whole("steps of the question", steps), weights=weights)
