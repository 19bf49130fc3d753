"""A policy as a user writes it: prompt classes, the cap, and what training moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from lossim._model import CellArrays, Coordinates, Draws, Features, Layout, Motion
from lossim._support import checks
from lossim._support.types import ArrayLike, FloatArray
from lossim.lengths import hazard_logits
from lossim.policies._moved import moved
from lossim.policies._prompts import Path, PromptClass, sums_to_one, unique
from lossim.rewards import Reward
from lossim.rollouts import Rollouts

__all__ = ["Policy"]


def _view(name: str, doc: str) -> Any:
    """One of a policy's arrays, see :class:`~lossim._model.CellArrays`, as an attribute of the policy itself."""
    return property(lambda policy: getattr(policy.arrays, name), doc=doc)


@dataclass(frozen=True, eq=False)
class Policy:
    """Prompt classes × paths, cut at ``max_tokens``, in coordinates that say what training moves.

    What engines see of it is ``arrays``; the properties below are views of these.

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
        checks.keep(self, "max_tokens", checks.whole)
        checks.keep(self, "classes", checks.members, PromptClass, "PromptClass")
        if not self.classes:
            checks.fail("classes", [], "must hold at least one prompt class")
        unique("classes", [prompts.name for prompts in self.classes])
        sums_to_one("class weights", [prompts.weight for prompts in self.classes])
        if isinstance(self.coordinates, type) or not hasattr(self.coordinates, "lay_out"):
            checks.fail("coordinates", self.coordinates, "must come from coordinates(...) or kernel(...)", "",
                        TypeError)
        # Coordinates that do not fit, and laws or grades that cannot be had at this cap, are told now.
        _ = self.motion
        _ = self.arrays

    # --- what engines see -------------------------------------------------------------------------------------

    @cached_property
    def layout(self) -> Layout:
        """The cells, class by class."""
        names = tuple((prompts.name, path.name) for prompts in self.classes for path in prompts.paths)
        counts = [len(prompts.paths) for prompts in self.classes]
        return Layout(cell_names=names, class_of_cell=np.repeat(np.arange(len(counts)), counts),
                      max_tokens=self.max_tokens)

    @cached_property
    def motion(self) -> Motion:
        """The coordinates laid out for these cells."""
        return self.coordinates.lay_out(self.layout)

    @cached_property
    def arrays(self) -> CellArrays:
        """Hazard logits, path probabilities and grades by cell, and all that follows from them."""
        n = self.max_tokens
        return CellArrays(
            layout=self.layout,
            class_weight=np.array([prompts.weight for prompts in self.classes]),
            probability=np.array([path.probability for path in self.paths]),
            logits=np.array([hazard_logits(path.length, n) for path in self.paths]),
            correctness=np.array([np.append(path.correctness(n), path.p_correct_truncated) for path in self.paths]))

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The paths of all classes in order: one per cell."""
        return tuple(path for prompts in self.classes for path in prompts.paths)

    # --- views of the arrays ----------------------------------------------------------------------------------

    cell_names = _view("cell_names", "(class, path) per cell.")
    class_of_cell = _view("class_of_cell", "Class index per cell.")
    class_cells = _view("class_cells", "The cells of each class.")
    length = _view("length", "T for each end: 1, 2, ..., N, N.")
    class_weight = _view("class_weight", "ω per class.")
    probability = _view("probability", "π per cell: chance of the path in its class.")
    cell_weight = _view("cell_weight", "ω·π per cell: chance of the cell.")
    logits = _view("logits", "Hazard logits z [cell, t]; ±inf where the hazard is exactly 1 or 0.")
    hazard = _view("hazard", "h [cell, t]: P(stop at t given still going at t).")
    stay = _view("stay", "1 - h [cell, t].")
    log_stop = _view("log_stop", "log h [cell, t].")
    log_stay = _view("log_stay", "log (1 - h) [cell, t].")
    log_at_risk = _view("log_at_risk", "log P(T >= t) [cell, N+1]; the last column is the log of the truncated mass.")
    at_risk = _view("at_risk", "S [cell, t] = P(T >= t).")
    ends = _view("ends", "P(end) [cell, end]: stopped at 1..N, truncated.")
    pmf = _view("pmf", "P(stopped at t) [cell, t]; sums to 1 minus the truncated mass.")
    law = _view("law", "P(grade, end) [cell, grade, end]; sums to 1 in each cell.")
    correctness = _view("correctness", "P(correct | end) [cell, end].")
    mean_length_by_cell = _view("mean_length_by_cell", "E[T | cell], tokens.")
    mean_length_gradient = _view("mean_length_gradient", "∂E[T | cell]/∂z(t), [cell, t], tokens per unit logit.")
    mean_length = _view("mean_length", "E[T], tokens.")
    length_std = _view("length_std", "Standard deviation of T over all responses, tokens.")
    truncation_rate = _view("truncation_rate", "P(truncated).")
    accuracy = _view("accuracy", "P(correct), truncated responses by their own grade.")

    def pgf(self, u: ArrayLike) -> FloatArray:
        """E[u^T] per cell for u in [0, 1]: shape [..., cell] for u of shape [...]."""
        points = checks.number_array("u", u, low=0.0, high=1.0)
        return np.power(points[..., None], self.length) @ self.ends.T

    # --- samples ----------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator, *, prompts: int, group_size: int) -> Draws:
        """Sample ``prompts`` groups of ``group_size`` responses as indices of cell, grade and end."""
        return self.arrays.draw(rng, prompts=prompts, group_size=group_size)

    def sample(self, rng: np.random.Generator, *, prompts: int, group_size: int = 1, reward: Reward | None = None
               ) -> Rollouts:
        """Sample responses as one would log them; ``reward`` pays them (default 1 if correct, else 0)."""
        if not isinstance(rng, np.random.Generator):
            checks.fail("rng", rng, "must be a numpy Generator", "pass np.random.default_rng(0)", TypeError)
        prompts = checks.whole("prompts", prompts)
        group_size = checks.whole("group_size", group_size)
        rule = Reward() if reward is None else reward
        if not isinstance(rule, Reward):
            checks.fail("reward", reward, "must be a Reward", "for example Reward(correct=1.0)", TypeError)
        draws = self.draw(rng, prompts=prompts, group_size=group_size)
        length = self.length[draws.end]
        correct = draws.grade == 0
        cut = draws.end == self.max_tokens
        paid = rule.group_values(length, correct, cut)
        prompt_ids = np.repeat(np.arange(prompts), group_size)
        classes = self.class_of_cell[draws.cell]
        return Rollouts(length.ravel(), paid.ravel(), prompt_ids, cut.ravel(), correct.ravel(), classes.ravel())

    # --- other policies ---------------------------------------------------------------------------------------

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

        def weight_of(prompts: PromptClass) -> float:
            if prompts.name in weights:
                return weights[prompts.name]
            return max(left, 0.0) * prompts.weight / others if others else 0.0

        return replace(self, classes=[replace(prompts, weight=weight_of(prompts)) for prompts in self.classes])

    def recapped(self, max_tokens: int) -> Policy:
        """The same policy, cut elsewhere. Beyond a cap that it was moved under, logits move as they did at that cap.

        Raises:
            ValueError: a law of length that is not known so far, for example one given as a table.

        >>> import lossim as ls
        >>> short = ls.policies.unsolvable(length=ls.lengths.geometric(mean=100), max_tokens=128)
        >>> round(short.mean_length, 1), round(short.recapped(512).mean_length, 1)
        (72.4, 99.4)
        """
        return replace(self, max_tokens=max_tokens)

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
        probability = self.arrays.tilted(paths)
        shift = np.where(np.isfinite(self.logits), stops, 0.0)  # a certain stop beyond this cap stays certain
        classes = []
        for prompts, cells in zip(self.classes, self.class_cells, strict=True):
            laws = [moved(path.length, own) for path, own in zip(prompts.paths, shift[cells], strict=True)]
            paths_now = [replace(path, probability=float(p), length=law)
                         for path, p, law in zip(prompts.paths, probability[cells], laws, strict=True)]
            classes.append(replace(prompts, paths=paths_now))
        return replace(self, classes=classes)

    def __getstate__(self) -> dict[str, object]:
        """The fields alone: what is computed from them is large, and computed again."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    def __repr__(self) -> str:
        classes = len(self.classes)
        cells = len(self.cell_names)
        return (f"Policy({classes} class{'es' * (classes > 1)}, {cells} cell{'s' * (cells > 1)}, "
                f"max_tokens={self.max_tokens}: "
                f"mean length {self.mean_length:.4g}, accuracy {self.accuracy:.3g}, "
                f"truncated {self.truncation_rate:.3g})")
