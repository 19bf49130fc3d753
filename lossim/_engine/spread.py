"""The spread of single steps: standard deviation of what one step does to mean length, without sampling.

The groups of a step are independent, so  Var(step) = Var(X)/P  with X what the group of one prompt adds. What all
responses of a step divide by, and what whitening takes from all its tokens, are followed to first order: X then has
what the group's own share in these does to everyone. See docs/derivations.md, section 19.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from lossim._engine.average import Average
from lossim._engine.contributions import Moments, ResponseSums
from lossim._engine.denominators import ONE
from lossim._engine.exact import batch_moments, token_whitening
from lossim._engine.gae_moments import advantage_sums
from lossim._engine.group_moments import Parts, Tilt, group_moments
from lossim._engine.levels import levels_of
from lossim._engine.measures import of_sign
from lossim._engine.step import Step
from lossim._model import Directions
from lossim._support.records import Record
from lossim._support.text import Note
from lossim._support.types import FloatArray
from lossim.advantages import ResponseAdvantage, group_of
from lossim.estimates import Estimate, Method

__all__ = ["spread_notes", "step_std"]

ROUNDING = 1e-8
"""Relative rounding error allowed for: a variance is a difference of squares."""


def step_std(step: Step, directions: Directions) -> Estimate:
    """Standard deviation of one step's length change over batches, tokens per unit step.

    √(Var(X)/P), X what the group of one prompt adds and P the prompts of a step. NaN where :func:`spread_notes` says
    what is not known.
    """
    if _unknown(step) is not None:
        return Estimate(value=np.nan, method=_method(step))
    spread = _Spread(step=step, directions=directions)
    value = float(np.sqrt(max(spread.variance, 0.0) / step.scheme.prompts_per_step))
    return Estimate(value=value, error=ROUNDING * value, method=_method(step))


def _unknown(step: Step) -> str | None:
    """What keeps the spread of a step from being known, in words; None if nothing does."""
    if step.scheme.aggregation.by_sign:
        return "under an aggregation that reads signs"
    gae = step.token_level
    if gae is None or not len(step.old.arrival):
        return None
    if gae.adaptive:
        return "under a λ that depends on the length, on paths with work"
    if step.signed:
        return "under GAE and a surrogate that reads the sign of each advantage, on paths with work"
    return None


def spread_notes(step: Step) -> list[Note]:
    """What is not known of the spread of a step, or not exact."""
    why = _unknown(step)
    if why is not None:
        return [Note("step_std", f"step_std is known to method='monte_carlo' only {why}")]
    notes = []
    if _method(step) == "large-batch limit":
        notes.append(Note("step_std", "step_std is that of a large batch: to first order in the noise of what a whole "
                          "step is divided or whitened by"))
    together = _put_together(step)
    if together:
        notes.append(Note("step_std", f"step_std puts {together[0]:,} levels of reward together into {together[1]}"))
    if len(step.old.arrival) and step.paid is not None and step.token_level is None:
        notes.append(Note("step_std", "step_std has the KL in the reward on average given the end, whenever the answer "
                          "was there"))
    if len(step.old.arrival) and step.response_parts(+1) is not None:
        notes.append(Note("step_std", "step_std has the ratio of a whole response on average given the end, whenever "
                          "the answer was there"))
    return notes


def _method(step: Step) -> Method:
    """How the spread of a step is found."""
    average = Average(step=step, rule=step.scheme.aggregation)
    whole_step = step.response_level is not None and step.response_level.needs_whole_step
    if whole_step or step.whitening is not None or _over_step(average):
        return "large-batch limit"
    denominators = average.denominators
    return "sum" if denominators.aggregation is ONE and denominators.baseline is ONE else "quadrature"


def _over_step(average: Average) -> bool:
    """Whether all responses of a step share a random denominator."""
    return average.denominators.aggregation is not ONE and not average.rule.within_group


def _put_together(step: Step) -> tuple[int, int] | None:
    """How many levels of reward there are, and into how many they are put together, if they are."""
    estimator = step.response_level
    if estimator is None or not _by_level(step):
        return None
    for law in Average(step=step, rule=step.scheme.aggregation).by_end:
        levels = levels_of(law, estimator)
        if levels.found > len(levels):
            return levels.found, len(levels)
    return None


def _by_level(step: Step) -> bool:
    """Whether advantages are any function of the reward levels in a group, or more is asked of them than their mean."""
    estimator = step.response_level
    if estimator is None or not estimator.group_relative:
        return False
    return step.signed or estimator.traits.mates in ("standardized", "any") or _squared(step)


def _squared(step: Step) -> bool:
    """Whether the squares of advantages that compare a group are part of a variance that divides them."""
    return step.group_relative and step.whitening is not None and step.whitening.scale


class _Spread(Record):
    """What the group of one prompt adds to the length change of a step, X, in units in which a step is the mean of P.

    A step's denominators and statistics stand at their means, and X has the part that they move by with the group.
    """

    step: Step
    directions: Directions

    @cached_property
    def average(self) -> Average:
        """Averages under the scheme's aggregation."""
        return Average(step=self.step, rule=self.step.scheme.aggregation)

    @property
    def estimator(self) -> ResponseAdvantage | None:
        """The estimator, where a response is compared with its group."""
        return self.step.response_level if self.step.group_relative else None

    @cached_property
    def credit(self) -> tuple[float, float]:
        """What is taken off every advantage, and what it is then multiplied by: statistics of a step at their means."""
        step = self.step
        if step.whitening is not None:
            mean, scale, _ = token_whitening(step, step.whitening)
            return mean, scale
        eps = None if step.response_level is None else step.response_level.traits.step_eps
        if eps is None:
            return 0.0, 1.0
        std = batch_moments(step)[1] + eps
        return 0.0, 1.0 / std if std > 0 else 0.0

    # --- expectations over groups -------------------------------------------------------------------------------

    @cached_property
    def tilts(self) -> list[Tilt]:
        """The nodes of 1/D, if each group is divided by a sum of its own."""
        denominators = self.average.denominators
        one_over = denominators.aggregation
        if one_over is ONE or not self.average.rule.within_group:
            return [Tilt(first=1.0, second=1.0, decay=np.ones_like(self.step.old.length))]
        return [Tilt(first=float(weight), second=float(weight * node), decay=decay)
                for weight, node, decay in zip(one_over.weights, one_over.nodes, denominators.decay, strict=True)]

    def moments(self, parts: Callable[[int], Parts], compared: bool = True) -> tuple[float, float]:
        """E[X] and E[X²] over the groups of all classes, with what a response of class j brings by ``parts(j)``.

        ``compared``: whether the numbers are to be multiplied by functions of advantages in the group.
        """
        estimator = self.estimator if compared else None
        functions = self.functions if _by_level(self.step) and compared else None
        tilts = self.tilts
        if not compared:
            tilts = [Tilt(first=1.0, second=1.0, decay=np.ones_like(self.step.old.length))]
        mean = square = 0.0
        for law, share in zip(self.average.by_end, self.step.old.class_weight, strict=True):
            if share > 0:
                found = group_moments(law, estimator, parts(law.index), tilts, functions)
                mean += share * found.mean
                square += share * found.square
        return mean / self.average.kept_share, square / self.average.kept_share

    def functions(self, advantage: FloatArray) -> FloatArray:
        """F_d(A): 1 and A, or 1 and both signs of A - mean; then its square, where the step's variance has it."""
        centred = advantage - self.credit[0]
        signs = [of_sign(centred, +1), of_sign(centred, -1)] if self.step.signed else [advantage]
        squares = [centred**2] if _squared(self.step) else []
        return np.stack([np.ones_like(advantage), *signs, *squares])

    def per_group(self, number: FloatArray) -> float:
        """E[Σ over a group of a number of its responses by end, [grade or 1, end]], of all groups of a step."""
        shape = (1, 1, *self.step.task.shape[1:])
        given = Moments(mean=np.broadcast_to(number, shape), covariance=np.zeros((1, 1, 1, 1, 1)))
        return self.moments(lambda j: self.parts(given, given), compared=False)[0]

    def parts(self, moving: Moments, still: Moments | None = None) -> Parts:
        """``still`` only where groups are left out that count in what a step divides by."""
        return Parts(moving=moving, still=still if self.step.scheme.dynamic_sampling == "drop" else None)

    # --- what a response brings -----------------------------------------------------------------------------------

    @cached_property
    def weight(self) -> FloatArray:
        """The weight of each token of a response in the mean over groups, [end]; 0 out of the loss."""
        scheme = self.step.scheme
        own = self.step.own_weight(self.average.rule)
        if not _over_step(self.average):
            return own / scheme.group_size
        size = self.per_group(self.average.denominators.size)
        return own / (scheme.responses_per_step * size) if size > 0 else np.zeros_like(own)

    @cached_property
    def sums(self) -> list[Moments]:
        """Sums over the tokens of a response of each class, [sum, cell, grade, end]."""
        return ResponseSums(step=self.step, directions=self.directions, mean=self.credit[0]).by_class

    def numbers(self, j: int, *, drag: float = 0.0, penalised: bool = True, moving: bool = True) -> Moments:
        """The numbers of a response of class j, which functions of its advantage multiply: [d, cell, grade, end].

        ``drag`` is taken off for each token's advantage less the mean: what the mean of a step moves by. Where the
        group does not move (``moving``) nothing else is left.
        """
        step = self.step
        cells = step.old.class_cells[j]
        mean, scale = self.credit
        own: FloatArray = self.weight * float(moving)
        plain = own * float(penalised)
        pull = np.where(step.in_loss, -drag, 0.0)
        length = step.old.length
        gained: list[FloatArray] = [scale * own * step.response_gain(sign)[cells, None]
                                    for sign in ((+1, -1) if step.signed else (+1,))]
        given = self.sums[j]
        if step.token_level is not None:
            once: list[FloatArray] = [scale * own, 0.0 * own] if step.signed else [gained[0], gained[0] * -mean]
            if step.whitening is None:
                return given.combined(_stacked([[plain, *once]]))
            return given.combined(_stacked([[plain, *once, pull]])).shifted(-mean * pull * length)
        if self.estimator is None:
            credit = self.advantage(j) - mean
            signed = [of_sign(credit, sign) for sign in (+1, -1)] if step.signed else [credit]
            rows = [plain, *(part * each for part, each in zip(signed, gained, strict=True))]
            return given.combined(_stacked([rows])).shifted(credit * (pull * length))
        table: list[list[FloatArray | float]]
        if step.signed:
            table = [[plain, 0.0, 0.0], [0.0, gained[0], 0.0], [0.0, 0.0, gained[1]]]
            pulled = [0.0, 1.0, 1.0]
        else:
            table = [[plain, -mean * gained[0]], [0.0, gained[0]]]
            pulled = [-mean, 1.0]
        if _squared(step):
            table.append([0.0] * len(table[0]))
            pulled.append(0.0)
        return given.combined(_stacked(table)).shifted(np.array(pulled)[:, None, None, None] * (pull * length))

    def advantage(self, j: int) -> FloatArray:
        """The advantage of a response of class j that is compared with no other, [cell or 1, grade, end]."""
        step = self.step
        estimator = step.response_level
        if estimator is None:
            raise TypeError(f"one advantage per response is asked for, and the step has {step.scheme.advantage!r}")
        returns = step.returns if len(step.returns) == 1 else step.returns[step.old.class_cells[j]]
        return estimator.of_group(group_of(returns, baseline=np.array(step.baseline[j])))

    # --- a step's denominators and statistics, to first order -----------------------------------------------------

    @cached_property
    def drag(self) -> float:
        """What a unit of Σ_t (Â_t - mean) of a group, beyond its share, takes off the step's length change."""
        step = self.step
        tokens = self.per_group(step.old.length * step.in_loss)
        if step.whitening is None or tokens == 0:
            return 0.0
        scale = self.credit[1]

        def scores(j: int) -> Parts:
            cells = step.old.class_cells[j]
            place = 2 if step.token_level is not None else 1
            chosen = np.zeros((1, len(self.sums[j].mean), 1, 1, 1))
            chosen[0, place] = 1.0
            gain = (self.weight * step.response_gain(+1)[cells])[:, None]
            return self.parts(self.sums[j].combined(chosen * gain))

        return scale * self.moments(scores, compared=False)[0] / tokens

    @cached_property
    def mean(self) -> float:
        """E[X]: the drift."""
        return self.moments(lambda j: self.parts(self.numbers(j), self.numbers(j, moving=False)))[0]

    @cached_property
    def of_advantages(self) -> float:
        """The part of it that advantages make."""
        return self.moments(lambda j: self.parts(self.numbers(j, penalised=False), self.numbers(j, moving=False)))[0]

    def shift(self, j: int, terms: int) -> FloatArray:
        """What a response of class j moves in a step's denominators and stds, [d, cell or 1, grade, end]."""
        step = self.step
        total = np.zeros((1, 1, len(step.old.length)))
        squares = np.zeros(len(step.old.length))
        if _over_step(self.average):
            size = self.average.denominators.size
            total = total - self.mean * size / self.per_group(size)
        mean, scale = self.credit
        if step.whitening is not None and step.whitening.scale and scale > 0:
            # (σ² + eps)^-½ moves by half of what σ² does.
            tokens = step.old.length * step.in_loss
            change = 0.5 * self.of_advantages * scale**2 / self.per_group(tokens)
            variance = scale**-2 - step.whitening.eps
            total = total + change * variance * tokens
            if self.estimator is not None:
                squares = -change * tokens
            else:
                first, second = self.advantage_sums(j)
                total = total - change * (second - 2.0 * mean * first + mean**2 * step.old.length) * step.in_loss
        elif step.whitening is None and scale != 1.0 and scale > 0 and batch_moments(step)[1] > 0:
            centre, std, _ = batch_moments(step)
            returns = step.returns if len(step.returns) == 1 else step.returns[step.old.class_cells[j]]
            varies = step.paid_variance[step.old.class_cells[j]][:, None]
            change = 0.5 * self.of_advantages * scale / std / self.per_group(step.in_baseline.astype(np.float64))
            total = total - change * ((returns - centre) ** 2 + varies - std**2) * step.in_baseline
        shifts = np.zeros((terms, *np.broadcast_shapes(total.shape, squares.shape)))
        shifts[0] = total
        if _squared(step):
            shifts[-1] = squares
        return shifts

    @cached_property
    def token_sums(self) -> tuple[FloatArray, FloatArray]:
        """Σ_t Â_t and Σ_t Â_t² of the responses of all cells, where tokens have advantages of their own."""
        return advantage_sums(self.step)

    def advantage_sums(self, j: int) -> tuple[FloatArray, FloatArray]:
        """Σ_t Â_t and Σ_t Â_t² of a response of class j, on average given its end."""
        if self.step.token_level is not None:
            first, second = self.token_sums
            cells = self.step.old.class_cells[j]
            return first[cells], second[cells]
        advantage = self.advantage(j)
        return advantage * self.step.old.length, advantage**2 * self.step.old.length

    @property
    def variance(self) -> float:
        """Var(X)."""
        def parts(j: int) -> Parts:
            moving = self.numbers(j, drag=self.drag)
            still = self.numbers(j, drag=self.drag, moving=False)
            shift = self.shift(j, len(moving.mean))
            return self.parts(moving.shifted(shift), still.shifted(shift))

        mean, square = self.moments(parts)
        return square - mean**2


def _stacked(rows: Sequence[Sequence[FloatArray | float]]) -> FloatArray:
    """Weights [new, old, cell or 1, grade or 1, end] from rows of them, each [cell or 1, grade or 1, end] or less."""
    shape = np.broadcast_shapes((1, 1, 1), *(np.shape(x) for row in rows for x in row))
    return np.array([[np.broadcast_to(x, shape) for x in row] for row in rows])
