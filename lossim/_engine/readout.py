"""What an update does: the derivative of every reported expectation along the move that a gradient makes.

Moving the logits by dz, dy changes the log-probability of a response by

    Λ(end) = (1 - h(T)) dz(T) [stopped] - Σ_{u that it went on at} h(u) dz(u) ,      plus dy_k - Σ_l π_l dy_l ,

so dE[f] = E[f · Λ] for any f of cell, grade and end. See docs/derivations.md, sections 8 and 9.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from lossim._engine.gae import gae_projection
from lossim._engine.gradients import TERMS, path_gradient, token_sums
from lossim._engine.measures import Measures
from lossim._engine.step import Step
from lossim._model import CellArrays, Logits, Motion
from lossim._support.positions import after, along, blocks
from lossim._support.records import Record
from lossim._support.types import FloatArray
from lossim.advantages import group_of

__all__ = ["NATS", "ROLES", "CellChanges", "Changes", "Directions", "Ratios", "Readout", "Squares", "by_outcome",
           "centred", "effective_reward", "inner_product", "step_std"]

ROLES = ("stop", "go on", "path")
NATS = 0.01
"""Size of the step behind ``length_per_kl``, nats of KL per response."""
LEAK = 0.025
"""Cross term between path log-odds and stop logits in units of the geometric mean of both kernels, as seen in one
small transformer (about 6 beside 433 and 135); its sign is an accident of the network."""
ROUNDING = 1e-12
"""An update this much smaller than its coefficients is a rounding error."""

Value = Any
"""A number or an array, or an estimate of one."""


class Changes(Record):
    """Every number of an update that is linear in the gradient; each as :class:`lossim.Drift` describes it.

    But ``path_gradient`` is by cell here, [cell].
    """

    length: Value
    within: Value
    composition: Value
    length_by_class: Value
    length_by_path: Value
    length_by_outcome: Value
    path_probability: Value
    accuracy: Value
    reward: Value
    truncation_rate: Value
    sources: Value
    hazard_gradient: Value
    path_gradient: Value
    update: Value

    @property
    def gradient(self) -> Logits:
        """The gradient in the logits."""
        return Logits(self.hazard_gradient, self.path_gradient)


class Ratios(Record):
    """The numbers that are not linear in the gradient; each as :class:`lossim.Drift` describes it."""

    length_per_kl: Value
    length_per_reward: Value
    alignment: Value


class Squares(Record):
    """Quadratic forms of a gradient g: ``nats`` of KL per response of the step K·g, and ``size`` g·K·g."""

    nats: float
    size: float


class CellChanges(Record):
    """What an update does to each cell.

    Attributes:
        gradient: in the logits.
        update: the move of the coordinates.
        within, across: [cell, function], changes of the expectations that a readout reports, as lengths change on the
            path and as paths change frequency.
        path_probability, sources: by cell as :class:`lossim.Drift` describes them.
    """

    gradient: Logits
    update: FloatArray
    within: FloatArray
    across: FloatArray
    path_probability: FloatArray
    sources: FloatArray


def by_outcome(total: FloatArray, mass: FloatArray, tokens: FloatArray) -> FloatArray:
    """dE[T | outcome] = (dE[T; outcome] - E[T | outcome] dP(outcome)) / P(outcome), [..., outcome]; NaN if never.

    From the changes of a readout's functions, [..., function], P(outcome) and E[T; outcome].
    """
    occurs = mass > 0
    mean = np.divide(tokens, mass, out=np.full(mass.shape, np.nan), where=occurs)
    return (total[..., 7:10] - mean * total[..., 4:7]) / np.where(occurs, mass, 1.0)


def log_likelihood_move(policy: CellArrays, stops: FloatArray, cells: slice) -> FloatArray:
    """Λ per [cell, end] of a move of the stop logits, for some cells."""
    return along(policy.stay[cells] * stops[cells], -policy.hazard[cells] * stops[cells])


def inner_product(one: Logits, other: Logits) -> float:
    """Σ over stop logits [cell, t] and path logits [cell]; not by BLAS, whose threads cost more than they save here."""
    return float(np.einsum("ct,ct->", one.stops, other.stops) + one.paths @ other.paths)


def centred(policy: CellArrays, paths: FloatArray) -> FloatArray:
    """x_k - Σ_l π_l x_l within each class."""
    means = np.bincount(policy.class_of_cell, weights=policy.probability * paths)
    return paths - means[policy.class_of_cell]


class Directions(Record):
    """What depends on a policy and its coordinates alone, and serves the readouts of all schemes on it."""

    policy: CellArrays
    motion: Motion

    @cached_property
    def length(self) -> Logits:
        """K · ∇E[T]: what a unit of gradient in each logit does to mean length."""
        policy = self.policy
        stops = policy.cell_weight[:, None] * policy.mean_length_gradient
        paths = policy.cell_weight * centred(policy, policy.mean_length_by_cell)
        return self.move_of(Logits(stops, paths))

    @cached_property
    def fisher(self) -> FloatArray:
        """Fisher information of each stop logit in its cell, P(T >= t) h (1 - h), [cell, t]."""
        return self.policy.pmf * self.policy.stay

    def move_of(self, gradient: Logits) -> Logits:
        """K · g: the move of the logits that a gradient in them makes."""
        return self.motion.push(self.motion.pull(*gradient))

    def squares(self, changes: Changes) -> Squares:
        """How far an update goes: by the Fisher metric, ½ E[dz² P(T >= t) h (1 - h)] + ½ Var(dy), and by the kernel."""
        policy = self.policy
        move = self.motion.push(changes.update)
        by_cell = np.concatenate([np.einsum("ct,ct->c", self.fisher[cells], move.stops[cells] ** 2)
                                  for cells in blocks(*move.stops.shape)])
        nats = 0.5 * float(policy.cell_weight @ (by_cell + centred(policy, move.paths) ** 2))
        return Squares(nats=nats, size=inner_product(changes.gradient, move))

    def leak(self, path_gradient: FloatArray) -> FloatArray:
        """How far cross terms of the size seen in one network would move each path's length, tokens [cell].

        0 for a kernel given as numbers, whose cross terms are known.
        """
        size = LEAK * np.sqrt(self.motion.path_scale) * np.abs(path_gradient).sum() / 2.0
        return size * np.abs(self.policy.mean_length_gradient.sum(axis=1))


class Readout(Record):
    """Reads gradients on one policy: ``changes`` what is linear in them, ``ratios`` what is not.

    ``task`` [1, grade, end] are the rewards whose mean is reported, ``scale`` is about how large coefficients of the
    update are before anything cancels.
    """

    directions: Directions
    task: FloatArray
    scale: float

    @property
    def policy(self) -> CellArrays:
        """The policy."""
        return self.directions.policy

    @property
    def floor(self) -> float:
        """Squared size of an update, by the kernel, below which it is rounding."""
        return (ROUNDING * self.scale) ** 2 * self.directions.motion.largest

    @property
    def length_scale(self) -> float:
        """What coefficients of the update's scale would do to mean length if nothing cancelled, tokens."""
        return self.scale * max(float(np.abs(direction).max()) for direction in self.directions.length)

    @cached_property
    def _varying_task(self) -> FloatArray:
        """Task rewards, [1, grade, end]; 0 where all responses are paid alike, so that their mean does not move."""
        occurs = (self.policy.law[self.policy.cell_weight > 0] > 0).any(axis=0)
        paid = self.task[0][occurs]
        return np.zeros_like(self.task) if np.ptp(paid) == 0 else self.task

    @cached_property
    def reward_gradient(self) -> Logits:
        """∇E[R] in the logits."""
        policy = self.policy
        stops = np.empty_like(policy.logits)
        means = np.empty(len(policy.probability))
        for cells in blocks(*stops.shape):
            paid = (policy.law[cells] * self._varying_task).sum(axis=1)
            stops[cells] = policy.stay[cells] * paid[:, :-1] - policy.hazard[cells] * after(paid)
            means[cells] = paid.sum(axis=1)
        stops *= policy.cell_weight[:, None]
        return Logits(stops, policy.cell_weight * centred(policy, means))

    @cached_property
    def best_move(self) -> Logits:
        """K · ∇E[R]."""
        return self.directions.move_of(self.reward_gradient)

    # --- what is linear in the gradient -------------------------------------------------------------------------

    def gradient(self, step: Step, measures: Measures) -> tuple[Logits, FloatArray]:
        """The gradient, and what it adds to dE[T] by [cell, outcome, role, term].

        In one pass over blocks of cells, so that coefficient sums by outcome are never held for all of them.
        """
        policy = self.policy
        ahead = self.directions.length
        along_path = centred(policy, ahead.paths)[:, None]
        stops = np.zeros_like(policy.logits)
        first = np.zeros(len(policy.probability))
        table = np.zeros((len(policy.probability), 3, len(ROLES), len(TERMS)))
        for cells in blocks(*stops.shape):
            hazard = policy.hazard[cells]
            stay = policy.stay[cells]
            stopping = stay * ahead.stops[cells]
            going = hazard * ahead.stops[cells]
            for term, part in token_sums(step, measures, cells).present:
                stops[cells] += stay * part.stop.sum(axis=1) - hazard * part.go.sum(axis=1)
                first[cells] += part.first.sum(axis=1)
                table[cells, : part.stop.shape[1], 0, term] = np.einsum("cet,ct->ce", part.stop, stopping)
                table[cells, :, 1, term] = -np.einsum("cet,ct->ce", part.go, going)
                table[cells, :, 2, term] = part.first * along_path[cells]
        return Logits(stops, path_gradient(policy, first)), table

    @cached_property
    def _functions(self) -> FloatArray:
        """What is reported the expectation of, [function, grade · end].

        Length, correct, task reward, truncated; then of each outcome its indicator, and length times it; last 1.
        """
        ends = self.policy.max_tokens + 1
        length = self.policy.length
        cut = np.arange(ends) == ends - 1
        right = np.array([True, False])[:, None]
        inside = [right & ~cut, ~right & ~cut, np.broadcast_to(cut, (2, ends))]
        rows = [length, right, self._varying_task[0], cut, *inside, *(length * part for part in inside), np.ones(ends)]
        return np.array([np.broadcast_to(row, (2, ends)).ravel() for row in rows], dtype=np.float64)

    @cached_property
    def expectations(self) -> FloatArray:
        """E[function | cell], [cell, function]."""
        return self.policy.law.reshape(len(self.policy.probability), -1) @ self._functions.T

    @cached_property
    def _centred_expectations(self) -> FloatArray:
        """The expectations less their mean over the paths of the class."""
        return np.array([centred(self.policy, column) for column in self.expectations.T]).T

    def by_cell(self, step: Step, measures: Measures) -> CellChanges:
        """What an update does to each cell."""
        policy = self.policy
        gradient, sources = self.gradient(step, measures)
        coordinates = self.directions.motion.pull(*gradient)
        move = self.directions.motion.push(coordinates)
        # dE[f | cell] as lengths change on the path. Λ has mean 0 and so has the change of the paths below: centring
        # both leaves less to cancel.
        within = np.empty((len(policy.probability), len(self._functions)))
        for cells in blocks(*gradient.stops.shape):
            moved = policy.law[cells] * log_likelihood_move(policy, move.stops, cells)[:, None]
            within[cells] = moved.reshape(len(moved), -1) @ self._functions.T
        within -= within[:, -1:] * self.expectations
        # The same as paths change frequency.
        change = centred(policy, move.paths)
        return CellChanges(gradient=gradient, sources=sources, update=coordinates, within=within,
                           across=change[:, None] * self._centred_expectations,
                           path_probability=policy.probability * change)

    def changes(self, step: Step, measures: Measures) -> Changes:
        """Every number that is linear in the gradient."""
        policy = self.policy
        weight = policy.cell_weight
        cells = self.by_cell(step, measures)
        both = cells.within + cells.across
        total = weight @ both
        mass = weight @ self.expectations[:, 4:7]
        tokens = weight @ self.expectations[:, 7:10]
        return Changes(
            length=total[0], within=weight @ cells.within[:, 0], composition=weight @ cells.across[:, 0],
            length_by_class=np.bincount(policy.class_of_cell, weights=policy.probability * both[:, 0]),
            length_by_path=cells.within[:, 0], length_by_outcome=by_outcome(total, mass, tokens),
            path_probability=cells.path_probability, accuracy=total[1], reward=total[2], truncation_rate=total[3],
            sources=cells.sources, hazard_gradient=cells.gradient.stops, path_gradient=cells.gradient.paths,
            update=cells.update)

    # --- what is not --------------------------------------------------------------------------------------------

    def ratios(self, changes: Changes, noise: Squares | None = None) -> Ratios:
        """Numbers that are not linear in the gradient, from the linear ones; NaN where nothing moves.

        ``noise`` is what sampling noise adds to the squares on average, where the changes were sampled.
        """
        noisy = self.directions.squares(changes)
        nats = noisy.nats
        size = noisy.size
        if noise is not None:
            nats = nats - noise.nats
            size = size - noise.size
        length = float(changes.length)
        reward = float(changes.reward)
        moves = size > self.floor
        best_size = inner_product(self.reward_gradient, self.best_move)
        per_kl = per_reward = alignment = np.nan
        if moves and nats > 0:
            per_kl = length * np.sqrt(NATS / nats)
        if noisy.size > self.floor and reward != 0:
            per_reward = 0.01 * length / reward
        if moves and best_size > 0:
            alignment = inner_product(self.best_move, changes.gradient) / (np.sqrt(size) * np.sqrt(best_size))
        return Ratios(length_per_kl=per_kl, length_per_reward=per_reward, alignment=alignment)


def effective_reward(policy: CellArrays, stops: FloatArray) -> FloatArray:
    """The reward v(t) on which REINFORCE has this gradient: see :attr:`lossim.Drift.effective_reward`.

    With U_t = E[v | T >= t], from U_1 = 0:  U_{t+1} = U_t - g(t)/P(T > t),  v(t) = U_{t+1} + g(t) / (p(t)(1 - h(t))).
    See docs/derivations.md, section 5.
    """
    values = np.empty_like(stops)
    for cells in blocks(*stops.shape):
        weight = policy.cell_weight[cells, None]
        stay = policy.stay[cells]
        pmf = policy.pmf[cells]
        g = np.divide(stops[cells], weight, out=np.zeros_like(pmf), where=weight > 0)
        survives = policy.at_risk[cells] * stay
        spread = pmf * stay
        known = (spread > 0) & (weight > 0)
        with np.errstate(over="ignore", invalid="ignore"):  # far in the tail of an update on another policy's batch
            beyond = -np.cumsum(np.divide(g, survives, out=np.zeros_like(g), where=survives > 0), axis=1)
            value = beyond + np.divide(g, spread, out=np.zeros_like(g), where=known)
        certain = (pmf > 0) & (stay == 0) & (weight > 0)  # the last possible length: U_t = v there
        here = np.column_stack([np.zeros(len(beyond)), beyond[:, :-1]])
        value = np.where(known, value, np.where(certain, here, np.nan))
        values[cells] = np.where(np.isfinite(value), value, np.nan)
    return values


def step_std(step: Step, directions: Directions) -> float | None:
    """Standard deviation of one step's length change per unit step, where responses are not coupled; else None.

    With X the contribution of one response times n, i.i.d. given the class of its group,
    Var = Var(X)/n + (G - 1)/n · Var_class(E[X | class]).
    """
    if not _uncoupled(step):
        return None
    policy = step.policy
    ahead = directions.length
    path = centred(policy, ahead.paths)
    size = step.own_weight(step.scheme.aggregation)
    mean = np.empty(len(path))
    variance = np.empty(len(path))
    for cells in blocks(*ahead.stops.shape):
        law = policy.law[cells]
        stop_score = policy.stay[cells] * ahead.stops[cells]
        go_score = -policy.hazard[cells] * ahead.stops[cells]
        stop_score[:, 0] += path[cells]
        go_score[:, 0] += path[cells]
        total = _projected(step, cells, stop_score, go_score)
        if step.kl_slope is not None:
            held = along(stop_score * step.kl_slope.stop[cells], go_score * step.kl_slope.go[cells])
            total += held[:, None]
        total *= size
        mean[cells] = np.einsum("cge,cge->c", law, total)
        total -= mean[cells, None, None]
        variance[cells] = np.einsum("cge,cge->c", law, total**2)
    by_class = np.bincount(policy.class_of_cell, weights=policy.probability * mean)
    overall = float(policy.class_weight @ by_class)
    squared = float(policy.cell_weight @ (variance + (mean - overall) ** 2))
    between = float(policy.class_weight @ (by_class - overall) ** 2)
    n = step.scheme.responses_per_step
    return float(np.sqrt(max(squared / n + (step.scheme.group_size - 1) / n * between, 0.0)))


def _projected(step: Step, cells: slice, stop: FloatArray, go: FloatArray) -> FloatArray:
    """Σ_t A_t · score_t of a response by [cell, grade, end], for scores along a direction."""
    estimator = step.response_level
    if estimator is None:
        return gae_projection(step, cells, stop, go)
    policy = step.policy
    fixed = step.baseline[policy.class_of_cell[cells]][:, None, None]
    returns = step.returns if len(step.returns) == 1 else step.returns[cells]
    returns = np.broadcast_to(returns, policy.law[cells].shape)
    return estimator.of_group(group_of(returns, baseline=fixed)) * along(stop, go)[:, None]


def _uncoupled(step: Step) -> bool:
    """Whether what a response adds to the update depends on itself alone, on policy."""
    scheme = step.scheme
    if step.drawn_ratio is not None or step.whitening is not None or scheme.advantage.group_relative:
        return False
    if scheme.dynamic_sampling != "none" or scheme.entropy is not None:
        return False
    if scheme.aggregation.size(np.ones(1)) is not None:
        return False
    return step.token_level is None or not step.token_level.adaptive
