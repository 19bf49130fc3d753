"""Cells as small values that can be sent to another process, and how one of them is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from typing import Any, TypeVar

import numpy as np

from lossim._model import Features
from lossim._support import checks
from lossim._support.memory import keep_pages
from lossim._sweeping.places import Place, put
from lossim._sweeping.reading import Reading, read
from lossim.policies import Policy
from lossim.schemes import Scheme

__all__ = ["Answer", "Axis", "Chunk", "Plan", "answered"]

Found = TypeVar("Found")


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

    @property
    def together(self) -> bool:
        """Whether the function answers cells together that differ in their policies alone: it has ``many``."""
        return self.start is not None and self.seed is None and hasattr(self.function, "many")

    @property
    def order(self) -> list[int]:
        """The cells in the order in which they are asked: those one after another that are answered together."""
        cells = np.arange(prod(self.shape)).reshape(self.shape)
        if not self.together:
            return cells.ravel().tolist()
        return cells.transpose([*self._other_axes, *self._policy_axes]).ravel().tolist()

    def mates(self, cell: int) -> tuple[int, ...]:
        """Where a cell stands on the axes that are not of the policy: alike in cells that are answered together."""
        at = self._at(cell)
        return tuple(at[axis] for axis in self._other_axes)

    def inputs(self, cell: int) -> dict[str, float | str]:
        """Where a cell stands, by axis, as it is shown."""
        return {axis.name: axis.shown[at] for axis, at in zip(self.axes, self._at(cell), strict=True)}

    def answer(self, cell: int) -> Reading:
        """The numbers of a cell."""
        subjects, how = self._asked(cell)
        if self.start is not None:
            subjects.append(self.policy(cell))
        return read(self.function(*subjects, **how), self.called)

    def answers(self, cells: Sequence[int], policies: Sequence[Policy]) -> list[Reading]:
        """The numbers of cells that differ in their policies alone, to rounding as one by one."""
        subjects, how = self._asked(cells[0])
        found = self.function.many(*subjects, policies, **how)  # type: ignore[attr-defined]
        return [read(result, self.called) for _, result in zip(cells, found, strict=True)]

    def policy(self, cell: int) -> Policy:
        """The policy of a cell."""
        _, placed = self._given(cell)
        assert self.start is not None
        return _policy(self.start, _of(placed, "start"), _of(placed, "coordinates"))

    def _asked(self, cell: int) -> tuple[list[Any], dict[str, Any]]:
        """The scheme, if there is any, and the arguments of the function."""
        scheme, placed = self._given(cell)
        how = _of(placed, "function")
        if self.seed is not None:
            how["rng"] = np.random.default_rng((self.seed, cell))
        if not self.schemes:
            return [], how
        fields = {place.paths[scheme]: value for place, value in placed if place.owner == "scheme"}
        return [put(self.schemes[scheme], fields)], how

    @cached_property
    def _policy_axes(self) -> list[int]:
        """The axes that are of the policy, by number."""
        return [number for number, axis in enumerate(self.axes) if axis.place is not None
                and axis.place.owner in ("start", "coordinates")]

    @cached_property
    def _other_axes(self) -> list[int]:
        """All others."""
        return [number for number in range(len(self.axes)) if number not in self._policy_axes]

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
    keep_pages()  # the next cells need what these let go of
    plan = chunk.plan
    if not plan.together:
        return [_alone(plan, cell) for cell in chunk.cells]
    groups: dict[tuple[int, ...], list[int]] = {}
    for cell in chunk.cells:
        groups.setdefault(plan.mates(cell), []).append(cell)
    return [answer for cells in groups.values() for answer in _together(plan, cells)]


def _together(plan: Plan, cells: Sequence[int]) -> list[Answer]:
    """The answers of cells that differ in their policies alone; where one fails each is asked alone."""
    made = [_guarded(cell, partial(plan.policy, cell)) for cell in cells]
    with_policy = [cell for cell, each in zip(cells, made, strict=True) if not isinstance(each, Answer)]
    answers = [each for each in made if isinstance(each, Answer)]
    if not with_policy:
        return answers
    try:
        readings = plan.answers(with_policy, [each for each in made if not isinstance(each, Answer)])
    except Exception:  # whatever one of them raises
        return answers + [_alone(plan, cell) for cell in with_policy]
    return answers + [Answer(cell=cell, reading=reading) for cell, reading in zip(with_policy, readings, strict=True)]


def _alone(plan: Plan, cell: int) -> Answer:
    """The answer of a cell."""
    found = _guarded(cell, partial(plan.answer, cell))
    return found if isinstance(found, Answer) else Answer(cell=cell, reading=found)


def _guarded(cell: int, compute: Callable[[], Found]) -> Found | Answer:
    """What is computed, or an answer that says what failed."""
    try:
        return compute()
    except Exception as error:  # whatever a cell raises, the others are computed
        name = error.name if isinstance(error, checks.Invalid) else type(error).__name__
        return Answer(cell=cell, failed=name, message=str(error))


