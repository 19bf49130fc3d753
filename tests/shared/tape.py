"""Random numbers, written down as a sampled run asks for them: they give its responses again by plain loops.

A run asks for four arrays for each rollout, [replicate, prompt] and three times [replicate, prompt, response]: which
class, which path, where the response ends, and how it is graded, each by where a number in [0, 1) falls among the
chances. Resampling asks for more groups for the replicates that lack some. Then come orders of the groups, one for
each pass over the mini-batches, where there are several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import lossim as ls
import reference as ref
from reference import Group, Response, World

Array = np.ndarray[Any, np.dtype[Any]]


class Tape(np.random.Generator):
    """A generator that keeps all it gave, with what to divide by for numbers in [0, 1)."""

    def __init__(self, seed: int) -> None:
        super().__init__(np.random.PCG64(seed))
        self.given: list[tuple[Array, float]] = []

    def kept(self, numbers: Array, ceiling: float) -> Array:
        self.given.append((numbers, ceiling))
        return numbers

    def integers(self, high: int, **options: Any) -> Array:  # type: ignore[override]
        return self.kept(super().integers(high, **options), high)

    def random(self, *args: Any, **options: Any) -> Array:  # type: ignore[override]
        return self.kept(super().random(*args, **options), 1.0)

    def permuted(self, *args: Any, **options: Any) -> Array:  # type: ignore[override]
        return self.kept(super().permuted(*args, **options), 1.0)


class Again(np.random.Generator):
    """A generator that gives one replicate alone what it was given among others."""

    def __init__(self, tape: Tape, replicate: int) -> None:
        super().__init__(np.random.PCG64(0))
        self.rest = iter([numbers[replicate:replicate + 1] for numbers, _ in tape.given])

    def integers(self, *_: Any, **__: Any) -> Array:  # type: ignore[override]
        return next(self.rest)

    random = permuted = integers  # type: ignore[assignment]


class Reader:
    """What happened in a run, read off its tape rollout by rollout."""

    def __init__(self, tape: Tape, scheme: ls.Scheme) -> None:
        self.rest, self.scheme = iter(tape.given), scheme

    def numbers(self) -> Array:
        numbers, ceiling = next(self.rest)
        return numbers / ceiling

    def rollout(self, worlds: Sequence[World], unequal: Callable[[Group], bool] | None = None) -> list[list[Group]]:
        """The groups of each replicate, which drew from a world of its own; those kept only, if there is a rule."""
        need = self.scheme.prompts_per_step * self.scheme.minibatches
        groups: list[list[Group]] = [[] for _ in worlds]
        while missing := [r for r, own in enumerate(groups) if len(own) < need]:
            classes, paths, ends, grades = (self.numbers() for _ in range(4))
            for row, r in enumerate(missing):
                drawn = [group(worlds[r], *u) for u in zip(classes[row], paths[row], ends[row], grades[row],
                                                           strict=True)]
                groups[r] += drawn if unequal is None else filter(unequal, drawn)
        return [own[:need] for own in groups]

    def orders(self, replicates: int) -> list[Array]:
        """The groups [replicate, prompt] of each optimiser step on a rollout."""
        parts, prompts = self.scheme.minibatches, self.scheme.prompts_per_step
        if parts == 1:
            return [np.tile(np.arange(prompts), (replicates, 1))] * self.scheme.ppo_epochs
        return [part for _ in range(self.scheme.ppo_epochs) for part in np.split(next(self.rest)[0], parts, axis=1)]

    def finished(self) -> bool:
        return next(self.rest, None) is None


def group(world: World, of_class: float, paths: Array, ends: Array, grades: Array) -> Group:
    """A prompt and its responses, by where numbers in [0, 1) fall."""
    j = place([prompts.weight for prompts in world.classes], of_class)
    return j, [response(world, j, *u) for u in zip(paths, ends, grades, strict=True)]


def response(world: World, j: int, of_path: float, of_end: float, of_grade: float) -> Response:
    k = place([path.probability for path in world.classes[j].paths], of_path)
    path, going = world.classes[j].paths[k], 1.0
    for t, hazard in enumerate(path.hazard, start=1):
        going *= 1.0 - hazard
        if of_end < 1.0 - going:
            return Response(k, t, False, bool(of_grade < path.p_correct[t - 1]))
    return Response(k, world.max_tokens, True, bool(of_grade < path.p_correct_truncated))


def place(chances: Sequence[float], u: float) -> int:
    """Which of the chances, laid end to end on [0, 1), a number falls in."""
    below = 0.0
    for i, chance in enumerate(chances):
        below += chance
        if u < below:
            return i
    return max(i for i, chance in enumerate(chances) if chance > 0.0)  # rounding at 1


def plain(policy: ls.Policy) -> World:
    """The world of a policy that is its own reference."""
    cells = iter(range(len(policy.class_of_cell)))
    arrivals = iter(policy.arrays.arrival.tolist())

    def state(probability: float) -> ref.RefPath:
        c = next(cells)
        return ref.RefPath(probability=probability, hazard=policy.hazard[c].tolist(),
                           p_correct=policy.correctness[c, :-1].tolist(),
                           p_correct_truncated=float(policy.correctness[c, -1]))

    def path(given: ls.Path) -> ref.RefPath:
        first = state(given.probability)
        if given.work is None:
            return first
        return replace(first, done=state(given.probability), arrival=next(arrivals))

    return World(max_tokens=policy.max_tokens, classes=[
        ref.RefClass(weight=prompts.weight, paths=[path(each) for each in prompts.paths])
        for prompts in policy.classes])


def world_of(world: World, policy: ls.Policy, old: ls.Policy) -> World:
    """The world with these as the policy and the old policy."""
    now, before = plain(policy), plain(old)

    def state(path: ref.RefPath, mine: ref.RefPath, drawn: ref.RefPath) -> ref.RefPath:
        reference_hazard, reference_probability = path.other("reference")
        made = replace(path, hazard=mine.hazard, probability=mine.probability, p_correct=mine.p_correct,
                       p_correct_truncated=mine.p_correct_truncated, old_hazard=drawn.hazard,
                       old_probability=drawn.probability, reference_hazard=reference_hazard,
                       reference_probability=reference_probability,
                       old_p_correct=(drawn.p_correct, drawn.p_correct_truncated))
        return made if path.done is None else replace(made, done=state(path.done, mine.done, drawn.done))

    def prompts(given: ref.RefClass, mine: ref.RefClass, drawn: ref.RefClass) -> ref.RefClass:
        paths = zip(given.paths, mine.paths, drawn.paths, strict=True)
        return replace(given, paths=[state(*each) for each in paths])

    return replace(world, classes=[prompts(*each) for each in zip(world.classes, now.classes, before.classes,
                                                                  strict=True)])
