"""What an update does: the derivative of every reported expectation along the move that a gradient makes.

Moving the logits by dz, dy changes the log-probability of a response by

    Λ(end) = (1 - h(T)) dz(T) [stopped] - Σ_{u that it went on at} h(u) dz(u) ,      plus dy_k - Σ_l π_l dy_l ,

so dE[f] = E[f · Λ] for any f of cell, grade and end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lossim._engine.gradients import Measures, path_gradient, token_sums
from lossim._engine.step import Step
from lossim._support.positions import after, along, before, blocks, discounted_sum, running_sum
from lossim._support.types import FloatArray
from lossim.advantages import GAE, LengthAdaptive, ResponseAdvantage, Whitened
from lossim.policies import Policy
from lossim.schemes import Scheme

__all__ = ["ROLES", "TERMS", "Readout", "effective_reward", "step_std"]

ROLES = ("stop", "go on", "path")
TERMS = ("policy", "kl", "entropy")
NATS = 0.01
"""Size of the step behind ``length_per_kl``, nats of KL per response."""
LEAK = 0.025
"""Cross term between path log-odds and stop logits in units of the geometric mean of both kernels, as seen in one
small transformer (about 6 beside 433 and 135); its sign is an accident of the network."""


def log_likelihood_move(policy: Policy, stops: FloatArray, cells: slice) -> FloatArray:
    """Λ per [cell, end] of a move of the stop logits, for some cells."""
    stops = stops[cells]
    return along(policy.stay[cells] * stops, -policy.hazard[cells] * stops)


def inner_product(one: tuple[FloatArray, FloatArray], other: tuple[FloatArray, FloatArray]) -> float:
    """Σ over stop logits [cell, t] and path logits [cell]; not by BLAS, whose threads cost more than they save here."""
    return float(np.einsum("ct,ct->", one[0], other[0]) + one[1] @ other[1])


def centred(policy: Policy, paths: FloatArray) -> FloatArray:
    """x_k - Σ_l π_l x_l within each class."""
    means = np.bincount(policy.class_of_cell, weights=policy.probability * paths)
    result: FloatArray = paths - means[policy.class_of_cell]
    return result


@dataclass(frozen=True, kw_only=True, eq=False)
class Readout:
    """Directions that depend on the policy alone, computed once; ``linear`` and ``ratios`` read a gradient."""

    policy: Policy
    task: FloatArray
    scale: float

    @cached_property
    def floor(self) -> float:
        """Squared size of an update, by the kernel, below which it is rounding."""
        largest = float(np.abs(getattr(self.policy.coordinates, "matrix", np.ones(1))).max(initial=0.0))
        return (1e-12 * self.scale) ** 2 * largest

    @cached_property
    def length_scale(self) -> float:
        """What coefficients of the update's scale would do to mean length if nothing cancelled, tokens."""
        return self.scale * max(float(np.abs(direction).max()) for direction in self.length_direction)

    @cached_property
    def length_direction(self) -> tuple[FloatArray, FloatArray]:
        """K · ∇E[T]: what a unit of gradient in each logit does to mean length."""
        policy = self.policy
        stops = policy.cell_weight[:, None] * policy.mean_length_gradient
        paths = policy.cell_weight * centred(policy, policy.mean_length_by_cell)
        return policy.motion.push(policy.motion.pull(stops, paths))

    @cached_property
    def reward_gradient(self) -> tuple[FloatArray, FloatArray]:
        """∇E[R] in the logits."""
        policy = self.policy
        stops, means = np.empty_like(policy.logits), np.empty(len(policy.probability))
        for cells in blocks(*stops.shape):
            paid = (policy.law[cells] * self.task).sum(axis=1)
            stops[cells] = policy.stay[cells] * paid[:, :-1] - policy.hazard[cells] * after(paid)
            means[cells] = paid.sum(axis=1)
        stops *= policy.cell_weight[:, None]
        return stops, policy.cell_weight * centred(policy, means)

    @cached_property
    def best_move(self) -> tuple[FloatArray, FloatArray]:
        """K · ∇E[R]."""
        return self.policy.motion.push(self.policy.motion.pull(*self.reward_gradient))

    def gradient(self, step: Step, measures: Measures) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The gradient, [cell, t] and [cell], and what it adds to dE[T] by [cell, outcome, role, term].

        In one pass over blocks of cells, so that coefficient sums by outcome are never held for all of them.
        """
        policy, (ahead, paths) = self.policy, self.length_direction
        along_path = centred(policy, paths)[:, None]
        stops, first = np.zeros_like(policy.logits), np.zeros(len(policy.probability))
        table = np.zeros((len(policy.probability), 3, len(ROLES), len(TERMS)))
        for cells in blocks(*stops.shape):
            hazard, stay = policy.hazard[cells], policy.stay[cells]
            for term, part in token_sums(step, measures, cells).items():
                index = TERMS.index(term)
                stops[cells] += stay * part.stop.sum(axis=1) - hazard * part.go.sum(axis=1)
                first[cells] += part.first.sum(axis=1)
                table[cells, : part.stop.shape[1], 0, index] = np.einsum("cet,ct->ce", part.stop, stay * ahead[cells])
                table[cells, :, 1, index] = -np.einsum("cet,ct->ce", part.go, hazard * ahead[cells])
                table[cells, :, 2, index] = part.first * along_path[cells]
        return stops, path_gradient(policy, first), table

    @cached_property
    def functions(self) -> FloatArray:
        """What is reported the expectation of, [function, grade · end].

        Length, correct, task reward, truncated; then of each outcome its indicator, and length times it; last 1.
        """
        length, ends = self.policy.length, self.policy.max_tokens + 1
        cut, right = np.arange(ends) == ends - 1, np.array([True, False])[:, None]
        inside = [right & ~cut, ~right & ~cut, np.broadcast_to(cut, (2, ends))]
        rows = [length, right, self.task[0], cut, *inside, *(length * part for part in inside),
                np.ones(ends)]
        return np.array([np.broadcast_to(row, (2, ends)).ravel() for row in rows], dtype=np.float64)

    @cached_property
    def expectations(self) -> FloatArray:
        """E[function | cell], [cell, function]."""
        means: FloatArray = self.policy.law.reshape(len(self.policy.probability), -1) @ self.functions.T
        return means

    @cached_property
    def centred_expectations(self) -> FloatArray:
        """The same less its mean over the paths of the class."""
        return np.array([centred(self.policy, column) for column in self.expectations.T]).T

    def linear(self, step: Step, measures: Measures) -> dict[str, Any]:
        """Every number that is linear in the gradient, by name."""
        policy, weight = self.policy, self.policy.cell_weight
        stops, paths, sources = self.gradient(step, measures)
        coordinates = policy.motion.pull(stops, paths)
        dz, dy = policy.motion.push(coordinates)
        change = centred(policy, dy)
        # Λ has mean 0 and so has the change of the paths: centring both leaves less to cancel.
        within = np.empty((len(weight), len(self.functions)))
        for cells in blocks(*stops.shape):
            moved = policy.law[cells] * log_likelihood_move(policy, dz, cells)[:, None]
            within[cells] = moved.reshape(len(moved), -1) @ self.functions.T
        within -= within[:, -1:] * self.expectations
        across = change[:, None] * self.centred_expectations
        total = weight @ (within + across)
        mass, tokens = weight @ self.expectations[:, 4:7], weight @ self.expectations[:, 7:10]
        occurs = mass > 0
        mean = np.divide(tokens, mass, out=np.full(3, np.nan), where=occurs)
        by_class = np.bincount(policy.class_of_cell, weights=policy.probability * (within + across)[:, 0])
        return {
            "length": total[0], "within": weight @ within[:, 0], "composition": weight @ across[:, 0],
            "length_by_class": by_class, "length_by_path": within[:, 0],
            "length_by_outcome": (total[7:10] - mean * total[4:7]) / np.where(occurs, mass, 1.0),
            "path_probability": policy.probability * change, "accuracy": total[1], "reward": total[2],
            "truncation_rate": total[3], "sources": sources, "hazard_gradient": stops,
            "path_gradient": paths, "update": coordinates,
        }

    @cached_property
    def fisher(self) -> FloatArray:
        """Fisher information of each stop logit in its cell, P(T >= t) h (1 - h), [cell, t]."""
        return self.policy.pmf * self.policy.stay

    def norms(self, values: Mapping[str, Any]) -> FloatArray:
        """Quadratic forms of a gradient g, as [2]: nats of KL per response of the step K·g, and g·K·g."""
        policy = self.policy
        dz, dy = policy.motion.push(values["update"])
        squares = np.concatenate([np.einsum("ct,ct->c", self.fisher[cells], dz[cells] ** 2)
                                  for cells in blocks(*dz.shape)])
        nats = 0.5 * float(policy.cell_weight @ (squares + centred(policy, dy) ** 2))
        return np.array([nats, inner_product((values["hazard_gradient"], values["path_gradient"]), (dz, dy))])

    def ratios(self, values: Mapping[str, Any], noise: FloatArray | float = 0.0) -> dict[str, Any]:
        """Numbers that are not linear in the gradient, from the linear ones.

        ``noise`` [2] is what sampling noise adds to :meth:`norms` on average, where ``values`` were sampled.
        """
        norms = self.norms(values)
        nats, squared = norms - noise
        best, best_move = self.reward_gradient, self.best_move
        best_squared = inner_product(best, best_move)
        inner = inner_product(best_move, (values["hazard_gradient"], values["path_gradient"]))
        moves, improves = squared > self.floor, best_squared > 0
        reward = float(values["reward"])
        return {
            "length_per_kl": float(values["length"]) * np.sqrt(NATS / nats) if moves and nats > 0 else np.nan,
            "length_per_reward": (0.01 * float(values["length"]) / reward if norms[1] > self.floor and reward != 0
                                  else np.nan),
            "alignment": inner / (np.sqrt(squared) * np.sqrt(best_squared)) if moves and improves else np.nan,
        }

    def leak(self, values: Mapping[str, Any]) -> FloatArray:
        """How far cross terms of the size seen in one network would move each path's length, tokens [cell]."""
        policy = self.policy
        scale = getattr(policy.coordinates, "path_scale", None)
        if scale is None:
            return np.zeros(len(policy.probability))
        size = LEAK * np.sqrt(scale) * np.abs(values["path_gradient"]).sum() / 2.0
        leak: FloatArray = size * np.abs(policy.mean_length_gradient.sum(axis=1))
        return leak


def effective_reward(policy: Policy, stops: FloatArray) -> FloatArray:
    """The reward v(t) on which REINFORCE has this gradient: see :attr:`lossim.Drift.effective_reward`.

    With U_t = E[v | T >= t], from U_1 = 0:  U_{t+1} = U_t - g(t)/P(T > t),  v(t) = U_{t+1} + g(t) / (p(t)(1 - h(t))).
    """
    values = np.empty_like(stops)
    for cells in blocks(*stops.shape):
        weight, stay, pmf = policy.cell_weight[cells, None], policy.stay[cells], policy.pmf[cells]
        g = np.divide(stops[cells], weight, out=np.zeros_like(pmf), where=weight > 0)
        survives, spread = policy.at_risk[cells] * stay, pmf * stay
        known = (spread > 0) & (weight > 0)
        with np.errstate(over="ignore", invalid="ignore"):  # far in the tail of an update on another policy's batch
            beyond = -np.cumsum(np.divide(g, survives, out=np.zeros_like(g), where=survives > 0), axis=1)
            value = beyond + np.divide(g, spread, out=np.zeros_like(g), where=known)
        certain = (pmf > 0) & (stay == 0) & (weight > 0)  # the last possible length: U_t = v there
        here = np.column_stack([np.zeros(len(beyond)), beyond[:, :-1]])
        value = np.where(known, value, np.where(certain, here, np.nan))
        values[cells] = np.where(np.isfinite(value), value, np.nan)
    return values


def step_std(step: Step, readout: Readout) -> float | None:
    """Standard deviation of one step's length change per unit step, where responses are not coupled; else None.

    With X the contribution of one response times n, i.i.d. given the class of its group,
    Var = Var(X)/n + (G - 1)/n · Var_class(E[X | class]).
    """
    scheme, policy = step.scheme, step.policy
    if not _uncoupled(scheme) or step.drawn_ratio is not None:
        return None
    ahead, paths = readout.length_direction
    path = centred(policy, paths)
    size = step.own_weight(scheme.aggregation)
    mean, variance = np.empty(len(path)), np.empty(len(path))
    for cells in blocks(*ahead.shape):
        law = policy.law[cells]
        stop_score, go_score = policy.stay[cells] * ahead[cells], -policy.hazard[cells] * ahead[cells]
        stop_score[:, 0] += path[cells]
        go_score[:, 0] += path[cells]
        if isinstance(step.advantage, ResponseAdvantage):
            fixed = step.baseline[policy.class_of_cell[cells]][:, None, None]
            returns = np.broadcast_to(step.returns if len(step.returns) == 1 else step.returns[cells], law.shape)
            credit = step.advantage.of_group(returns, np.ones_like(returns), returns, fixed)
            total = credit * along(stop_score, go_score)[:, None]
        else:
            total = gae_projection(step, cells, stop_score, go_score)
        if step.kl_slope is not None:
            total += along(stop_score * step.kl_slope[0][cells], go_score * step.kl_slope[1][cells])[:, None]
        total *= size
        mean[cells] = np.einsum("cge,cge->c", law, total)
        total -= mean[cells, None, None]
        variance[cells] = np.einsum("cge,cge->c", law, total**2)
    by_class = np.bincount(policy.class_of_cell, weights=policy.probability * mean)
    overall = float(policy.class_weight @ by_class)
    squared = float(policy.cell_weight @ (variance + (mean - overall) ** 2))
    between = float(policy.class_weight @ (by_class - overall) ** 2)
    n = scheme.responses_per_step
    return float(np.sqrt(max(squared / n + (scheme.group_size - 1) / n * between, 0.0)))


def _uncoupled(scheme: Scheme) -> bool:
    advantage = scheme.advantage
    return not (isinstance(advantage, Whitened) or advantage.group_relative or scheme.dynamic_sampling != "none"
                or scheme.aggregation.size(np.ones(1)) is not None or scheme.entropy is not None
                or (isinstance(advantage, GAE) and isinstance(advantage.gae_lambda, LengthAdaptive)))


def gae_projection(step: Step, cells: slice, stop: FloatArray, go: FloatArray) -> FloatArray:
    """Σ_t Â_t · score_t by [cell, grade, end] of some cells, from Â_t = a_t + x^{T-t} (δ_last - a_T)."""
    gae, errors = step.advantage, step.errors
    assert isinstance(gae, GAE)
    assert not isinstance(gae.gae_lambda, LengthAdaptive)
    x = gae.gamma * gae.gae_lambda
    tail = discounted_sum(errors.going[cells], x)
    steady, trace = before(tail * go), running_sum(go, x)
    traces = np.column_stack([np.zeros(len(go)), x * trace])
    traces[:, -1] = trace[:, -1]
    final = np.column_stack([tail, np.zeros(len(tail))])
    last = errors.last[cells]
    total: FloatArray = steady[:, None] + (last - final[:, None]) * traces[:, None]
    total[:, :, :-1] += last[:, :, :-1] * stop[:, None]
    return total
