"""Cells as small values that can be sent to another process, and how one of them is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lossim._model import Features
from lossim._support import checks
from lossim._sweeping.places import Place, put
from lossim._sweeping.reading import Reading, read
from lossim.policies import Policy
from lossim.schemes import Scheme

__all__ = ["Answer", "Axis", "Chunk", "Plan", "answered"]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A name with its values, where they go, and how they are shown: numbers, or text. No place: the schemes."""

    name: str
    place: Place | None
    values: tuple[Any, ...]
    shown: tuple[float | str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is computed in every cell: a function of a scheme and a policy, as far as there are any, and of names.

    Attributes:
        start: a policy, a function that returns one, or None.
        schemes: one, several (then they are an axis), or none.
        known: what is the same in all cells, each with its place.
        seed: each cell has a stream of its own by this and its number; None where the function takes none.
    """

    function: Callable[..., Any]
    start: Callable[..., Policy] | Policy | None
    schemes: tuple[Scheme, ...]
    axes: tuple[Axis, ...]
    known: tuple[tuple[Place, Any], ...]
    seed: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Values of each axis."""
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def called(self) -> str:
        """The function by name."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    def inputs(self, cell: int) -> dict[str, float | str]:
        """Where a cell stands, by axis, as it is shown."""
        return {axis.name: axis.shown[at] for axis, at in zip(self.axes, self._at(cell), strict=True)}

    def answer(self, cell: int) -> Reading:
        """The numbers of a cell."""
        scheme, placed = self._given(cell)
        subjects: list[Any] = []
        if self.schemes:
            fields = {place.paths[scheme]: value for place, value in placed if place.owner == "scheme"}
            subjects.append(put(self.schemes[scheme], fields))
        if self.start is not None:
            subjects.append(_policy(self.start, _of(placed, "start"), _of(placed, "coordinates")))
        how = _of(placed, "function")
        if self.seed is not None:
            how["rng"] = np.random.default_rng((self.seed, cell))
        return read(self.function(*subjects, **how), self.called)

    def _at(self, cell: int) -> tuple[int, ...]:
        return tuple(int(at) for at in np.unravel_index(cell, self.shape))

    def _given(self, cell: int) -> tuple[int, list[tuple[Place, Any]]]:
        """Which scheme, and every value with its place."""
        scheme = 0
        placed = list(self.known)
        for axis, at in zip(self.axes, self._at(cell), strict=True):
            if axis.place is None:
                scheme = at
            else:
                placed.append((axis.place, axis.values[at]))
        return scheme, placed


def _of(placed: list[tuple[Place, Any]], owner: str) -> dict[str, Any]:
    """The arguments of one owner."""
    return {place.name: value for place, value in placed if place.owner == owner}


def _policy(start: Callable[..., Policy] | Policy, given: Mapping[str, Any], moves: dict[str, Any]) -> Policy:
    """The start with these arguments, and in coordinates of these."""
    policy = start if isinstance(start, Policy) else start(**given)
    checks.of_kind("what the start returned", policy, Policy, "a Policy", "for example policies.two_paths")
    if not moves:
        return policy
    coordinates = moves.pop("coordinates", policy.coordinates)
    if moves:
        checks.of_kind("coordinates", coordinates, Features, f"those of coordinates() to change {next(iter(moves))}",
                       "leave it out beside a kernel of numbers")
        coordinates = replace(coordinates, **moves)
    return policy.in_coordinates(coordinates)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A cell by its number: what was read off it, or what failed, by a name and in words."""

    cell: int
    reading: Reading | None = None
    failed: str = ""
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some cells of a plan."""

    plan: Plan
    cells: tuple[int, ...]


def answered(chunk: Chunk) -> list[Answer]:
    """The answer of each cell. What cannot be computed is an answer too: it says what failed."""
    return [_answer(chunk.plan, cell) for cell in chunk.cells]


def _answer(plan: Plan, cell: int) -> Answer:
    try:
        return Answer(cell=cell, reading=plan.answer(cell))
    except Exception as error:  # whatever a cell raises, the others are computed
        name = error.name if isinstance(error, checks.Invalid) else type(error).__name__
        return Answer(cell=cell, failed=name, message=str(error))


