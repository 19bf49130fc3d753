"""A policy as a user writes it: prompt classes, the cap, and what training moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np

from lossim._model import CellArrays, Coordinates, Directions, Draws, Features, Layout, Motion
from lossim._support import checks
from lossim._support.quotients import quotient
from lossim._support.types import ArrayLike, FloatArray
from lossim.lengths import hazard_logits
from lossim.policies._moved import moved
from lossim.policies._prompts import Path, PromptClass, law_of, sums_to_one, unique
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
        notes: what was assumed when it was made; results on it repeat them.

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
    notes: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        checks.keep(self, "max_tokens", checks.positions)
        checks.keep(self, "classes", checks.members, PromptClass, "PromptClass")
        checks.keep(self, "notes", checks.members, str, "texts")
        if not self.classes:
            checks.fail("classes", [], "must hold at least one prompt class")
        unique("classes", [prompts.name for prompts in self.classes])
        sums_to_one("class weights", [prompts.weight for prompts in self.classes])
        # Coordinates that do not fit, and laws or grades that cannot be had at this cap, are told now.
        _ = self.motion
        _ = self.arrays

    # --- what engines see -------------------------------------------------------------------------------------

    @cached_property
    def layout(self) -> Layout:
        """The cells, class by class."""
        names = [(prompts.name, path.name) for prompts in self.classes for path in prompts.paths]
        cells = [name if not path.states else (*name, state)
                 for name, path in zip(names, self.paths, strict=True) for state in path.states or ("",)]
        paths = [len(prompts.paths) for prompts in self.classes]
        states = [len(path.laws) for path in self.paths]
        grades = [name for path in self.paths for name in path.other_grades]
        return Layout.of(tuple(cells), tuple(paths), tuple(states), self.max_tokens,
                         ("correct", "incorrect", *dict.fromkeys(grades)))

    @cached_property
    def motion(self) -> Motion:
        """The coordinates laid out for these cells."""
        if isinstance(self.coordinates, type) or not hasattr(self.coordinates, "lay_out"):
            checks.fail("coordinates", self.coordinates, "must come from coordinates(...) or kernel(...)", "",
                        TypeError)
        return self.coordinates.lay_out(self.layout)

    @cached_property
    def arrays(self) -> CellArrays:
        """Hazard logits, path probabilities and grades by cell, and all that follows from them."""
        n = self.max_tokens
        targets = [np.nan if prompts.target is None else prompts.target for prompts in self.classes]
        arrivals = [path.work.arrival(n) for path in self.paths if path.work is not None]
        return CellArrays(
            layout=self.layout,
            class_weight=np.array([prompts.weight for prompts in self.classes]),
            probability=np.array([path.probability for path in self.paths]),
            logits=np.array([hazard_logits(law, n, entered=state > 0)
                             for path in self.paths for state, law in enumerate(path.laws)]),
            correctness=np.concatenate([path.correctness(n) for path in self.paths]),
            others=np.concatenate([path.others(self.layout.grades[2:], n) for path in self.paths]),
            arrival=np.array(arrivals).reshape(-1, n),
            target=None if np.isnan(targets).all() else np.array(targets))

    @cached_property
    def directions(self) -> Directions:
        """What both say of where mean length goes."""
        return Directions(policy=self.arrays, motion=self.motion)

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The paths of all classes in order."""
        return tuple(path for prompts in self.classes for path in prompts.paths)

    # --- views of the arrays ----------------------------------------------------------------------------------

    cell_names = _view("cell_names", "(class, path) per cell, and the state where the path has two.")
    class_of_cell = _view("class_of_cell", "Class index per cell.")
    class_cells = _view("class_cells", "The cells of each class.")
    length = _view("length", "T for each end: 1, 2, ..., N, N.")
    class_weight = _view("class_weight", "ω per class.")
    probability = _view("probability", "π per path: its chance in its class.")
    path_weight = _view("path_weight", "ω·π per path.")
    cell_weight = _view("cell_weight", "ω·π per cell: chance of its path.")
    logits = _view("logits", "Hazard logits z [cell, t]; ±inf where the hazard is exactly 1 or 0.")
    hazard = _view("hazard", "h [cell, t]: P(stop at t given still going at t).")
    stay = _view("stay", "1 - h [cell, t].")
    log_stop = _view("log_stop", "log h [cell, t].")
    log_stay = _view("log_stay", "log (1 - h) [cell, t].")
    log_at_risk = _view("log_at_risk", "log P(in the cell at t | path) [cell, N+1]; last that of being cut there.")
    at_risk = _view("at_risk", "S [cell, t] = P(in the cell at t | path); with one state P(T >= t).")
    ends = _view("ends", "P(end in the cell | path) [cell, end]: stopped at 1..N, truncated.")
    pmf = _view("pmf", "P(stopped at t in the cell | path) [cell, t].")
    law = _view("law", "P(grade, end in the cell | path) [cell, grade, end]; sums to 1 over the states of a path.")
    correctness = _view("correctness", "P(correct | end) [cell, end].")
    mean_length_by_path = _view("mean_length_by_path", "E[T | path], tokens.")
    mean_length_gradient = _view("mean_length_gradient", "∂E[T | path]/∂z(t), [cell, t], tokens per unit logit.")
    mean_length = _view("mean_length", "E[T], tokens.")
    length_std = _view("length_std", "Standard deviation of T over all responses, tokens.")
    truncation_rate = _view("truncation_rate", "P(truncated).")
    accuracy = _view("accuracy", "P(correct), truncated responses by their own grade.")

    def pgf(self, u: ArrayLike) -> FloatArray:
        """E[u^T] per path for u in [0, 1]: shape [..., path] for u of shape [...]."""
        points = checks.number_array("u", u, low=0.0, high=1.0)
        return self.layout.by_path(np.power(points[..., None], self.length) @ self.ends.T)

    # --- samples ----------------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator, *, prompts: int, group_size: int) -> Draws:
        """Sample ``prompts`` groups of ``group_size`` responses as indices of cell, grade, end and entry."""
        return self.arrays.draw(rng, prompts=prompts, group_size=group_size)

    def sample(self, rng: np.random.Generator, *, prompts: int, group_size: int = 1, reward: Reward | None = None
               ) -> Rollouts:
        """Sample responses as one would log them; ``reward`` pays them (default 1 if correct, else 0).

        Each with the name of its path, and on paths with work with the position at which its answer was there.
        """
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
        classes = self.class_of_cell[draws.cell]
        targets = None if self.arrays.target is None else self.arrays.target[classes]
        paid = rule.group_values(length, correct, cut, not_correct=rule.by_grade(self.layout.grades)[draws.grade],
                                 target=targets)
        prompt_ids = np.repeat(np.arange(prompts), group_size)
        names = np.array([name for _, name in self.layout.path_names])[self.layout.path_of_cell[draws.cell]]
        answered = None
        if len(self.arrays.arrival):
            done = np.isin(draws.cell, self.layout.moves.target)
            answered = np.where(done, draws.entered + 1.0, np.nan).ravel()
        return Rollouts(length.ravel(), paid.ravel(), prompt_ids, cut.ravel(), correct.ravel(), classes.ravel(),
                        answered=answered, path_names=names.ravel(),
                        targets=None if targets is None or np.isnan(targets).any() else targets.ravel())

    # --- other policies ---------------------------------------------------------------------------------------

    def in_coordinates(self, coordinates: Coordinates) -> Self:
        """The same policy, moved by training in other coordinates; what it is made of is not computed again.

        Raises:
            ValueError: coordinates that do not fit, as where a policy is made.

        >>> import lossim as ls
        >>> policy = ls.policies.unsolvable(length=ls.lengths.geometric(mean=100), max_tokens=128)
        >>> policy.in_coordinates(ls.coordinates(bins=4)).coordinates
        Features(bins=4, edges=None, sharing=0.95, class_sharing=0.85, path_scale=1.0)
        """
        found = object.__new__(type(self))
        vars(found).update(vars(self), coordinates=coordinates)
        vars(found).pop("motion", None)
        _ = found.motion
        return found

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

    def with_targets(self, targets: ArrayLike) -> Policy:
        """A policy whose prompts ask for lengths: each class once for each target, tokens, with equal shares.

        Responses are as before, whatever is asked for; classes that differ by it can be written out one by one, each
        with its ``target``. L1 draws targets from 100 to 4000: ``np.linspace(100, 4000, 40)``.

        Raises:
            ValueError: no target, or one below 1; coordinates that hold numbers for each cell.

        >>> import lossim as ls
        >>> policy = ls.Policy([ls.PromptClass("math", paths=[
        ...     ls.Path("all", length=ls.lengths.geometric(mean=300), p_correct=0.5)])], max_tokens=1024)
        >>> [prompts.name for prompts in policy.with_targets([200, 400]).classes]
        ['math, target 200', 'math, target 400']
        >>> scheme = ls.schemes.grpo(reward=ls.Reward(shaping=ls.rewards.LCPOExact(alpha=0.003)))
        >>> print(ls.drift(scheme, policy.with_targets([100, 150])).verdict)
        responses get shorter, -36.8 tokens (-37.1 to -30.2) in a step of 0.01 nats
        """
        each = checks.number_array("targets", targets, ndim=1, low=1.0, fix="a target is a number of tokens").tolist()
        if not each:
            checks.fail("targets", [], "must hold at least one target")
        share = 1.0 / len(each)
        return replace(self, classes=[
            replace(prompts, name=f"{prompts.name}, target {target:g}", weight=prompts.weight * share, target=target)
            for prompts in self.classes for target in each])

    def with_paths(self, paths: Literal["one", "outcome"]) -> Policy:
        """A policy of the same joint law of class, length and grade that sees something else of a response.

        ``"one"``: each class has one path, on which P(correct) depends on the length; the policy sees the position
        alone, not whether the answer is there. ``"outcome"``: a right and a wrong path in each class, with a law of
        length each, cut responses by their grade; the policy knows from the first token how it will end.

        >>> import lossim as ls
        >>> thinks = ls.Path("thinks", length=ls.lengths.geometric(mean=100), p_correct=0.0, work=ls.Work(
        ...     answer=ls.lengths.geometric(mean=50), done=ls.lengths.geometric(mean=20)))
        >>> policy = ls.Policy([ls.PromptClass("prompts", paths=[thinks])], max_tokens=512)
        >>> policy.with_paths("outcome")
        Policy(1 class, 2 cells, max_tokens=512: mean length 46.31, accuracy 0.671, truncated 3.64e-07)
        """
        checks.choice("paths", paths, ("one", "outcome"))
        arrays = self.arrays
        classes = []
        for prompts, cells in zip(self.classes, self.class_cells, strict=True):
            law = np.einsum("c,cge->ge", arrays.cell_probability[cells], arrays.law[cells])
            named = self.layout.grades
            made = _one_path(law, named) if paths == "one" else _two_paths(law, named)
            classes.append(replace(prompts, paths=made))
        return replace(self, classes=classes)

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

    def shifted(self, stops: ArrayLike, paths: ArrayLike, skills: ArrayLike | None = None) -> Policy:
        """The policy after its logits moved by ``stops`` [cell, t], ``paths`` [path] and ``skills`` [cell].

        What is certain stays: logits of ±inf, and chances to be correct of 0 and 1.
        """
        def given(name: str, value: ArrayLike, *shape: int) -> FloatArray:
            move = checks.number_array(name, value)
            if move.shape != shape:
                checks.fail(name, move.shape, f"must have shape {shape} (its shape is shown)")
            return move

        shift = given("stops", stops, *self.logits.shape)
        shifts = iter(np.where(np.isfinite(self.logits), shift, 0.0))  # a certain stop beyond this cap stays certain
        probability = iter(self.arrays.tilted(given("paths", paths, self.layout.paths)).tolist())
        cells = len(shift)
        learned = iter(given("skills", np.zeros(cells) if skills is None else skills, cells).tolist())
        classes = []
        for prompts in self.classes:
            now = [path.moved(next(probability), [moved(law, next(shifts)) for law in path.laws],
                              [next(learned) for _ in path.laws]) for path in prompts.paths]
            classes.append(replace(prompts, paths=now))
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


def _one_path(law: FloatArray, grades: Sequence[str]) -> list[Path]:
    """A law [grade, end] as one path on which P(correct) depends on the end."""
    ends = law.sum(axis=0)
    correct = quotient(law[0], ends)
    return [Path("all", length=law_of(ends), p_correct=correct[:-1], p_correct_truncated=float(correct[-1]),
                 grades=_shares(law[1:], grades))]


def _two_paths(law: FloatArray, grades: Sequence[str]) -> list[Path]:
    """A law [grade, end] as a right and a wrong path, those of them that occur."""
    ends = [law[0], law[1:].sum(axis=0)]
    share = np.sum(ends, axis=1)
    others: list[dict[str, Any]] = [{}, _shares(law[1:], grades)]
    return [Path(name, probability=float(share[wrong] / share.sum()), length=law_of(ends[wrong]),
                 p_correct=1.0 - wrong, p_correct_truncated=1.0 - wrong, grades=others[wrong])
            for wrong, name in enumerate(("right", "wrong")) if share[wrong] > 0]


def _shares(wrong: FloatArray, grades: Sequence[str]) -> dict[str, Any]:
    """P(grade | end, not correct) of the grades from 2 on, from masses of those not correct, [grade - 1, end]."""
    share = quotient(wrong, wrong.sum(axis=0))
    return dict(zip(grades[2:], share[1:], strict=True))
