"""Draws as small values that can be sent to another process, and how one of them is answered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any, TypeVar

from lossim._model import Features, Kernels, Members
from lossim._support.checks import Invalid
from lossim._support.text import Note
from lossim._surveying.questions import CRITICS, Answer, How, Question
from lossim.policies import Policy

__all__ = ["MOVES", "Chunk", "answered"]

MOVES = tuple(each.name for each in fields(Features))
"""Arguments of :func:`lossim.coordinates`."""
OWN_COORDINATES = Note("own coordinates", "the start has coordinates of its own, which stay: no kernel was drawn")
Found = TypeVar("Found")
HOW = ("critic", "pace", "steps")
"""Arguments of how a question is put."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some draws of a question: the values of each by name, known ones included.

    ``own`` are names that the start takes itself. Of the ``kernels``, if there are any, each draw has the member of
    its number, counted on from ``first``.
    """

    question: Question
    start: Callable[..., Policy]
    own: frozenset[str]
    kernels: Kernels | None
    first: int
    draws: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A draw that has a policy: the start, and how the question is put to it."""

    start: Policy
    how: How


def answered(chunk: Chunk) -> list[Answer]:
    """The answer of each draw. What no policy has, or no policy answers, is an answer too: it says what failed."""
    drawn = [_guarded(partial(_asked, chunk, draw, number)) for number, draw in enumerate(chunk.draws, chunk.first)]
    asked = [each for each in drawn if isinstance(each, _Asked)]
    answers = iter(_answers(chunk.question, asked))
    found = [each if isinstance(each, Answer) else next(answers) for each in drawn]
    return [_with_kernel(chunk, answer, each) if isinstance(each, _Asked) else answer
            for each, answer in zip(drawn, found, strict=True)]


def _answers(question: Question, asked: list[_Asked]) -> list[Answer]:
    """The answers of some draws: together where that can be, else one by one."""
    try:
        together = question.answers([each.start for each in asked], [each.how for each in asked])
    except (ValueError, ArithmeticError):
        together = None
    if together is not None:
        return together
    return [_guarded(partial(question.answer, each.start, each.how)) for each in asked]


def _guarded(compute: Callable[[], Found]) -> Found | Answer:
    """What is computed, or an answer that says what failed."""
    try:
        return compute()
    except Invalid as error:
        if not isinstance(error, ValueError):
            raise
        return Answer(failed=error.name, message=str(error))
    except (ValueError, ArithmeticError) as error:
        return Answer(failed=type(error).__name__, message=str(error))


def _asked(chunk: Chunk, draw: Mapping[str, Any], number: int) -> _Asked:
    """The start of a draw, and how it moves."""
    policy = _policy(chunk, draw)
    return _Asked(start=policy, how=replace(_how(chunk, draw), member=_member(chunk.kernels, policy, number)))


def _with_kernel(chunk: Chunk, answer: Answer, asked: _Asked) -> Answer:
    """The answer with the kernel that was drawn, or a note that none was."""
    if answer.failed:
        return answer
    member = asked.how.member
    if member is not None:
        return replace(answer, kernel={name: float(values[0]) for name, values in member.parts.items()})
    return answer if chunk.kernels is None else replace(answer, notes=(*answer.notes, OWN_COORDINATES))


def _member(kernels: Kernels | None, policy: Policy, number: int) -> Members | None:
    """The kernel of a draw; none where the start has coordinates of its own."""
    if kernels is None or policy.coordinates != Features():
        return None
    return kernels.lay_out(policy.layout).one(number)


def _policy(chunk: Chunk, draw: Mapping[str, Any]) -> Policy:
    """The start with these arguments, and in coordinates of these."""
    given = {name: value for name, value in draw.items() if name in chunk.own}
    moves = {name: value for name, value in draw.items() if name in MOVES and name not in chunk.own}
    coordinates = Features(**moves) if moves else None if "coordinates" in chunk.own else draw.get("coordinates")
    if coordinates is None:
        return chunk.start(**given)
    if "coordinates" in chunk.own:
        return chunk.start(**given, coordinates=coordinates)
    return chunk.start(**given).in_coordinates(coordinates)


def _how(chunk: Chunk, draw: Mapping[str, Any]) -> How:
    given = {name: value for name, value in draw.items() if name in HOW and name not in chunk.own}
    critic = given.get("critic")
    settled = {name: draw[name] for name in chunk.question.unsettled if name in draw and name not in chunk.own}
    return How(**given | ({"critic": CRITICS[critic]} if isinstance(critic, str) else {}), settled=settled)
