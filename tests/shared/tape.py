"""Random numbers, written down as a sampled run asks for them: they give its responses again by plain loops.

A run asks for four arrays for each rollout, [replicate, prompt] and three times [replicate, prompt, response]: which
class, which path, where the response ends, and how it is graded, each by where a number in [0, 1) falls among the
chances. Between the last two come, if any path that was drawn has work, when the answers of these responses come, and
of those for which that is before their end, how long they wait for the stop. Resampling asks for more groups for the
replicates that lack some. Then come orders of the groups, one for each pass over the mini-batches, where there are
several.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import lossim as ls
import reference as ref
from reference import Group, RefPath, Response, World

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

    def standard_exponential(self, *args: Any, **options: Any) -> Array:  # type: ignore[override]
        return self.kept(super().standard_exponential(*args, **options), 1.0)


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

    def rollout(self, worlds: Sequence[World], taken: Callable[[Group], bool] | None = None) -> list[list[Group]]:
        """The groups of each replicate, which drew from a world of its own; those kept only, if there is a rule."""
        need = self.scheme.prompts_per_step * self.scheme.minibatches
        groups: list[list[Group]] = [[] for _ in worlds]
        while missing := [r for r, own in enumerate(groups) if len(own) < need]:
            for r, drawn in zip(missing, self.drawn([worlds[r] for r in missing]), strict=True):
                groups[r] += drawn if taken is None else filter(taken, drawn)
        return [own[:need] for own in groups]

    def drawn(self, worlds: Sequence[World]) -> list[list[Group]]:
        """Groups of each world, as they were asked for together."""
        classes, paths, ends = (self.numbers() for _ in range(3))
        started = [[group(world, *u) for u in zip(*of_world, strict=True)]
                   for world, *of_world in zip(worlds, classes, paths, ends, strict=True)]

        def paths_with_work() -> Iterator[tuple[RefPath, list[Response], int]]:
            """The responses whose answers take work: their path, their group and their place in it."""
            for world, groups in zip(worlds, started, strict=True):
                for j, responses in groups:
                    for i, begun in enumerate(responses):
                        path = world.classes[j].paths[begun.path]
                        if path.done is not None:
                            yield path, responses, i

        if any(paths_with_work()):
            for (path, responses, i), u in zip(paths_with_work(), self.numbers(), strict=True):
                moved = arrived(path, u)
                if moved is not None and moved <= responses[i].length:
                    responses[i] = responses[i]._replace(moved=moved)
            waits = iter(self.numbers())
            for path, responses, i in paths_with_work():
                if responses[i].moved:
                    responses[i] = waited(path.done, responses[i], next(waits))
            assert next(waits, None) is None
        grades = self.numbers()
        return [[(j, [graded(world, j, begun, u) for begun, u in zip(responses, of_group, strict=True)])
                 for (j, responses), of_group in zip(groups, of_world, strict=True)]
                for world, groups, of_world in zip(worlds, started, grades, strict=True)]

    def orders(self, replicates: int) -> list[Array]:
        """The groups [replicate, prompt] of each optimiser step on a rollout."""
        parts, prompts = self.scheme.minibatches, self.scheme.prompts_per_step
        if parts == 1:
            return [np.tile(np.arange(prompts), (replicates, 1))] * self.scheme.ppo_epochs
        return [part for _ in range(self.scheme.ppo_epochs) for part in np.split(next(self.rest)[0], parts, axis=1)]

    def finished(self) -> bool:
        return next(self.rest, None) is None


def group(world: World, of_class: float, paths: Array, ends: Array) -> Group:
    """A prompt and its responses as far as their first state goes, by where numbers in [0, 1) fall."""
    j = place([prompts.weight for prompts in world.classes], of_class)
    return j, [begun(world, j, *u) for u in zip(paths, ends, strict=True)]


def begun(world: World, j: int, of_path: float, of_end: float) -> Response:
    """A response that nothing happens to before it ends, graded incorrect so far."""
    k = place([path.probability for path in world.classes[j].paths], of_path)
    going = 1.0
    for t, hazard in enumerate(world.classes[j].paths[k].hazard, start=1):
        going *= 1.0 - hazard
        if of_end < 1.0 - going:
            return Response(k, t, False, False)
    return Response(k, world.max_tokens, True, False)


def arrived(path: RefPath, u: float) -> int | None:
    """At the start of which token the answer is there, whatever the stops."""
    for t in range(1, len(path.arrival) + 1):
        if u < path.chance_done(t):
            return t
    return None


def waited(done: RefPath, response: Response, wait: float) -> Response:
    """The end of a response that is done: the sum of -log(1 - hazard) from there on is what it waits for."""
    total = 0.0
    for t in range(response.moved, len(done.hazard) + 1):
        if done.hazard[t - 1] == 1.0:
            return response._replace(length=t, truncated=False)
        total -= math.log1p(-done.hazard[t - 1])
        if wait < total:
            return response._replace(length=t, truncated=False)
    return response._replace(length=len(done.hazard), truncated=True)


def graded(world: World, j: int, response: Response, u: float) -> Response:
    """The response with its grade, by the rule of the state it ended in."""
    state = world.classes[j].paths[response.path].state(response, response.length)
    chance = state.p_correct_truncated if response.truncated else state.p_correct[response.length - 1]
    return response._replace(correct=bool(u < chance))


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
