"""The result of ``sweep``: named axes, an array for each number, which cells are decided, and which failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from lossim._display import Page, Result
from lossim._support import checks
from lossim._support.notes import together
from lossim._support.plain import plain
from lossim._support.text import Sections, noted, wrapped
from lossim._support.types import BoolArray, FloatArray, IntArray
from lossim._sweeping.cells import Answer, Plan
from lossim._sweeping.reading import UNITS, WORDS, Reading
from lossim._sweeping.shown import shown
from lossim._sweeping.tables import listed, numbers_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAN = float("nan")
NOTHING = Reading(kind="number", numbers={}, sign=0, decided=False)
"""What a cell that failed says."""
MOST_FAILURES = 12
"""Failures that are printed."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A cell that could not be computed.

    Attributes:
        inputs: its values by axis, as they are shown.
        kind: what stood in the way, by a name. message: in words.
    """

    inputs: dict[str, Any]
    kind: str
    message: str


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Sweep(Result):
    """A function over a grid; arrays have an axis for each name of ``axes``, in order.

    Attributes:
        axes: the values of each axis by name, as numbers or as text.
        values: numbers by name, NaN in cells that failed. Of a drift ``length_per_kl`` (tokens in a step of 0.01 nats,
            NaN where nothing moves), of that ``needed_per_kl`` and ``free_per_kl``, in the same step
            ``accuracy_per_kl`` and ``truncation_rate_per_kl``, ``alignment``, and with a pace ``length_per_step``; of
            a run ``length_change`` (tokens), ``length``, ``accuracy``, ``accuracy_change``, ``truncation_rate``,
            ``kl_to_start``, ``needed``, ``free`` and ``steps``, of the median replicate. What is sampled has its
            standard error beside it.
        answer: the name of the number that the sign is of, the first.
        sign: 1, -1, or 0 where it is a rounding error, not told from noise, where nothing moves or a cell failed.
        decided: whether the sign hangs on nothing that is not known; False in cells that failed.
        low, high: the range of the answer over what is not known (kernels, critics, doubts of the scheme); NaN where
            there is none.
        failures: cells that failed, with their inputs. words: what a number above 0, below 0 and 0 says.
        units: of the numbers, by name. places: where each axis stands. title: what was computed.
        notes: what was assumed, in how many cells. provenance: what it takes to run it again.
    """

    axes: dict[str, list[Any]]
    values: dict[str, FloatArray]
    sign: IntArray
    decided: BoolArray
    low: FloatArray
    high: FloatArray
    failures: tuple[Failure, ...]
    answer: str
    words: tuple[str, str, str]
    units: dict[str, str]
    places: dict[str, str]
    title: str
    notes: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, plan: Plan, answers: Sequence[Answer], *, provenance: dict[str, Any], notes: Sequence[str] = ()
           ) -> Sweep:
        """The result of all cells, in order."""
        readings = [answer.reading or NOTHING for answer in answers]
        told = [answer.reading for answer in answers if answer.reading is not None]
        names = list(dict.fromkeys(name for reading in told for name in reading.numbers))

        def over(numbers: Sequence[Any]) -> Any:
            return np.array(numbers).reshape(plan.shape)

        failures = tuple(Failure(inputs=plan.inputs(answer.cell), kind=answer.failed, message=answer.message)
                         for answer in answers if answer.failed)
        left = [f"`{axis.name}` is {axis.place.full}; {other} stays as it is" for axis in plan.axes
                if axis.place is not None for other in axis.place.also]
        known = told[0].kind != "number"
        return cls(axes={axis.name: list(axis.shown) for axis in plan.axes},
                   values={name: over([reading.numbers.get(name, NAN) for reading in readings]) for name in names},
                   sign=over([reading.sign for reading in readings]),
                   decided=over([reading.decided for reading in readings]),
                   low=over([reading.low for reading in readings]), high=over([reading.high for reading in readings]),
                   failures=failures, answer=names[0], words=WORDS[told[0].kind],
                   units={name: UNITS[name] for name in names if name in UNITS} if known else {},
                   places={axis.name: "scheme" if axis.place is None else axis.place.full for axis in plan.axes},
                   title=", ".join(dict.fromkeys(scheme.name for scheme in plan.schemes)) or plan.called,
                   notes=(*notes, *left, *together([reading.notes for reading in told], "cells")),
                   provenance=provenance)

    @property
    def shape(self) -> tuple[int, ...]:
        """Values of each axis."""
        return tuple(len(values) for values in self.axes.values())

    @property
    def failed(self) -> BoolArray:
        """Which cells failed."""
        found = np.zeros(self.shape, dtype=np.bool_)
        for failure in self.failures:
            found[tuple(values.index(failure.inputs[name]) for name, values in self.axes.items())] = True
        return found

    @property
    def unit(self) -> str:
        """Of the answer."""
        return self.units.get(self.answer, "")

    @property
    def verdict(self) -> str:
        """In how many cells the answer is which, and from where to where it goes, in a few words."""
        counts = self.counts(np.ones(self.shape, dtype=np.bool_))
        total = sum(counts.values())
        said = sorted(((count, word) for word, count in counts.items() if count), key=lambda each: -each[0])
        (most, first), *others = said
        everywhere = "in the only cell" if total == 1 else f"in all {total:,} cells"
        text = f"{first} {everywhere}" if not others else f"{first} in {most:,} of {total:,} cells"
        text += "".join(f", {word} in {count:,}" for count, word in others)
        known = self.values[self.answer][np.isfinite(self.values[self.answer])]
        if len(known):
            low, high = known.min(), known.max()
            sizes = f"{low:+.4g}" if low == high else f"{low:+.4g} to {high:+.4g}"
            text += f"; {sizes} {self.unit or self.answer}"
        return f"{text}; {len(self.failures):,} more failed" if self.failures else text

    def counts(self, cells: BoolArray) -> dict[str, int]:
        """How many of these cells say what, by word; of those that failed nothing is said."""
        told = cells & ~self.failed
        found = {word: int((told & self.decided & (self.sign == sign)).sum())
                 for word, sign in zip(self.words, (1, -1, 0), strict=True)}
        return found | {"undecided": int((told & ~self.decided).sum())}

    def at(self, **fixed: Any) -> Sweep:
        """The part in which axes have these values, by name; the axes are gone.

        Raises:
            ValueError: an axis or a value that there is not, or no axis is left.

        >>> import lossim as ls
        >>> swept = ls.sweep(lambda x, y: x - y, {"x": [1, 2], "y": [1.0, 1.5, 3.0]})
        >>> swept.at(x=2).values["<lambda>"]
        array([ 1. ,  0.5, -1. ])
        """
        picks: list[Any] = [slice(None)] * len(self.axes)
        for name, value in fixed.items():
            checks.choice("name of an axis", name, self.axes)
            if value not in self.axes[name]:
                there = ", ".join(map(repr, self.axes[name]))
                checks.fail(name, value, f"must be a value of its axis: {there}")
            picks[list(self.axes).index(name)] = self.axes[name].index(value)
        left = {name: values for name, values in self.axes.items() if name not in fixed}
        if not left:
            checks.fail("fixed", fixed, "must leave an axis")
        part = tuple(picks)
        inside = [failure for failure in self.failures if all(failure.inputs[name] == value
                                                              for name, value in fixed.items())]
        failures = tuple(Failure(inputs={name: failure.inputs[name] for name in left}, kind=failure.kind,
                                 message=failure.message) for failure in inside)
        title = ", ".join([self.title, *(f"{name} {value}" for name, value in fixed.items() if name != "scheme")])
        if "scheme" in fixed:
            title = ", ".join([str(fixed["scheme"]), *title.split(", ")[len(self.title.split(", ")):]])
        return Sweep(**{each.name: getattr(self, each.name) for each in fields(self)} | {
            "axes": left, "values": {name: value[part] for name, value in self.values.items()}, "title": title,
            "sign": self.sign[part], "decided": self.decided[part], "low": self.low[part], "high": self.high[part],
            "failures": failures})

    def map(self, x: str, y: str, value: str | None = None, *, at: Mapping[str, Any] | None = None,
            points: Mapping[str, tuple[Any, Any]] | None = None, ax: Axes | None = None) -> Figure:
        """A map over two axes: colours by a number, from one sign to the other.

        White is no drift, and a line goes through 0. Hatched is where the sign hangs on something that is not known,
        grey where a cell failed. Where the values of an axis crowd together (λ towards 1) cells are equally wide.

        Args:
            x, y: names of axes, across and up.
            value: name of the number; the answer unless given. Hatches are those of the answer.
            at: values of all other axes, by name.
            points: by label, the x and y of what is marked, a common configuration say.
            ax: where to draw, a matplotlib Axes; a figure of its own unless given.

        Returns:
            The figure that it is drawn in, also where axes were given. ``.savefig(path)`` writes it, and a notebook
            shows it.

        Raises:
            ValueError: a name that there is not, an axis that is neither across, up nor fixed, or a point outside.

        >>> import lossim as ls
        >>> swept = ls.sweep(lambda x, y: x - y, {"x": [1.0, 2.0, 3.0], "y": [1.5, 2.5]})
        >>> swept.map("x", "y", points={"here": (2.0, 2.2)}).axes[0].get_xlabel()
        'x'
        """
        for called, name in (("x", x), ("y", y)):
            checks.choice(called, name, self.axes)
        if x == y:
            checks.fail("y", y, "must be another axis than x")
        others = [name for name in self.axes if name not in (x, y)]
        fixed = dict(at or {})
        for name in fixed:
            checks.choice("name in at", name, others)
        missing = [name for name in others if name not in fixed]
        if missing:
            checks.fail("at", fixed, f"must also fix {', '.join(missing)}", f"for example at={{{missing[0]!r}: "
                        f"{self.axes[missing[0]][0]!r}}}")
        part = self.at(**fixed) if fixed else self
        name = checks.choice("value", self.answer if value is None else value, self.values)
        sides = (x, part.axes[x]), (y, part.axes[y])
        marked = _marked({} if points is None else points, sides)
        from lossim._pictures import Map, draw_map

        def upright(array: Any) -> Any:
            return array if list(part.axes) == [y, x] else array.T

        return draw_map(Map(title=f"{part.title}: {part.verdict}", x=sides[0], y=sides[1],
                            value=upright(np.where(part._still(name), 0.0, part.values[name])),
                            undecided=upright(~part.decided & ~part.failed), failed=upright(part.failed),
                            unit=part.units.get(name, name), zero=part.words[2] if name == part.answer else "0",
                            points=marked), ax)

    def _still(self, name: str) -> BoolArray:
        """Where a number is none since nothing moves."""
        return np.isnan(self.values[name]) & ~self.failed

    @property
    def table(self) -> dict[str, Any]:
        """Columns by name, a row for each cell: its axes, all numbers, sign, decided, low, high, and what failed."""
        count = prod(self.shape)
        index = np.indices(self.shape).reshape(len(self.shape), count)
        columns = {name: np.array(values)[at] for (name, values), at in zip(self.axes.items(), index, strict=True)}
        columns |= {name: value.ravel() for name, value in self.values.items()}
        columns |= {name: getattr(self, name).ravel() for name in ("sign", "decided", "low", "high")}
        failed = np.full(self.shape, "", dtype=object)
        for failure in self.failures:
            failed[tuple(values.index(failure.inputs[name]) for name, values in self.axes.items())] = failure.message
        return columns | {"failed": failed.ravel().astype(str)}

    def _page(self) -> Page:
        return self._paged(self.title, *shown(self))

    def _columns(self) -> dict[str, Any]:
        """A row for each cell."""
        return self.table

    def to_xarray(self) -> Any:
        """All numbers, sign, decided, low and high as an `xarray.Dataset` whose coordinates are the axes.

        Raises:
            ImportError: there is no xarray; ``pip install 'lossim[tables]'`` brings it.
        """
        try:
            from xarray import Dataset
        except ModuleNotFoundError as error:
            raise ImportError("to_xarray needs xarray: pip install 'lossim[tables]'") from error
        arrays = self.values | {name: getattr(self, name) for name in ("sign", "decided", "low", "high")}
        dims = tuple(self.axes)
        return Dataset({name: (dims, array, {"units": self.units[name]} if name in self.units else {})
                        for name, array in arrays.items()}, coords=dict(self.axes),
                       attrs={"title": self.title, "answer": self.answer})

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for strict JSON (None for NaN), with provenance."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        failures = [{"inputs": each.inputs, "kind": each.kind, "message": each.message} for each in self.failures]
        return {"verdict": self.verdict, **plain(given | {"failures": failures, "notes": [
            str(note) for note in self.notes]})}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Sweep:
        """A result from what `to_dict` made of one.

        >>> import lossim as ls
        >>> swept = ls.sweep(lambda x: x, {"x": [1.0, 2.0]})
        >>> ls.Sweep.from_dict(swept.to_dict()).verdict == swept.verdict
        True
        """
        def floats(values: Any) -> FloatArray:
            return np.array(values, dtype=np.float64)

        made = {each.name: given[each.name] for each in fields(cls)}
        return cls(**made | {
            "values": {name: floats(value) for name, value in made["values"].items()}, "sign": np.array(made["sign"]),
            "decided": np.array(made["decided"]), "low": floats(made["low"]), "high": floats(made["high"]),
            "failures": tuple(Failure(**each) for each in made["failures"]), "words": tuple(made["words"]),
            "notes": tuple(made["notes"])})

    def sections(self) -> Sections:
        """The lines that it prints, by what they are about: verdict, setting, numbers, failures, notes."""
        setting = wrapped("axes", [f"{self.places[name]} {listed(values)}" for name, values in self.axes.items()])
        known = self.provenance.get("known")
        if known:
            setting += wrapped("known", [f"{name} {value}" for name, value in known.items()])
        failures = [f"  failed at {', '.join(f'{name} {value}' for name, value in each.inputs.items())}: {each.message}"
                    for each in self.failures[:MOST_FAILURES]]
        more = len(self.failures) - MOST_FAILURES
        return {"verdict": [f"{self.title}: {self.verdict}"], "setting": setting, "numbers": numbers_of(self),
                "failures": failures + ([f"  and {more:,} more"] if more > 0 else []), "notes": noted(self.notes)}


def _marked(given: Any, sides: Sequence[tuple[str, Sequence[Any]]]) -> dict[str, tuple[Any, Any]]:
    """Points of a map, checked: each between the values of both axes, or at one where they are not in order."""
    fix = "for example points={'default': (0.3, 0.95)}"
    checks.of_kind("points", given, Mapping, "a mapping of labels to x and y", fix)
    found: dict[str, tuple[Any, Any]] = {}
    for label, place in given.items():
        if not isinstance(place, (tuple, list)) or len(place) != 2:
            checks.fail(f"points[{label!r}]", place, "must be x and y", fix, TypeError)
        for (name, values), value in zip(sides, place, strict=True):
            called = f"{name} of points[{label!r}]"
            if all(isinstance(each, (int, float)) for each in values) and list(values) == sorted(values):
                checks.in_interval(called, value, values[0], values[-1])
            elif value not in values:
                checks.fail(called, value, f"must be a value of its axis: {', '.join(map(repr, values))}")
        found[str(label)] = (place[0], place[1])
    return found
