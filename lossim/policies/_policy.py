"""A policy: prompt classes, the paths a response can take, and when it stops on each.

Arrays run over cells (class, path), flattened in order. An *end* is how a response ended: column t-1 of an array
[..., N+1] is "stopped at t", the last column "cut at max_tokens". A *grade* is 0 for correct, 1 for incorrect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from lossim._model import Coordinates, Features, Layout, Motion
from lossim._support import checks
from lossim._support.positions import after, log_hazard, log_survival
from lossim._support.types import ArrayLike, FloatArray, IntArray
from lossim.lengths import from_logits
from lossim.policies._prompts import Path, PromptClass, sums_to_one, unique
from lossim.rewards import Reward
from lossim.rollouts import Rollouts

__all__ = ["Draws", "Policy"]

_UNMOVED = ("max_tokens", "coordinates", "motion", "cell_names", "class_of_cell", "class_cells", "class_weight",
            "length", "correctness")
"""What a policy shares with those it moves to."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """Sampled groups as indices: ``cell``, ``grade`` and ``end``, each [prompt, response]."""

    cell: IntArray
    grade: IntArray
    end: IntArray


@dataclass(frozen=True, eq=False)
class Policy:
    """Prompt classes × paths, cut at ``max_tokens``, in coordinates that say what training moves.

    Attributes:
        classes: prompt classes whose weights sum to 1.
        max_tokens: N, the cut; a response that has not stopped at N is truncated, with length N.
        coordinates: see :func:`lossim.coordinates` and :func:`lossim.kernel`.

    Raises:
        ValueError: weights that do not sum to 1, two classes of one name, a kernel that does not fit.

    >>> import lossim as ls
    >>> policy = ls.Policy([ls.PromptClass("easy", paths=[
    ...     ls.Path("only", length=ls.lengths.geometric(mean=20), p_correct=0.8)])], max_tokens=64)
    >>> round(policy.mean_length, 3), round(policy.truncation_rate, 4), round(policy.accuracy, 3)
    (19.25, 0.0375, 0.77)
    """

    classes: Sequence[PromptClass]
    max_tokens: int = field(kw_only=True)
    coordinates: Coordinates = field(default_factory=Features, kw_only=True)

    def __post_init__(self) -> None:
        checks.whole("max_tokens", self.max_tokens)
        object.__setattr__(self, "classes", checks.members("classes", self.classes, PromptClass, "PromptClass"))
        if not self.classes:
            checks.fail("classes", [], "must hold at least one prompt class")
        unique("classes", [prompts.name for prompts in self.classes])
        sums_to_one("class weights", [prompts.weight for prompts in self.classes])
        if isinstance(self.coordinates, type) or not hasattr(self.coordinates, "lay_out"):
            checks.fail("coordinates", self.coordinates, "must come from coordinates(...) or kernel(...)", "",
                        TypeError)
        _ = self.motion, self.logits, self.law

    # --- layout -----------------------------------------------------------------------------------------------

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The paths of all classes in order: one per cell."""
        return tuple(path for prompts in self.classes for path in prompts.paths)

    @cached_property
    def cell_names(self) -> tuple[tuple[str, str], ...]:
        """(class, path) per cell."""
        return tuple((prompts.name, path.name) for prompts in self.classes for path in prompts.paths)

    @cached_property
    def class_of_cell(self) -> IntArray:
        """Class index per cell."""
        return np.repeat(np.arange(len(self.classes)), [len(prompts.paths) for prompts in self.classes])

    @cached_property
    def class_cells(self) -> tuple[slice, ...]:
        """The cells of each class."""
        ends = np.cumsum([len(prompts.paths) for prompts in self.classes])
        return tuple(slice(int(end) - len(prompts.paths), int(end))
                     for end, prompts in zip(ends, self.classes, strict=True))

    @cached_property
    def motion(self) -> Motion:
        """The coordinates laid out for these cells."""
        return self.coordinates.lay_out(Layout(
            class_of_cell=self.class_of_cell, path_names=tuple(path.name for path in self.paths),
            max_tokens=self.max_tokens))

    @cached_property
    def length(self) -> FloatArray:
        """T for each end: 1, 2, ..., N, N."""
        n = self.max_tokens
        return np.append(np.arange(1.0, n + 1.0), float(n))

    # --- law --------------------------------------------------------------------------------------------------

    @cached_property
    def class_weight(self) -> FloatArray:
        """ω per class."""
        return np.array([prompts.weight for prompts in self.classes])

    @cached_property
    def probability(self) -> FloatArray:
        """π per cell: chance of the path in its class."""
        return np.array([path.probability for path in self.paths])

    @cached_property
    def cell_weight(self) -> FloatArray:
        """ω·π per cell: chance of the cell."""
        return self.class_weight[self.class_of_cell] * self.probability

    @cached_property
    def logits(self) -> FloatArray:
        """Hazard logits z [cell, t]; ±inf where the hazard is exactly 1 or 0."""
        return np.array([path.length.logits(self.max_tokens) for path in self.paths])

    @cached_property
    def _log_hazard(self) -> tuple[FloatArray, FloatArray]:
        return log_hazard(self.logits)

    @property
    def log_stop(self) -> FloatArray:
        """log h [cell, t]."""
        return self._log_hazard[0]

    @property
    def log_stay(self) -> FloatArray:
        """log (1 - h) [cell, t]."""
        return self._log_hazard[1]

    @cached_property
    def hazard(self) -> FloatArray:
        """h [cell, t]: P(stop at t given still going at t)."""
        return np.exp(self.log_stop)

    @cached_property
    def stay(self) -> FloatArray:
        """1 - h [cell, t]."""
        return np.exp(self.log_stay)

    @cached_property
    def log_at_risk(self) -> FloatArray:
        """log P(T >= t) [cell, N+1]; the last column is the log of the truncated mass."""
        return log_survival(self.log_stay)

    @cached_property
    def at_risk(self) -> FloatArray:
        """S [cell, t] = P(T >= t)."""
        return np.exp(self.log_at_risk[:, :-1])

    @cached_property
    def ends(self) -> FloatArray:
        """P(end) [cell, end]: stopped at 1..N, truncated."""
        stopped = np.exp(self.log_at_risk[:, :-1] + self.log_stop)
        return np.column_stack([stopped, np.exp(self.log_at_risk[:, -1])])

    @property
    def pmf(self) -> FloatArray:
        """P(stopped at t) [cell, t]; sums to 1 minus the truncated mass."""
        return self.ends[:, :-1]

    @cached_property
    def law(self) -> FloatArray:
        """P(grade, end) [cell, grade, end]; sums to 1 in each cell."""
        return np.stack([self.ends * self.correctness, self.ends * (1.0 - self.correctness)], axis=1)

    @cached_property
    def correctness(self) -> FloatArray:
        """P(correct | end) [cell, end]."""
        return np.array([np.append(path.correctness(self.max_tokens), path.p_correct_truncated) for path in self.paths])

    # --- moments ----------------------------------------------------------------------------------------------

    @cached_property
    def mean_length_by_cell(self) -> FloatArray:
        """E[T | cell], tokens."""
        means: FloatArray = self.ends @ self.length
        return means

    @property
    def mean_length(self) -> float:
        """E[T], tokens."""
        return float(self.cell_weight @ self.mean_length_by_cell)

    @property
    def length_std(self) -> float:
        """Standard deviation of T over all responses, tokens."""
        return float(np.sqrt(self.cell_weight @ (self.ends @ (self.length - self.mean_length) ** 2)))

    @property
    def truncation_rate(self) -> float:
        """P(truncated)."""
        return float(self.cell_weight @ self.ends[:, -1])

    @property
    def accuracy(self) -> float:
        """P(correct), truncated responses by their own grade."""
        return float(self.cell_weight @ self.law[:, 0].sum(axis=-1))

    def pgf(self, u: ArrayLike) -> FloatArray:
        """E[u^T] per cell for u in [0, 1]: shape [..., cell] for u of shape [...]."""
        points = checks.number_array("u", u, low=0.0, high=1.0)
        values: FloatArray = np.power(points[..., None], self.length) @ self.ends.T
        return values

    @cached_property
    def mean_length_gradient(self) -> FloatArray:
        """∂E[T | cell]/∂z(t) = -h(t) Σ_{u>t} P(T >= u), [cell, t], tokens per unit logit."""
        return -self.hazard * after(np.column_stack([self.at_risk, np.zeros(len(self.at_risk))]))

    # --- samples and moves ------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator, *, prompts: int, group_size: int) -> Draws:
        """Sample ``prompts`` groups of ``group_size`` responses as indices, by inverse cdf of the log survival."""
        shape = (prompts, group_size)
        classes = rng.choice(len(self.classes), size=prompts, p=self.class_weight / self.class_weight.sum())
        edges = np.cumsum(self.probability)
        before = np.concatenate([[0.0], edges])[np.searchsorted(self.class_of_cell, np.arange(len(self.classes)))]
        cell = np.searchsorted(edges, before[classes][:, None] + rng.random(shape), side="right")
        last = np.searchsorted(self.class_of_cell, classes, side="right") - 1
        cell = np.minimum(cell, last[:, None])
        waiting, end = rng.standard_exponential(shape), np.empty(shape, dtype=np.int64)
        for c in range(len(self.paths)):
            mine = cell == c
            end[mine] = np.searchsorted(-self.log_at_risk[c, 1:], waiting[mine], side="right")
        grade = (rng.random(shape) >= self.correctness[cell, end]).astype(np.int64)
        return Draws(cell=cell, grade=grade, end=end)

    def sample(self, rng: np.random.Generator, *, prompts: int, group_size: int = 1, reward: Reward | None = None
               ) -> Rollouts:
        """Sample responses as one would log them; ``reward`` pays them (default 1 if correct, else 0)."""
        if not isinstance(rng, np.random.Generator):
            checks.fail("rng", rng, "must be a numpy Generator", "pass np.random.default_rng(0)", TypeError)
        checks.whole("prompts", prompts)
        checks.whole("group_size", group_size)
        rule = Reward() if reward is None else reward
        if not isinstance(rule, Reward):
            checks.fail("reward", reward, "must be a Reward", "for example Reward(correct=1.0)", TypeError)
        draws = self.draw(rng, prompts=prompts, group_size=group_size)
        length, correct, cut = self.length[draws.end], draws.grade == 0, draws.end == self.max_tokens
        if rule.group_relative:
            paid = rule.group_values(length, correct, cut, np.ones_like(cut))
        else:
            paid = rule.values(length, correct, cut)
        return Rollouts(length.ravel(), paid.ravel(), np.repeat(np.arange(prompts), group_size), cut.ravel(),
                        correct.ravel(), self.class_of_cell[draws.cell].ravel())

    def reweighted(self, weights: Mapping[str, float]) -> Policy:
        """The same policy on other prompts: the named classes get these weights, the others share what is left."""
        if not isinstance(weights, Mapping):
            checks.fail("weights", weights, "must map class names to weights", "for example {'never': 0.5}", TypeError)
        names = [prompts.name for prompts in self.classes]
        for name, weight in weights.items():
            checks.choice("class", name, names)
            checks.probability(f"weight of class {name!r}", weight)
        left = 1.0 - sum(weights.values())
        others = sum(prompts.weight for prompts in self.classes if prompts.name not in weights)
        if left < -1e-9 or (left > 1e-9 and others <= 0):
            checks.fail("weights", dict(weights), "must leave a share in [0, 1] that the other classes can take")
        start: Policy = self.__dict__.get("_start", self)
        return self._moved_alike(replace(start, classes=[
            replace(prompts, weight=weights[prompts.name] if prompts.name in weights
                    else max(left, 0.0) * prompts.weight / others if others else 0.0) for prompts in start.classes]))

    def recapped(self, max_tokens: int) -> Policy:
        """The same policy, cut elsewhere. Beyond a cap that it was moved under, logits move as they did at that cap.

        Raises:
            ValueError: a law of length that is not known so far, for example one given as a table.

        >>> import lossim as ls
        >>> short = unsolvable(length=ls.lengths.geometric(mean=100), max_tokens=128)
        >>> round(short.mean_length, 1), round(short.recapped(512).mean_length, 1)
        (72.4, 99.4)
        """
        return self._moved_alike(replace(self.__dict__.get("_start", self), max_tokens=max_tokens))

    def _moved_alike(self, other: Policy) -> Policy:
        """Another start, moved as this policy was from its own."""
        start: Policy | None = self.__dict__.get("_start")
        if start is None:
            return other
        with np.errstate(invalid="ignore", divide="ignore"):
            stops = np.where(np.isfinite(start.logits), self.logits - start.logits, 0.0)
            paths = np.where(start.probability > 0, np.log(self.probability) - np.log(start.probability), 0.0)
        further = max(other.max_tokens - self.max_tokens, 0)
        stops = np.column_stack([stops, np.repeat(stops[:, -1:], further, axis=1)])[:, :other.max_tokens]
        return other.shifted(stops, paths)

    def moved(self, update: ArrayLike) -> Policy:
        """The policy after its coordinates moved by ``update`` (for example ``0.1 * drift(...).update``)."""
        move = checks.number_array("update", update, ndim=1)
        if len(move) != self.motion.size:
            checks.fail("update", move.shape, f"must have one entry per coordinate of this policy, {self.motion.size} "
                        "(its shape is shown)")
        return self.shifted(*self.motion.push(move))

    def shifted(self, stops: FloatArray, paths: FloatArray) -> Policy:
        """The policy after its logits moved by ``stops`` [cell, t] and ``paths`` [cell]; ±inf logits stay."""
        checks.number_array("stops", stops)
        return self.with_rates(logits=self.logits + stops, probability=self.tilted(paths))

    def with_rates(self, **arrays: FloatArray) -> Policy:
        """The policy with other ``logits`` [cell, t], ``probability`` [cell] or ``class_weight`` [class]; unchecked."""
        # Arrays now, classes when somebody asks: most policies on the way of a training run are never asked.
        made: Policy = object.__new__(Policy)
        made.__dict__.update({name: getattr(self, name) for name in _UNMOVED} | arrays,
                             _start=self.__dict__.get("_start", self))
        return made

    def tilted(self, paths: FloatArray) -> FloatArray:
        """Chances of the paths after their logits moved by ``paths``, both [..., cell]."""
        probability = np.empty_like(paths)
        for mine in self.class_cells:
            odds = self.probability[mine] * np.exp(paths[..., mine] - paths[..., mine].max(axis=-1, keepdims=True))
            probability[..., mine] = odds / odds.sum(axis=-1, keepdims=True)
        return probability

    def __getattr__(self, name: str) -> Any:
        if name != "classes" or "_start" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        classes = [replace(prompts, paths=[
            replace(path, probability=float(p), length=from_logits(z))
            for path, p, z in zip(prompts.paths, self.probability[mine], self.logits[mine], strict=True)])
            for prompts, mine in zip(self._start.classes, self.class_cells, strict=True)]
        self.__dict__["classes"] = tuple(classes)
        return self.classes

    def __getstate__(self) -> dict[str, object]:
        """The fields alone, or where it was moved to: what is computed from them is large, and computed again."""
        if "_start" in self.__dict__:
            return {name: self.__dict__[name] for name in ("_start", "logits", "probability")}
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        start = state.get("_start")
        shared = {} if start is None else {name: getattr(start, name) for name in _UNMOVED}
        self.__dict__.update(shared | state)

    def __repr__(self) -> str:
        classes, cells = len(self.classes), len(self.paths)
        return (f"Policy({classes} class{'es' * (classes > 1)}, {cells} cell{'s' * (cells > 1)}, "
                f"max_tokens={self.max_tokens}: "
                f"mean length {self.mean_length:.4g}, accuracy {self.accuracy:.3g}, "
                f"truncated {self.truncation_rate:.3g})")
