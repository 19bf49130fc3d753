"""What ``attribute`` finds: the drift under each scheme of a path, and the share that each slot has in the differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._changes.results import WhatIf
from lossim._changes.shown import UNSURE
from lossim._display import (
    MEANT,
    WHOM,
    Bar,
    Cell,
    Number,
    Page,
    Picture,
    Result,
    Section,
    Table,
    assumed,
    bars,
    changing,
    doubted,
    figure,
)
from lossim._support.doubts import Doubt, range_over, undecided_by
from lossim._support.text import Columns, Sections, decimals, noted, number, wrapped
from lossim._support.verdicts import STEP
from lossim.estimates import Estimate
from lossim.schemes import Scheme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMALL = 0.01
"""A share of the largest drift below which a slot is not named in a sentence."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SlotShare(Result):
    """What a slot has in the difference between the drifts of two schemes: its Shapley value.

    That is the mean, over all orders in which the slots may change one after the other, of what its own change does.

    Attributes:
        slots: the slot; several where they make no scheme apart from each other.
        before, after: names of both schemes.
        change: what fills it before and after, in words.
        length_per_kl: its share in tokens in a step of 0.01 nats; NaN where that is not told from noise.
        length: its share in tokens per unit step.
        doubts: what is not known, and ``length_per_kl`` under each thing that it may be, as in :class:`lossim.Drift`.
    """

    slots: tuple[str, ...]
    before: str
    after: str
    change: str
    length_per_kl: Estimate
    length: Estimate
    doubts: tuple[Doubt, ...] = ()

    @property
    def name(self) -> str:
        """The slot, or all of them."""
        return " and ".join(self.slots)

    @property
    def undecided(self) -> bool:
        """Whether its sign hangs on what is not known."""
        return bool(undecided_by(self.doubts))

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest share over all doubts, tokens in a step of 0.01 nats."""
        return range_over(float(self.length_per_kl), self.doubts)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        return {"slots": list(self.slots), "before": self.before, "after": self.after, "change": self.change,
                "length_per_kl": self.length_per_kl.to_dict(), "length": self.length.to_dict(),
                "doubts": [each.to_dict() for each in self.doubts]}

    def sections(self) -> Sections:
        """The line that it prints."""
        low, high = self.range
        span = f" ({low:+.3g} to {high:+.3g})" if low < high else ""
        said = f"{_tokens(self.length_per_kl)}{span} {STEP}" if _told(self) else "no share that is told from rounding"
        return {"share": [f"{self.name}, {self.change}: {said}{'  (?)' if self.undecided else ''}"]}

    def _page(self) -> Page:
        low, high = self.range
        bar = Bar(label=self.name, value=float(self.length_per_kl), low=low, high=high)
        return self._paged(self.name, Section(title=f"From {self.before} to {self.after}", parts=(
            bars("The share of a slot in a difference of drifts", [bar], MEANT),
            doubted(float(self.length_per_kl), self.doubts))))

    def _columns(self) -> dict[str, Any]:
        return shares_table([self])


def shares_table(shares: Sequence[SlotShare]) -> dict[str, Any]:
    """A row for each share."""
    return {"slot": [each.name for each in shares], "before": [each.before for each in shares],
            "after": [each.after for each in shares], "change": [each.change for each in shares],
            "length_per_kl": [float(each.length_per_kl) for each in shares],
            "stderr": [float(each.length_per_kl.stderr) for each in shares],
            "low": [each.range[0] for each in shares], "high": [each.range[1] for each in shares],
            "decided": [not each.undecided for each in shares], "length": [float(each.length) for each in shares]}


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Attribution(Result):
    """Which slots make the difference between drifts of mean length; see :func:`lossim.attribute`.

    Attributes:
        schemes: the path, from the scheme that all is relative to.
        drifts: the drift under each of them, a :class:`WhatIf`.
        shares: a :class:`SlotShare` for each slot that differs, leg by leg. Those of a leg add up to the difference of
            its two drifts, in either unit.
        notes: what was assumed.
        provenance: what it takes to run it again.
    """

    schemes: tuple[Scheme, ...] = field(repr=False)
    subject: str
    drifts: tuple[WhatIf, ...]
    shares: tuple[SlotShare, ...]
    notes: tuple[str, ...]
    provenance: dict[str, Any]

    def __getitem__(self, slot: str) -> SlotShare:
        """The first share that has the slot."""
        found = next((each for each in self.shares if slot in each.slots), None)
        if found is None:
            names = ", ".join(repr(each.name) for each in self.shares)
            raise KeyError(f"no slot {slot!r} differs; {f'those that do: {names}' if names else 'none does'}")
        return found

    @property
    def legs(self) -> tuple[tuple[WhatIf, WhatIf, tuple[SlotShare, ...]], ...]:
        """From one scheme to the next: both drifts, and the shares in their difference."""
        return tuple((first, last, tuple(each for each in self.shares
                                         if (each.before, each.after) == (first.change, last.change)))
                     for first, last in pairwise(self.drifts))

    @property
    def verdict(self) -> str:
        """What mean length does under each scheme, and which slots make the difference."""
        first, *others = (f"{_tokens(each.length_per_kl)} under {each.change}" for each in self.drifts)
        said = f"mean length drifts by {first}, by {', by '.join(others)}, {STEP}"
        sizes = np.abs([float(each.length_per_kl) for each in self.drifts])
        if np.isnan(sizes).any():
            return f"{said}; which slots make the difference is not told from noise"
        legs = []
        for start, end, shares in self.legs:
            large = [each for each in shares if abs(float(each.length_per_kl)) > SMALL * sizes.max() and _told(each)]
            large.sort(key=lambda each: -abs(float(each.length_per_kl)))
            between = f"from {start.change} to {end.change} " if len(self.drifts) > 2 else ""
            each_says = (f"{each.name} {_tokens(each.length_per_kl)}{' (?)' if each.undecided else ''}"
                         for each in large)
            legs.append(f"{between}by {', '.join(each_says)}" if large else f"{between}no slot makes a hundredth of it")
        return f"{said}; {'; '.join(legs)}"

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, setting, numbers, notes."""
        names = [each.name for each in self.shares] + [each.change for each in self.drifts]
        table = Columns(f"<{max(map(len, names)) + 4}", ">16", ">24", "<8", "<1")
        lines = [table.row("slot", "tokens", "over unknowns", "", ""), table.row("", "in 0.01 nats")]
        for place, each in enumerate(self.drifts):
            if place:
                lines += [table.row(f"  {share.name}", *_cells(share), share.change)
                          for share in self.legs[place - 1][2]]
            lines.append(table.row(each.change, *_cells(each)))
        rows: tuple[WhatIf | SlotShare, ...] = (*self.drifts, *self.shares)
        if any(each.undecided for each in rows):
            lines.append(f"  {UNSURE}")
        return {"verdict": [self.verdict],
                "setting": [*wrapped("from", self.schemes[0].slots), *wrapped("on", [self.subject])],
                "numbers": lines, "notes": noted(self.notes)}

    def _page(self) -> Page:
        picture = Picture(title="From the first drift to the last, slot by slot", alt=self.verdict, draw=self.plot)
        rows: list[tuple[Cell, ...]] = []
        for place, each in enumerate(self.drifts):
            if place:
                rows += [(f"by {share.name}", *_numbers(share), share.change) for share in self.legs[place - 1][2]]
            rows.append((each.change, *_numbers(each), ""))
        rated: tuple[WhatIf | SlotShare, ...] = (*self.drifts, *self.shares)
        table = Table(title="", columns=("slot", "tokens in 0.01 nats", "lowest", "highest", "what changes"),
                      rows=tuple(rows),
                      note=UNSURE if any(each.undecided for each in rated) else "")
        doubts = tuple(doubt for each in self.drifts for doubt in each.doubts)
        given = {each.name: " · ".join(each.slots) for each in self.schemes} | {"on": self.subject}
        ask = "ls.what_if(scheme, policy) changes one setting at a time."
        return self._paged(" to ".join(each.name for each in self.schemes), Section(title=WHOM, parts=(picture, table)),
                           changing(doubts, ask), assumed(self.notes, given))

    def _columns(self) -> dict[str, Any]:
        """A row for each share: slot, before, after, change, both units, range, decided."""
        return shares_table(self.shares)

    def plot(self, ax: Axes | Sequence[Axes] | None = None) -> Figure:
        """A waterfall from the first drift to the last, slot by slot.

        Args:
            ax: where to draw, one matplotlib Axes or several: the first panel goes to the first, and so on. A figure of
                its own, of one panel, unless given.

        Returns:
            The figure that it is drawn in, also where axes were given. ``.savefig(path)`` writes it, and a notebook
            shows it.
        """
        from lossim._pictures import plot_attribution

        return plot_attribution(self, ax)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON."""
        return {"schemes": [each.name for each in self.schemes], "subject": self.subject, "verdict": self.verdict,
                "drifts": [each.to_dict() for each in self.drifts], "shares": [each.to_dict() for each in self.shares],
                "notes": list(self.notes), "provenance": self.provenance}


def _told(share: SlotShare) -> bool:
    """Whether a share is more than what rounding leaves of none."""
    return abs(float(share.length_per_kl)) > float(share.length_per_kl.error)


def _numbers(row: WhatIf | SlotShare) -> tuple[Cell, Cell, Cell]:
    """Tokens and their range, for a table."""
    low, high = range_over(float(row.length_per_kl), row.doubts)
    if not low < high or (isinstance(row, SlotShare) and not _told(row)):
        low = high = np.nan
    said = f"{_tokens(row.length_per_kl)}{' (?)' if row.undecided else ''}"
    return Number(value=float(row.length_per_kl), text=said), figure(low, "+.3g"), figure(high, "+.3g")


def _cells(row: WhatIf | SlotShare) -> tuple[str, str, str]:
    """Tokens, their range and the mark of what is undecided."""
    low, high = range_over(float(row.length_per_kl), row.doubts)
    known = low < high and not (isinstance(row, SlotShare) and not _told(row))
    return _tokens(row.length_per_kl), f"{low:+.3g} to {high:+.3g}" if known else "", "  (?)" if row.undecided else ""


def _tokens(x: Estimate) -> str:
    """Tokens to three digits, with the standard error."""
    return number(x, decimals(max(abs(float(x)), np.nan_to_num(float(x.stderr))), 3)) or "not told"
