"""The arrays of a policy: all that engines see of it.

Arrays run over cells (class, path), flattened in order. An *end* is how a response ended: column t-1 of an array
[..., end] is "stopped at t", the last column "cut at max_tokens". A *grade* is 0 for correct, 1 for incorrect.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from lossim._support.positions import after, log_survival
from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray

__all__ = ["CellArrays", "Draws", "Layout"]


class Layout(Record):
    """The cells of a policy, class by class: (class, path) names, the index of the class, and the cap.

    Attributes:
        cell_names: (class, path) per cell.
        class_of_cell: index of the class, [cell], increasing.
        max_tokens: N; positions run from 1 to N.
    """

    cell_names: tuple[tuple[str, str], ...]
    class_of_cell: IntArray
    max_tokens: int

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.cell_names)

    @property
    def path_names(self) -> tuple[str, ...]:
        """The path's name per cell."""
        return tuple(path for _, path in self.cell_names)

    @cached_property
    def class_cells(self) -> tuple[slice, ...]:
        """The cells of each class."""
        first = np.flatnonzero(np.diff(self.class_of_cell, prepend=-1)).tolist()
        return tuple(slice(start, end) for start, end in zip(first, [*first[1:], self.cells], strict=True))

    @cached_property
    def length(self) -> FloatArray:
        """T for each end: 1, 2, ..., N, N."""
        n = self.max_tokens
        return np.append(np.arange(1.0, n + 1.0), float(n))

    def repeated(self, count: int) -> Layout:
        """The cells of so many policies as those of one: all cells of the first, then all of the second, ..."""
        classes = int(self.class_of_cell[-1]) + 1
        first_class = np.repeat(np.arange(count) * classes, self.cells)
        return Layout(cell_names=self.cell_names * count, max_tokens=self.max_tokens,
                      class_of_cell=first_class + np.tile(self.class_of_cell, count))


class Draws(Record):
    """Sampled responses as indices: ``cell``, ``grade`` and ``end``, arrays of one shape, [..., prompt, response]."""

    cell: IntArray
    grade: IntArray
    end: IntArray


class CellArrays(Record):
    """Hazard logits, path probabilities and grades by cell, and what follows from them.

    Another policy of the same cells is ``dataclasses.replace(arrays, logits=...)``: nothing derived is carried over.

    Attributes:
        layout: the cells.
        class_weight: ω, share of the prompts, [class].
        probability: π, chance of the path in its class, [cell].
        logits: z, log-odds to stop at t if still going, [cell, t]; ±inf where the hazard is exactly 1 or 0.
        correctness: P(correct | end), [cell, end].
    """

    layout: Layout
    class_weight: FloatArray
    probability: FloatArray
    logits: FloatArray
    correctness: FloatArray

    # --- layout -----------------------------------------------------------------------------------------------

    @cached_property
    def max_tokens(self) -> int:
        """N, tokens."""
        return self.layout.max_tokens

    @cached_property
    def cell_names(self) -> tuple[tuple[str, str], ...]:
        """(class, path) per cell."""
        return self.layout.cell_names

    @cached_property
    def class_of_cell(self) -> IntArray:
        """Class index per cell."""
        return self.layout.class_of_cell

    @cached_property
    def class_cells(self) -> tuple[slice, ...]:
        """The cells of each class."""
        return self.layout.class_cells

    @cached_property
    def length(self) -> FloatArray:
        """T for each end: 1, 2, ..., N, N."""
        return self.layout.length

    # --- law --------------------------------------------------------------------------------------------------

    @cached_property
    def cell_weight(self) -> FloatArray:
        """ω·π per cell: chance of the cell."""
        return self.class_weight[self.class_of_cell] * self.probability

    @cached_property
    def log_stop(self) -> FloatArray:
        """log h [cell, t]; exact for ±inf."""
        return 0.0 - np.logaddexp(0.0, -self.logits)

    @cached_property
    def log_stay(self) -> FloatArray:
        """log (1 - h) [cell, t]; exact for ±inf."""
        return 0.0 - np.logaddexp(0.0, self.logits)

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
        """P(end) [cell, end]: p(t) = h(t)·S(t) at the stops 1..N, then the truncated mass."""
        stopped = np.exp(self.log_at_risk[:, :-1] + self.log_stop)
        cut = np.exp(self.log_at_risk[:, -1])
        return np.column_stack([stopped, cut])

    @cached_property
    def pmf(self) -> FloatArray:
        """P(stopped at t) [cell, t]; sums to 1 minus the truncated mass."""
        return self.ends[:, :-1]

    @cached_property
    def law(self) -> FloatArray:
        """P(grade, end) [cell, grade, end]; sums to 1 in each cell."""
        return np.stack([self.ends * self.correctness, self.ends * (1.0 - self.correctness)], axis=1)

    # --- moments ----------------------------------------------------------------------------------------------

    @cached_property
    def mean_length_by_cell(self) -> FloatArray:
        """E[T | cell], tokens."""
        return self.ends @ self.length

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

    @cached_property
    def mean_length_gradient(self) -> FloatArray:
        """∂E[T | cell]/∂z(t) = -h(t) Σ_{u>t} P(T >= u), [cell, t], tokens per unit logit."""
        nobody = np.zeros(len(self.at_risk))
        return -self.hazard * after(np.column_stack([self.at_risk, nobody]))

    # --- samples and moves ------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator, *, prompts: int, group_size: int) -> Draws:
        """Sample ``prompts`` groups of ``group_size`` responses, by inverse cdf of the log survival."""
        shape = (prompts, group_size)
        count = len(self.class_weight)
        classes = rng.choice(count, size=prompts, p=self.class_weight / self.class_weight.sum())
        # The path: one search in the running sum of all probabilities, begun where those of the class begin.
        edges = np.cumsum(self.probability)
        first_cell = np.searchsorted(self.class_of_cell, np.arange(count))
        before = np.concatenate([[0.0], edges])[first_cell]
        cell = np.searchsorted(edges, before[classes][:, None] + rng.random(shape), side="right")
        last_cell = np.searchsorted(self.class_of_cell, classes, side="right") - 1
        cell = np.minimum(cell, last_cell[:, None])
        # The end: -log S has a standard exponential law.
        waiting = rng.standard_exponential(shape)
        end = np.empty(shape, dtype=np.int64)
        for c in range(len(self.probability)):
            mine = cell == c
            end[mine] = np.searchsorted(-self.log_at_risk[c, 1:], waiting[mine], side="right")
        grade = (rng.random(shape) >= self.correctness[cell, end]).astype(np.int64)
        return Draws(cell=cell, grade=grade, end=end)

    def shifted(self, stops: FloatArray, paths: FloatArray) -> CellArrays:
        """The arrays after the logits moved by ``stops`` [cell, t] and ``paths`` [cell]; ±inf logits stay."""
        return replace(self, logits=self.logits + stops, probability=self.tilted(paths))

    def tilted(self, paths: FloatArray) -> FloatArray:
        """Chances of the paths after their logits moved by ``paths``, both [..., cell]."""
        probability = np.empty_like(paths)
        for mine in self.class_cells:
            moved = paths[..., mine]
            odds = self.probability[mine] * np.exp(moved - moved.max(axis=-1, keepdims=True))
            probability[..., mine] = odds / odds.sum(axis=-1, keepdims=True)
        return probability
