"""The arrays of a policy: all that engines see of it.

Arrays run over cells (class, path, state), flattened in order. A path is a chain of states, one or two: on a path with
work a response is *working* until its answer is there, and *done* from then on. It moves on at the start of a position,
before it stops there or goes on. An *end* is how a response ended: column t-1 of an array [..., end] is "stopped at t",
the last column "cut at max_tokens"; in which state it did, the cell tells. A *grade* is 0 for correct, 1 for incorrect,
and from 2 on another grade of those not correct.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy.special import expit, logit

from lossim._model.layout import Draws, Layout
from lossim._support.positions import (
    after,
    backward_chain,
    backward_recurrence,
    forward_recurrence,
    log_survival,
    one_ahead,
)
from lossim._support.quotients import quotient
from lossim._support.records import Record
from lossim._support.types import FloatArray, IntArray


class CellArrays(Record):
    """Hazard logits, path probabilities and grades by cell, and what follows from them.

    Another policy of the same cells is ``dataclasses.replace(arrays, logits=...)``: nothing derived is carried over.

    Attributes:
        layout: the cells.
        class_weight: ω, share of the prompts, [class].
        probability: π, chance of the path in its class, [path].
        logits: z, log-odds to stop at t if still going, [cell, t]; ±inf where the hazard is exactly 1 or 0.
        correctness: P(correct | end), [cell, end].
        others: P(grade | end, not correct) of the grades from 2 on, [cell, grade - 2, end].
        arrival: q(t) = P(moves on at the start of t | has not by then), [move, t].
        target: the number of tokens that prompts of a class ask for, [class], NaN where they ask for none; None if no
            class has one.
    """

    layout: Layout
    class_weight: FloatArray
    probability: FloatArray
    logits: FloatArray
    correctness: FloatArray
    others: FloatArray
    arrival: FloatArray
    target: FloatArray | None = None

    @classmethod
    def side_by_side(cls, policies: Sequence[CellArrays]) -> CellArrays:
        """Policies of the same cells as one: all cells of the first, then all of the second, ..."""
        def joined(name: str) -> FloatArray:
            return np.concatenate([getattr(policy, name) for policy in policies])

        return cls(layout=policies[0].layout.repeated(len(policies)), class_weight=joined("class_weight"),
                   probability=joined("probability"), logits=joined("logits"), correctness=joined("correctness"),
                   others=joined("others"), arrival=joined("arrival"),
                   target=None if any(policy.target is None for policy in policies) else joined("target"))

    # --- layout -----------------------------------------------------------------------------------------------

    @cached_property
    def max_tokens(self) -> int:
        """N, tokens."""
        return self.layout.max_tokens

    @cached_property
    def cell_names(self) -> tuple[tuple[str, ...], ...]:
        """(class, path) per cell, and the state where the path has two."""
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
    def path_weight(self) -> FloatArray:
        """ω·π per path: chance of the path."""
        return self.class_weight[self.layout.class_of_path] * self.probability

    @cached_property
    def cell_probability(self) -> FloatArray:
        """π per cell: chance of its path."""
        return self.probability[self.layout.path_of_cell]

    @cached_property
    def cell_weight(self) -> FloatArray:
        """ω·π per cell: chance of its path."""
        return self.path_weight[self.layout.path_of_cell]

    @cached_property
    def _odds(self) -> FloatArray:
        """e^{-|z|}, [cell, t]: the smaller of both chances over the larger one; 0 for ±inf."""
        return np.exp(self.logits if self._rather_stays else -np.abs(self.logits))

    @cached_property
    def _rather_stays(self) -> bool:
        """Whether going on is the likelier of both everywhere."""
        return bool((self.logits < 0).all())

    @cached_property
    def _log_one_plus_odds(self) -> FloatArray:
        return np.log1p(self._odds)

    @cached_property
    def _chances(self) -> tuple[FloatArray, FloatArray]:
        """h and 1 - h, [cell, t]: the larger of both is 1/(1 + e^{-|z|}), and the smaller one e^{-|z|} times that."""
        larger = 1.0 + self._odds
        np.divide(1.0, larger, out=larger)
        smaller = self._odds * larger
        if self._rather_stays:
            return smaller, larger
        stays = self.logits < 0
        return np.where(stays, smaller, larger), np.where(stays, larger, smaller)

    @cached_property
    def log_stop(self) -> FloatArray:
        """log h [cell, t]; exact for ±inf."""
        return np.minimum(self.logits, 0.0) - self._log_one_plus_odds

    @cached_property
    def log_stay(self) -> FloatArray:
        """log (1 - h) [cell, t]; exact for ±inf."""
        if self._rather_stays:
            return -self._log_one_plus_odds
        return -(np.maximum(self.logits, 0.0) + self._log_one_plus_odds)

    @cached_property
    def hazard(self) -> FloatArray:
        """h [cell, t]: P(stop at t given still going at t)."""
        return self._chances[0]

    @cached_property
    def stay(self) -> FloatArray:
        """1 - h [cell, t]."""
        return self._chances[1]

    @cached_property
    def log_at_risk(self) -> FloatArray:
        """log P(in the state at t, before it stops or goes on | path), [cell, N+1]; last the log of what is cut there.

        In a first state A_t and in the one after it D_t, with those who enter m_t (derivations, section 18):

            A_t = Π_{u<t} (1 - h(u)) · Π_{u≤t} (1 - q(u)) ,    D_t = m_t + (1 - h(t-1)) D_{t-1}
        """
        going = log_survival(self.log_stay)
        if not len(self.arrival):
            return going
        source, target, _ = self.layout.moves
        going[source, :-1] += self.log_waiting
        going[source, -1] += self.log_waiting[:, -1]
        with np.errstate(divide="ignore"):
            for cell, stay, entering in zip(target, self.stay[target], self.entering, strict=True):
                inside = forward_recurrence(stay, entering)
                going[cell] = np.log(np.append(inside, inside[-1] * stay[-1]))
        return going

    @cached_property
    def log_waiting(self) -> FloatArray:
        """log P(W > t) = Σ_{u<=t} log (1 - q(u)) of the position W of a move, [move, t]."""
        with np.errstate(divide="ignore"):
            return np.cumsum(np.log1p(-self.arrival), axis=1)

    @cached_property
    def entering(self) -> FloatArray:
        """m_t = P(moves on at the start of t | path), [move, t]: the source's survival to there, times q."""
        stayed = log_survival(self.log_stay[self.layout.moves.source])[:, :-1]
        stayed[:, 1:] += self.log_waiting[:, :-1]
        return np.exp(stayed) * self.arrival

    @cached_property
    def early(self) -> IntArray:
        """The first column by which more have moved than are still to end, [move]."""
        moved = np.cumsum(self.entering, axis=1)
        left = after(self.ends[self.layout.moves.target])
        return np.argmax(np.concatenate([moved >= left, np.ones((len(moved), 1), dtype=bool)], axis=1), axis=1)

    @cached_property
    def at_risk(self) -> FloatArray:
        """P(in the state at t, before it stops or goes on | path), [cell, t]; on a path of one state P(T >= t)."""
        return np.exp(self.log_at_risk[:, :-1])

    @cached_property
    def ends(self) -> FloatArray:
        """P(end in the cell | path) [cell, end]: p(t) = h(t)·S(t) at the stops 1..N, then the truncated mass."""
        ends = np.empty(self.log_at_risk.shape)
        np.multiply(self.at_risk, self.hazard, out=ends[:, :-1])
        np.exp(self.log_at_risk[:, -1], out=ends[:, -1])
        return ends

    @cached_property
    def chance_of_end(self) -> FloatArray:
        """P(end) over all responses, [end]."""
        return self.cell_weight @ self.ends

    @cached_property
    def pmf(self) -> FloatArray:
        """P(stopped at t in the cell | path) [cell, t]; over the states sums to 1 minus the truncated mass."""
        return self.ends[:, :-1]

    @cached_property
    def law(self) -> FloatArray:
        """P(grade, end in the cell | path) [cell, grade, end]; sums to 1 over the states of a path."""
        cells, ends = self.ends.shape
        law = np.empty((cells, 2 + self.others.shape[1], ends))
        np.multiply(self.ends, self.correctness, out=law[:, 0])
        wrong = np.subtract(1.0, self.correctness, out=law[:, 1])
        wrong *= self.ends
        if self.others.shape[1]:
            law[:, 1:] = wrong[:, None] * self.not_correct
        return law

    @cached_property
    def not_correct(self) -> FloatArray:
        """P(grade | end, not correct), [cell, grade - 1, end]: incorrect, and the other grades."""
        return np.concatenate([1.0 - self.others.sum(axis=1, keepdims=True), self.others], axis=1)

    # --- moments ----------------------------------------------------------------------------------------------

    @cached_property
    def mean_length_by_path(self) -> FloatArray:
        """E[T | path], tokens."""
        return self.layout.by_path(self.ends @ self.length)

    @property
    def mean_length(self) -> float:
        """E[T], tokens."""
        return float(self.path_weight @ self.mean_length_by_path)

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
        """∂E[T | path]/∂z(t) = -h(t)·P(going on at t)·E[tokens after t | going on], [cell, t], tokens per unit logit.

        On a path of one state the last two are Σ_{u>t} P(T >= u); where states differ, E[tokens after t] is a value.
        """
        gradient = np.zeros_like(self.at_risk)
        np.multiply(after(self.at_risk), -self.hazard[:, :-1], out=gradient[:, :-1])
        if len(self.arrival):
            source, target, _ = self.layout.moves
            chained = np.concatenate([source, target])
            tokens = backward_chain(self.stay, np.ones_like(self.stay), source, self.arrival)
            later = one_ahead(tokens, source, self.arrival)[chained]
            gradient[chained] = -self.hazard[chained] * self.stay[chained] * self.at_risk[chained] * later
        return gradient

    @cached_property
    def rising(self) -> FloatArray:
        """How much P(correct | length) has yet to rise, [cell, t]."""
        highest = np.maximum.accumulate(self.correctness[:, :-1], axis=1)
        return highest[:, -1:] - highest

    @cached_property
    def needed_length_gradient(self) -> FloatArray:
        """The part of ``mean_length_gradient`` by responses that still work on an answer that would come, [cell, t].

        Of those working at t, χ(t) = P(W ≤ N | W > t) would have it before the cap. On a path of one state a rise of
        P(correct | length) says the same, as far as it has not yet risen: the answer is there by t in as many as are
        right of those that stop at t. 0 where stopping later makes nothing more correct.
        """
        rising = self.rising
        if not rising.any() and not len(self.arrival):
            return rising
        gradient = np.zeros_like(rising)
        source, target, _ = self.layout.moves
        curved = np.setdiff1d(np.flatnonzero(rising.any(axis=1)), np.concatenate([source, target]))
        if len(curved):
            gradient[curved] = self.mean_length_gradient[curved] * rising[curved]
        for (cell, done), arrival in zip(self.layout.moves.pairs, self.arrival, strict=True):
            if (self.correctness[done] <= self.correctness[cell]).all():
                continue
            waiting = np.cumprod(1.0 - arrival)  # P(W > t)
            coming = waiting - waiting[-1]  # P(t < W <= N)
            share = quotient(coming, waiting)
            # Of those whose answer comes: P(W = t | t <= W <= N), and the tokens from t on.
            reached = np.append(1.0, waiting[:-1])  # P(W >= t)
            moves = quotient(reached * arrival, reached - waiting[-1], nothing=1.0)
            after_it = backward_recurrence(self.stay[done], np.ones_like(moves))
            tokens = backward_recurrence((1.0 - moves) * self.stay[cell], moves * after_it + (1.0 - moves))
            later = np.append(tokens[1:], 0.0)
            gradient[cell] = -self.hazard[cell] * self.stay[cell] * self.at_risk[cell] * share * later
        return gradient

    # --- samples and moves ------------------------------------------------------------------------------------

    def draw(self, rng: np.random.Generator, *, prompts: int, group_size: int) -> Draws:
        """Sample ``prompts`` groups of ``group_size`` responses, by inverse cdf of the log survival."""
        shape = (prompts, group_size)
        count = len(self.class_weight)
        classes = rng.choice(count, size=prompts, p=self.class_weight / self.class_weight.sum())
        # The path: one search in the running sum of all probabilities, begun where those of the class begin.
        class_of_path = self.layout.class_of_path
        edges = np.cumsum(self.probability)
        first_path = np.searchsorted(class_of_path, np.arange(count))
        before = np.concatenate([[0.0], edges])[first_path]
        path = np.searchsorted(edges, before[classes][:, None] + rng.random(shape), side="right")
        last_path = np.searchsorted(class_of_path, classes, side="right") - 1
        path = np.minimum(path, last_path[:, None])
        cell = self.layout.first_cells[path]
        # The end in the first state: the sum of -log(1 - h) has a standard exponential law.
        waited = -log_survival(self.log_stay)
        entered = np.zeros(shape, dtype=np.int64)
        end = np.empty(shape, dtype=np.int64)
        waiting = rng.standard_exponential(shape)
        for c in self.layout.first_cells:
            mine = cell == c
            end[mine] = np.searchsorted(waited[c, 1:], waiting[mine], side="right")
        # The move to the next state likewise, if it comes first; the end there counts from the move.
        for (source, target), log_waiting in zip(self.layout.moves.pairs, self.log_waiting, strict=True):
            mine = np.flatnonzero(cell.ravel() == source)
            moved = np.searchsorted(-log_waiting, rng.standard_exponential(len(mine)), side="right")
            first = moved <= np.minimum(end.ravel()[mine], self.max_tokens - 1)
            mine = mine[first]
            moved = moved[first]
            cell.ravel()[mine] = target
            entered.ravel()[mine] = moved
            end.ravel()[mine] = _end_from(self.logits[target], moved, rng.standard_exponential(len(mine)))
        return Draws(cell=cell, grade=self.graded(cell, end, rng.random(shape)), end=end, entered=entered)

    def graded(self, cell: IntArray, end: IntArray, u: FloatArray) -> IntArray:
        """The grades of responses that ended so, by numbers drawn evenly from [0, 1)."""
        correct = self.correctness[cell, end]
        grade = (u >= correct).astype(np.int64)
        for number in range(self.others.shape[1]):
            others = self.others[cell, : number + 1, end].sum(axis=-1)
            taken = (grade == 1) & (u < correct + (1.0 - correct) * others)
            grade[taken] = number + 2
        return grade

    def shifted(self, stops: FloatArray, paths: FloatArray, skills: FloatArray) -> CellArrays:
        """The arrays after the logits moved by ``stops`` [cell, t], ``paths`` [path] and ``skills`` [cell].

        What is certain stays: logits of ±inf, and chances to be correct of 0 and 1.
        """
        return replace(self, logits=self.logits + stops, probability=self.tilted(paths),
                       correctness=self.skilled(skills))

    def skilled(self, skills: FloatArray) -> FloatArray:
        """P(correct | end) after its log-odds moved by ``skills`` [..., cell], [..., cell, end]."""
        if not skills.any():
            return np.broadcast_to(self.correctness, (*skills.shape, self.correctness.shape[-1]))
        return expit(logit(self.correctness) + skills[..., None])

    def tilted(self, paths: FloatArray) -> FloatArray:
        """Chances of the paths after their logits moved by ``paths``, both [..., path]."""
        probability = np.empty_like(paths)
        for mine in self.layout.class_paths:
            moved = paths[..., mine]
            odds = self.probability[mine] * np.exp(moved - moved.max(axis=-1, keepdims=True))
            probability[..., mine] = odds / odds.sum(axis=-1, keepdims=True)
        return probability


def _end_from(logits: FloatArray, start: IntArray, waiting: FloatArray) -> IntArray:
    """The column of the end of responses in a state from ``start`` on, by hazard logits [t] and exponential draws."""
    certain = np.isposinf(logits)
    steps = np.where(certain, 0.0, np.logaddexp(0.0, np.where(certain, 0.0, logits)))
    waited = np.concatenate([[0.0], np.cumsum(steps)])
    end = np.searchsorted(waited[1:], waited[start] + waiting, side="right")
    # A certain stop ends it, whatever it waited for.
    places = np.append(np.flatnonzero(certain), len(logits))
    return np.minimum(end, places[np.searchsorted(places, start)])
