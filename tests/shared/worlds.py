"""The worlds of the oracle: token by token, what can happen in them, and how their logits move.

Slow on purpose: scalars, lists and loops, nothing from the package. Positions run t = 1..N; cells run over the
classes and then over their paths. "The policy" is the new one, which is moved; ``World.old`` has the one that
responses are drawn from, and both reach the same responses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np


@dataclass(frozen=True, kw_only=True)
class RefPath:
    """One path: hazards and p_correct at t = 1..N. Without a reference or an old policy it is its own.

    With ``arrival``, P(the answer is there at the start of t | it was not before), ``hazard`` and ``p_correct`` are
    those of responses that still work, and ``done`` has those of responses that are done.
    """

    probability: float
    hazard: Sequence[float]
    p_correct: Sequence[float]
    p_correct_truncated: float = 0.0
    reference_hazard: Sequence[float] | None = None
    reference_probability: float | None = None
    old_hazard: Sequence[float] | None = None
    old_probability: float | None = None
    old_p_correct: tuple[Sequence[float], float] | None = None  # p_correct, p_correct_truncated
    arrival: Sequence[float] | None = None
    done: RefPath | None = None

    def state(self, response: Response, t: int) -> RefPath:
        """The hazards that token t of the response is drawn by."""
        return self.done if self.done is not None and response.done(t) else self

    def chance_done(self, t: int) -> float:
        """P(done at t, going on regardless)."""
        return 0.0 if self.arrival is None else 1.0 - math.prod(1.0 - q for q in self.arrival[:t])

    def other(self, policy: str) -> tuple[Sequence[float], float]:
        """Hazards and path probability under the "reference" or the "old" policy."""
        hazard, probability = getattr(self, f"{policy}_hazard"), getattr(self, f"{policy}_probability")
        return self.hazard if hazard is None else hazard, self.probability if probability is None else probability

    def old(self) -> RefPath:
        """The path under the old policy, with the reference it has under the new one."""
        (hazard, probability), (reference_hazard, reference_probability) = self.other("old"), self.other("reference")
        p_correct, p_correct_truncated = self.old_p_correct or (self.p_correct, self.p_correct_truncated)
        return RefPath(
            probability=probability,
            hazard=hazard,
            p_correct=p_correct,
            p_correct_truncated=p_correct_truncated,
            reference_hazard=reference_hazard,
            reference_probability=reference_probability,
            arrival=self.arrival,
            done=None if self.done is None else self.done.old(),
        )


@dataclass(frozen=True, kw_only=True)
class RefClass:
    weight: float
    paths: Sequence[RefPath]


@dataclass(frozen=True, kw_only=True)
class World:
    classes: Sequence[RefClass]
    max_tokens: int

    def cell(self, j: int, k: int, done: bool = False) -> int:
        """The row of path k of class j in a hazard gradient."""
        before = [path for i in range(j) for path in self.classes[i].paths] + list(self.classes[j].paths[:k])
        return sum(1 if path.done is None else 2 for path in before) + int(done)

    @property
    def cells(self) -> int:
        """The rows of a hazard gradient."""
        return self.cell(len(self.classes) - 1, len(self.classes[-1].paths))

    def old(self) -> World:
        """The same prompts, answered by the old policy."""
        classes = [RefClass(weight=c.weight, paths=[p.old() for p in c.paths]) for c in self.classes]
        return World(classes=classes, max_tokens=self.max_tokens)


class Response(NamedTuple):
    """A cut response has length N, and may still be graded correct. ``moved``: its first token done; 0 if none."""

    path: int
    length: int
    truncated: bool
    correct: bool
    moved: int = 0

    def done(self, t: int) -> bool:
        """Whether the answer was there at token t."""
        return 0 < self.moved <= t

    def stops_at(self, t: int) -> bool:
        """Whether token t is the stop token. A truncated response has none."""
        return t == self.length and not self.truncated


class Update(NamedTuple):
    hazard_gradient: list[list[float]]  # [cell][t-1]
    path_gradient: list[list[float]]  # [class][path]


Quantity = Callable[[int, int, int, bool, bool], float]  # of class, path, length, truncated, correct
Entry = tuple[int, int, int, float]  # table of the Update (0 hazards, 1 paths), row, column, value


def zero(world: World) -> Update:
    """An update that moves nothing."""
    cells = [[0.0] * world.max_tokens for _ in range(world.cells)]
    return Update(cells, [[0.0] * len(prompts.paths) for prompts in world.classes])


# ---- one response ----


def atoms(world: World, j: int) -> list[tuple[float, Response]]:
    """Every response to a prompt of class j that can happen, with its probability."""
    found: list[tuple[float, Response]] = []

    def ends(k: int, going: float, state: RefPath, t: int, moved: int) -> float:
        """Note the responses that stop at t in a state; the probability of those that go on."""
        stopped = going * state.hazard[t - 1]
        found.append((stopped * state.p_correct[t - 1], Response(k, t, False, True, moved)))
        found.append((stopped * (1.0 - state.p_correct[t - 1]), Response(k, t, False, False, moved)))
        return going * (1.0 - state.hazard[t - 1])

    def cut(k: int, going: float, state: RefPath, moved: int) -> None:
        found.append((going * state.p_correct_truncated, Response(k, world.max_tokens, True, True, moved)))
        found.append((going * (1.0 - state.p_correct_truncated), Response(k, world.max_tokens, True, False, moved)))

    for k, path in enumerate(world.classes[j].paths):
        working = path.probability
        done: dict[int, float] = {}  # by the first token done
        for t in range(1, world.max_tokens + 1):
            if path.arrival is not None:
                done[t] = working * path.arrival[t - 1]
                working = working * (1.0 - path.arrival[t - 1])
            working = ends(k, working, path, t, 0)
            if path.done is not None:
                done = {moved: ends(k, going, path.done, t, moved) for moved, going in done.items()}
        cut(k, working, path, 0)
        for moved, going in done.items():
            if path.done is not None:
                cut(k, going, path.done, moved)
    return [(probability, response) for probability, response in found if probability > 0.0]


def score(world: World, j: int, response: Response, t: int) -> list[Entry]:
    """d log probability of token t by its stop logit and, at t = 1, by the path logits."""
    stop = 1.0 if response.stops_at(t) else 0.0
    hazard = world.classes[j].paths[response.path].state(response, t).hazard[t - 1]
    entries = [(0, world.cell(j, response.path, response.done(t)), t - 1, stop - hazard)]
    if t == 1:
        for k, path in enumerate(world.classes[j].paths):
            entries.append((1, j, k, (1.0 if k == response.path else 0.0) - path.probability))
    return entries


def skill_score(world: World, j: int, response: Response) -> tuple[int, float]:
    """The cell where a response ended, and d log probability of its grade by the log-odds to be correct there."""
    state = world.classes[j].paths[response.path].state(response, response.length)
    chance = state.p_correct_truncated if response.truncated else state.p_correct[response.length - 1]
    return world.cell(j, response.path, response.done(response.length)), float(response.correct) - chance


def log_ratio(world: World, j: int, response: Response, t: int, other: str = "reference") -> float:
    """Log probability of token t, less that under the other policy; token 1 includes the path."""
    path = world.classes[j].paths[response.path]
    state = path.state(response, t)
    other_hazard, other_probability = state.other(other)[0], path.other(other)[1]
    h, h_other = state.hazard[t - 1], other_hazard[t - 1]
    d = math.log(h / h_other) if response.stops_at(t) else math.log((1.0 - h) / (1.0 - h_other))
    return d + math.log(path.probability / other_probability) if t == 1 else d


def stop_entropy(h: float) -> tuple[float, float]:
    """Entropy of one stop decision, and its derivative by the logit: h (1-h) log((1-h)/h)."""
    if h in (0.0, 1.0):
        return 0.0, 0.0
    return -h * math.log(h) - (1.0 - h) * math.log(1.0 - h), h * (1.0 - h) * math.log((1.0 - h) / h)


def entropy_gradient(world: World, j: int, response: Response, t: int) -> list[Entry]:
    """Gradient of the entropy of the decision at token t.

    At t = 1 that is the path together with the stop decision on it: H = sum_k pi_k (H(h_k(1)) - log pi_k), averaged
    over whether the answer is there at once.
    """
    paths = world.classes[j].paths
    if t > 1:
        state = paths[response.path].state(response, t)
        return [(0, world.cell(j, response.path, response.done(t)), t - 1, stop_entropy(state.hazard[t - 1])[1])]
    states = [[(path, 1.0 - path.chance_done(1), False)] for path in paths]
    for path, mine in zip(paths, states, strict=True):
        if path.done is not None:
            mine.append((path.done, path.chance_done(1), True))
    parts = [sum(share * stop_entropy(state.hazard[0])[0] for state, share, _ in mine) - math.log(path.probability or 1)
             for path, mine in zip(paths, states, strict=True)]
    joint = sum(path.probability * part for path, part in zip(paths, parts, strict=True))
    entries: list[Entry] = []
    for k, path in enumerate(paths):
        for state, share, done in states[k]:
            entries.append((0, world.cell(j, k, done), 0, path.probability * share * stop_entropy(state.hazard[0])[1]))
        entries.append((1, j, k, path.probability * (parts[k] - joint)))
    return entries


# ---- one response on average, and how that moves ----

LENGTH: Quantity = lambda j, k, length, truncated, correct: length  # noqa: E731


def expected_value(world: World, f: Quantity) -> float:
    """E[f(class, path, length, truncated, correct)] of one response."""
    terms = []
    for j, prompts in enumerate(world.classes):
        terms += [prompts.weight * probability * f(j, *response[:4]) for probability, response in atoms(world, j)]
    return math.fsum(terms)


def gradient_of_mean(world: World, f: Quantity = LENGTH) -> Update:
    """d E[f] by every logit: sum over responses of probability * f * score. f itself does not move."""
    total = zero(world)
    for j, prompts in enumerate(world.classes):
        for probability, response in atoms(world, j):
            for t in range(1, response.length + 1):
                for table, row, column, value in score(world, j, response, t):
                    total[table][row][column] += prompts.weight * probability * f(j, *response[:4]) * value
    return total


def inner(a: Update, b: Update) -> float:
    """Sum over all logits of a * b."""
    pairs = [(row_a, row_b) for i in (0, 1) for row_a, row_b in zip(a[i], b[i], strict=True)]
    return math.fsum(x * y for row_a, row_b in pairs for x, y in zip(row_a, row_b, strict=True))


def numeric_derivative(world: World, update: Update, f: Quantity = LENGTH) -> float:
    """d E[f] per unit step when every logit moves along ``update``; exact."""
    return inner(gradient_of_mean(world, f), update)


# ---- random worlds ----


def random_world(
    rng: np.random.Generator,
    classes: int = 2,
    paths: int | Sequence[int] = 2,  # one number, or one per class
    max_tokens: int = 3,
    *,
    zero_one: float = 0.1,  # chance that a hazard is exactly 0 or 1
    curves: float = 0.25,  # chance that a p_correct is neither 0 nor 1 (each adds a response to enumerate)
    graded_truncation: bool = False,  # give truncated responses a p_correct
    reference: bool = False,  # give the world a reference policy, with the same hazards of 0 and 1
    old: bool = False,  # give the world an old policy, with the same hazards of 0 and 1; the rest stays as drawn
    work: float = 0.0,  # chance that a path has work
) -> World:
    def shares(count: int) -> list[float]:
        parts = [0.2 + float(rng.random()) for _ in range(count)]
        return [part / sum(parts) for part in parts]

    def number(zero_or_one: float, low: float, high: float) -> float:
        return float(rng.integers(2)) if rng.random() < zero_or_one else float(rng.uniform(low, high))

    made = []
    for j, weight in enumerate(shares(classes)):
        count = paths if isinstance(paths, int) else paths[j]
        members = []
        for probability, other_probability in zip(shares(count), shares(count), strict=True):
            hazard = [number(zero_one, 0.1, 0.9) for _ in range(max_tokens)]
            other_hazard = [h if h in (0.0, 1.0) else number(0.0, 0.1, 0.9) for h in hazard]
            path = RefPath(
                probability=probability,
                hazard=hazard,
                p_correct=[number(1.0 - curves, 0.0, 1.0) for _ in range(max_tokens)],
                p_correct_truncated=number(1.0 - curves, 0.0, 1.0) if graded_truncation else 0.0,
                reference_hazard=other_hazard if reference else None,
                reference_probability=other_probability if reference else None,
            )
            if rng.random() < work:
                path = with_work(path, rng, curves=curves, graded_truncation=graded_truncation, reference=reference)
            members.append(path)
        made.append(RefClass(weight=weight, paths=members))
    if old:
        made = [replace(c, paths=with_old(c.paths, shares(len(c.paths)), rng)) for c in made]
    return World(classes=made, max_tokens=max_tokens)


def with_work(path: RefPath, rng: np.random.Generator, *, curves: float, graded_truncation: bool, reference: bool
              ) -> RefPath:
    """The path as its working state, with a done state of its own, right more often."""
    count = len(path.hazard)
    sure = rng.random(2) >= curves
    done = RefPath(
        probability=path.probability,
        hazard=[float(x) for x in rng.uniform(0.1, 0.9, count)],
        p_correct=[1.0] * count if sure[0] else [float(x) for x in rng.random(count)],
        p_correct_truncated=float(sure[1]) if graded_truncation else 0.0,
        reference_hazard=[float(x) for x in rng.uniform(0.1, 0.9, count)] if reference else None,
    )
    return replace(path, done=done, arrival=[float(x) for x in rng.uniform(0.0, 0.6, count)])


def with_old(paths: Sequence[RefPath], probabilities: Sequence[float], rng: np.random.Generator) -> list[RefPath]:
    """Old policies up to 2.5 in log odds from the new: ratios within clips of 0.2, outside, and above 3."""

    def shifted(h: float) -> float:
        return h / (h + (1.0 - h) * math.exp(float(rng.uniform(-2.5, 2.5))))

    def moved(path: RefPath, probability: float) -> RefPath:
        now = replace(path, old_hazard=[shifted(h) for h in path.hazard], old_probability=probability)
        return now if path.done is None else replace(now, done=moved(path.done, probability))

    return [moved(path, probability) for path, probability in zip(paths, probabilities, strict=True)]
