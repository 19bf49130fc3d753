"""What ``what_if`` and ``stops`` find: values, and the results that hold them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lossim._changes.shown import (
    UNSURE,
    changed_alone,
    changes_shown,
    changes_table,
    goal_section,
    stops_shown,
    stops_table,
    turned,
)
from lossim._display import Page, Result
from lossim._support.doubts import Doubt, range_over, undecided_by
from lossim._support.plain import plain
from lossim._support.text import Columns, Note, Sections, decimals, noted, number, wrapped
from lossim._support.verdicts import STEP, over_doubts, sizes, unless
from lossim.estimates import Estimate
from lossim.schemes import Scheme

AS_IT_IS = "as it is"
ONE_AT_A_TIME = Note("one at a time", "one setting is changed at a time and all else stays, in one step from the same "
                     "start")
NOT_SETTLED = Note("as it is", "what is not settled about the scheme is looked at for the scheme as it is alone")
UNDECIDED = "undecided: entropy also acts on content; by stops alone "
_NONE = Estimate(value=np.nan)


@dataclass(frozen=True, kw_only=True, eq=False)
class WhatIf(Result):
    """The drift of the same subject under a changed setting.

    Attributes:
        change: what was changed, in words.
        length_per_kl: tokens in a step of 0.01 nats; NaN if nothing moves, or if it is not computed.
        length: tokens per unit step; not comparable with another setting's.
        covariance: Cov(A, T) over the responses in the loss of a log; NaN for a policy.
        alignment: cosine of the update with the gradient of reward on a policy; NaN for a log.
        note: why it is not computed; empty where it is.
        doubts: what is not known, and ``length_per_kl`` under each thing that it may be, as in :class:`lossim.Drift`.
    """

    change: str
    length_per_kl: Estimate
    length: Estimate
    covariance: Estimate = _NONE
    alignment: Estimate = _NONE
    note: str = ""
    doubts: tuple[Doubt, ...] = ()

    @property
    def undecided(self) -> bool:
        """Whether its sign hangs on what is not known."""
        return bool(undecided_by(self.doubts))

    @property
    def way(self) -> int:
        """1 for longer, -1 for shorter, 0 within two standard errors and the bound on rounding, or not computed."""
        x = self.length
        bar = 2.0 * np.nan_to_num(float(x.stderr)) + float(x.error)
        return int(np.sign(float(x))) if abs(float(x)) > bar else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        plain = {name: each.to_dict() if isinstance(each, Estimate) else each for name, each in vars(self).items()}
        return plain | {"doubts": [each.to_dict() for each in self.doubts]}

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest number over all doubts, tokens in a step of 0.01 nats."""
        return range_over(float(self.length_per_kl), self.doubts)

    def sections(self) -> Sections:
        """The line that it prints."""
        return {"verdict": [f"{self.change}: {self._said}"]}

    @property
    def _said(self) -> str:
        """Which way mean length goes, or why that is not computed."""
        if self.note or np.isnan(float(self.length_per_kl)):
            return self.note or "nothing moves"
        if self.undecided:
            return over_doubts(undecided_by(self.doubts), self.range)
        if not self.way:
            return "no drift of mean length"
        return f"responses get {_way(self.way)}, {_tokens(self.length_per_kl)} {STEP}{sizes(self.doubts)}"

    def _page(self) -> Page:
        return self._paged(self.change, *changed_alone(self))

    def _columns(self) -> dict[str, Any]:
        return changes_table([self])


@dataclass(frozen=True, kw_only=True)
class Stop(Result):
    """The values of one setting at which the drift of mean length is zero.

    Attributes:
        knob: the setting.
        now: its value.
        needed: the value nearest to it at which nothing drifts; None if there is none.
        note: the range that was searched, or why it cannot be said.
        roots: all such values that were found, increasing.
        jumps: whether the drift jumps across zero there, without being zero.
        stderr: standard error of ``needed`` where the drift was sampled; 0 elsewhere.
        range: the lowest and the highest value that is needed under one of the plausible kernels, the nearest to
            ``now``; None where there is none. For a length after some steps under two of them alone, see the notes.
        kernels: how many kernels were looked at; 0 beside one that was measured.
        without: under how many of them no value was found.
        ends: mean length after a run at ``needed``, tokens, where a length after some steps is asked for.
        reach: the lowest and the highest mean length that runs at other values end at, then.
    """

    knob: str
    now: float | None
    needed: float | None
    note: str = ""
    roots: tuple[float, ...] = ()
    jumps: bool = False
    stderr: float = 0.0
    range: tuple[float, float] | None = None
    kernels: int = 0
    without: int = 0
    ends: float | None = None
    reach: tuple[float, float] | None = None

    @property
    def over(self) -> str:
        """What is needed under the kernels; empty where none were looked at, or where nothing is needed under any."""
        if self.range is None:
            return f"none in {self.kernels} kernels" if self.kernels and self.needed is not None else ""
        low, high = (f"{bound:.3g}" for bound in self.range)
        values = low if low == high else f"{low} to {high}"
        if self.needed is None:
            return f"{values} in {self.kernels - self.without} of {self.kernels} kernels"
        return f"{values} over {self.kernels} kernels" + (f", none in {self.without}" if self.without else "")

    def sections(self) -> Sections:
        """The line that it prints."""
        return {"stop": [self._said]}

    def _page(self) -> Page:
        return self._paged(self.knob, turned([self]))

    def _columns(self) -> dict[str, Any]:
        return stops_table([self])

    @property
    def _said(self) -> str:
        """The value that is needed, or why there is none."""
        if self.needed is None:
            return f"{self.knob}: {self.note}" + (f"; {self.over}" if self.over else "")
        bar = f" ± {self.stderr:.1g}" if self.stderr else ""
        beside = [*([] if self.now is None else [f"now {self.now:.4g}"]), *([self.over] if self.over else []),
                  *([] if self.ends is None else [f"ends at {self.ends:.4g} tokens"])]
        now = f" ({'; '.join(beside)})" if beside else ""
        others = ", ".join(f"{x:.4g}" for x in self.roots if x != self.needed)
        note = "".join(f"; {each}" for each in (f"also at {others}" if others else "", self.note) if each)
        return f"{self.knob}: {self.needed:.4g}{bar}{now}{note}"

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        return {name: plain(list(each) if isinstance(each, tuple) else each) for name, each in vars(self).items()}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class WhatIfs(Result):
    """Effects of changing one setting at a time; see :func:`lossim.what_if`.

    ``result["λ = 1"]`` is the :class:`WhatIf` of that name.

    Attributes:
        now: the scheme as it is.
        changes: each change, in the order of the table.
        notes: what was assumed.
        provenance: what it takes to run it again.
    """

    scheme: Scheme = field(repr=False)
    subject: str
    now: WhatIf
    changes: tuple[WhatIf, ...]
    notes: tuple[str, ...]
    provenance: dict[str, Any]

    def __getitem__(self, change: str) -> WhatIf:
        """A change by its words."""
        found = next((each for each in (self.now, *self.changes) if each.change == change), None)
        if found is None:
            raise KeyError(f"no change {change!r}; there are {', '.join(repr(each.change) for each in self.changes)}")
        return found

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest drift as it is, over all doubts, tokens in a step of 0.01 nats."""
        return range_over(float(self.now.length_per_kl), self.now.doubts)

    @property
    def verdict(self) -> str:
        """Which way mean length goes as it is, and which changes turn that."""
        return self._said + unless(self.now.doubts)

    @property
    def _said(self) -> str:
        """The same but for what nobody knows of the scheme."""
        now = self.now
        if now.note:
            return f"as it is {now.note}"
        hedge = UNDECIDED if self.scheme.entropy is not None and now.way else ""
        if now.undecided and not hedge:
            return over_doubts(undecided_by(now.doubts), self.range)
        if not now.way:
            moving = [each for each in self.changes if each.way]
            return f"no drift of mean length as it is{_listed('; with one under:', moving)}"
        turned = [each for each in self.changes if each.way == -now.way]
        said = f"responses get {_way(now.way)}, {_tokens(now.length_per_kl)} tokens in a step of 0.01 nats"
        said += sizes(now.doubts)
        return hedge + said + (_listed("; turned by:", turned) or "; no change by itself turns that")

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, setting, numbers, notes."""
        of_log = any(not np.isnan(float(each.covariance)) for each in (self.now, *self.changes))
        width = max(len(each.change) for each in (self.now, *self.changes)) + 2
        table = Columns(f"<{max(width, 40)}", ">22", ">22")
        lines = [table.row("what if", "tokens in 0.01 nats", "Cov(A, T)" if of_log else "cosine with ∇E[r]")]
        for each in (self.now, *self.changes):
            last = f"{float(each.covariance):+.3g}" if of_log else number(each.alignment, 2)
            if each.note:
                lines.append(f"  {each.change}: {each.note}")
                continue
            said = _tokens(each.length_per_kl) or "nothing moves"
            lines.append(table.row(each.change, said, last) + ("  (?)" if each.undecided else ""))
        if any(each.undecided for each in (self.now, *self.changes)):
            lines.append(f"  {UNSURE}")
        return {"verdict": [f"{self.scheme.name}: {self.verdict}"],
                "setting": [*wrapped("scheme", self.scheme.slots), *wrapped("on", [self.subject])],
                "numbers": lines, "notes": noted(self.notes)}

    def _page(self) -> Page:
        return self._paged(self.scheme.name, *changes_shown(self))

    def _columns(self) -> dict[str, Any]:
        return changes_table((self.now, *self.changes))

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        return {"scheme": self.scheme.name, "subject": self.subject, "verdict": self.verdict,
                "now": self.now.to_dict(), "changes": [each.to_dict() for each in self.changes],
                "notes": list(self.notes), "provenance": self.provenance}


@dataclass(frozen=True, kw_only=True)
class Goal(Result):
    """What a run is to reach.

    Attributes:
        length: the mean length that is asked for, tokens.
        steps: after so many.
        start: mean length before the first, tokens.
        end: mean length after them as it is; NaN where that run ends early.
    """

    length: float
    steps: int
    start: float
    end: float

    def sections(self) -> Sections:
        """The line that it prints."""
        end = "an early end" if np.isnan(self.end) else f"{self.end:.4g}"
        return {"goal": [f"mean length goes from {self.start:.4g} to {end} tokens in {self.steps:,} steps as it is"]}

    def _page(self) -> Page:
        return self._paged("goal", goal_section(self))

    def _columns(self) -> dict[str, Any]:
        return {name: [value] for name, value in vars(self).items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        return {name: plain(each) for name, each in vars(self).items()}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Stops(Result):
    """The values of numbers at which the drift of mean length is zero; see :func:`lossim.stops`.

    With a ``goal``, those at which a run reaches it.

    Attributes:
        length: dE[T]/dη as it is, tokens per unit step.
        doubts: what its sign hangs on, as in :class:`lossim.Drift`.
        stops: a :class:`Stop` for each number that was turned, by the policy's own coordinates, with a range over
            plausible kernels.
        notes: what was assumed.
        provenance: what it takes to run it again.
        goal: a :class:`Goal`, where a length after some steps is asked for; None where the drift is to be zero.
    """

    scheme: Scheme = field(repr=False)
    subject: str
    length: float
    stops: tuple[Stop, ...]
    notes: tuple[str, ...]
    provenance: dict[str, Any]
    doubts: tuple[Doubt, ...] = ()
    goal: Goal | None = None

    @property
    def verdict(self) -> str:
        """What holds mean length, or takes it where it is to go."""
        if self.goal is not None:
            return f"{self.goal}; {self._reached(self.goal)}"
        return self._said + unless(self.doubts)

    def _reached(self, goal: Goal) -> str:
        """Which values take length to the goal; without any how far they take it."""
        found = [f"{each.knob} {each.needed:.4g}{' (a jump)' if each.jumps else ''}"
                 + (f" ({each.over})" if each.over else "") for each in self.stops if each.needed is not None]
        if found:
            return f"{goal.length:.4g} by {', '.join(found)}"
        spans = [f"{each.knob} reaches {each.reach[0]:.4g} to {each.reach[1]:.4g}" for each in self.stops
                 if each.reach is not None]
        return f"nothing that was turned takes it to {goal.length:.4g}" + (f": {'; '.join(spans)}" if spans else "")

    @property
    def _said(self) -> str:
        """The same but for what nobody knows of the scheme."""
        hedge = UNDECIDED if self.scheme.entropy is not None and self.length else ""
        found = [each for each in self.stops if each.needed is not None]
        if not self.length and not np.isnan(self.length):
            return hedge + "mean length does not drift as it is"
        going = "" if np.isnan(self.length) else f"responses get {_way(self.length)}; "
        unsure = undecided_by(self.doubts)
        if unsure and not hedge:
            going = f"undecided: {'; '.join(doubt.text for doubt in unsure)}; under the coordinates as given, {going}"
        if not found:
            some = "; ".join(f"{each.knob} {each.over}" for each in self.stops if each.range is not None)
            return hedge + going + "nothing that was turned stops that" + (f"; but {some}" if some else "")
        each_says = (f"{each.knob} {each.needed:.4g}{f' ({each.over})' if each.over else ''}"
                     f"{' (a jump)' if each.jumps else ''}" for each in found)
        return hedge + going + f"stopped by: {', '.join(each_says)}"

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, setting, numbers, notes."""
        return {"verdict": [f"{self.scheme.name}: {self.verdict}"],
                "setting": [*wrapped("scheme", self.scheme.slots), *wrapped("on", [self.subject])],
                "numbers": [f"  {each}" for each in self.stops], "notes": noted(self.notes)}

    def _page(self) -> Page:
        return self._paged(self.scheme.name, *stops_shown(self))

    def _columns(self) -> dict[str, Any]:
        return stops_table(self.stops)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        return {"scheme": self.scheme.name, "subject": self.subject, "verdict": self.verdict,
                "length": plain(self.length), "doubts": [each.to_dict() for each in self.doubts],
                "stops": [each.to_dict() for each in self.stops],
                "goal": None if self.goal is None else self.goal.to_dict(),
                "notes": list(self.notes), "provenance": self.provenance}


def _listed(before: str, found: Iterable[WhatIf]) -> str:
    """Changes with their tokens after some words; nothing without any."""
    each_says = "; ".join(f"{each.change} ({_tokens(each.length_per_kl)})" for each in found)
    return f"{before} {each_says}" if each_says else ""


def _way(x: float) -> str:
    return "longer" if x > 0 else "shorter"


def _tokens(x: Estimate) -> str:
    """Tokens to three digits, with the standard error; nothing for NaN."""
    return number(x, decimals(max(abs(float(x)), np.nan_to_num(float(x.stderr))), 3))
