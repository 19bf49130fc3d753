"""What one response adds to the change of mean length, given how it ended: sums over its tokens, with their moments.

A sum over the tokens of a response that was in one state hangs on its end alone. One that changed state at e adds
what the tokens before e are in the state that they were drawn in, and e is known in distribution.
See docs/derivations.md, section 19.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np

from lossim._engine.gae import needed_gae
from lossim._engine.gae_moments import advantage_sums
from lossim._engine.gae_signs import signed_projection
from lossim._engine.gradients import surprises
from lossim._engine.projections import adaptive_projection, gae_entry, gae_projection
from lossim._engine.states import since_entry
from lossim._engine.step import Step
from lossim._model import CellArrays, Directions
from lossim._support.positions import along, before, discounted_sum
from lossim._support.records import Record
from lossim._support.types import FloatArray

__all__ = ["Moments", "ResponseSum", "ResponseSums", "moments_given_end"]


class ResponseSum(Record):
    """A sum over the tokens of a response of some cells, ``settled`` where it never changed state.

    One that did so at e, and ended at T, has  settled + entry(e) + x^{T-e} · excess · fading(e).

    Attributes:
        settled: [cell, grade or 1, end].
        entry, fading: [move, t].
        excess: [cell, grade or 1, end].
    """

    settled: FloatArray
    entry: FloatArray
    fading: FloatArray
    excess: FloatArray


class Moments(Record):
    """Numbers of a response given its end: their ``mean`` [number, cell, grade, end] and what is left to chance,
    ``covariance`` [number, number, cell or 1, grade or 1, end or 1].
    """

    mean: FloatArray
    covariance: FloatArray

    def combined(self, weights: FloatArray) -> Moments:
        """New numbers, sums over the old ones of ``weights`` [new, old, cell or 1, grade or 1, end]."""
        pairs = weights[:, None, :, None] * weights[None, :, None, :] * self.covariance
        return Moments(mean=(weights * self.mean).sum(axis=1), covariance=pairs.sum(axis=(2, 3)))

    def shifted(self, by: FloatArray) -> Moments:
        """The numbers plus ``by`` [number, cell or 1, grade or 1, end or 1]."""
        return replace(self, mean=self.mean + by)

    def squares(self) -> FloatArray:
        """E[product of two of the numbers | end], [number, number, cell, grade, end]."""
        return self.mean[:, None] * self.mean[None, :] + self.covariance


def moments_given_end(policy: CellArrays, cells: slice, sums: list[ResponseSum], x: float = 1.0) -> Moments:
    """Mean and covariance of sums over the tokens of a response that ended so in some cells; ``x`` is GAE's discount.

    The moments of entry(e) and x^{T-e} fading(e) over e, given the end, are recurrences:
    :func:`~lossim._engine.states.since_entry`.
    """
    _, target, rows = policy.layout.moves_within(cells)
    grades = policy.law.shape[1]
    shape = (len(sums), len(policy.layout.path_of_cell[cells]), grades, policy.max_tokens + 1)
    mean = np.array([np.broadcast_to(each.settled, shape[1:]) for each in sums])
    if not len(target):
        return Moments(mean=mean, covariance=np.zeros((len(sums), len(sums), 1, 1, 1)))
    covariance = np.zeros((len(sums), *shape))
    for row, (move, cell) in enumerate(zip(range(rows.start, rows.stop), target, strict=True)):
        entries = np.array([each.entry[row] for each in sums])
        fadings = np.array([each.fading[row] for each in sums])
        excess = np.array([np.broadcast_to(each.excess[cell], shape[2:]) for each in sums])

        def expected(y: FloatArray, discount: float, move: int = move) -> FloatArray:
            return since_entry(policy, move, y, discount)[..., None, :]

        ahead = expected(entries, 1.0) + excess * expected(fadings, x)
        mean[:, cell] += ahead
        mixed = excess[None, :] * expected(entries[:, None] * fadings, x)
        squares = expected(entries[:, None] * entries, 1.0) + mixed + mixed.swapaxes(0, 1)
        squares = squares + excess[:, None] * excess * expected(fadings[:, None] * fadings, x * x)
        covariance[:, :, cell] = squares - ahead[:, None] * ahead
    return Moments(mean=mean, covariance=covariance)


# --- the sums -------------------------------------------------------------------------------------------------------


def sum_along(policy: CellArrays, cells: slice, stop: FloatArray, go: FloatArray) -> ResponseSum:
    """Σ over the tokens of a response of numbers by role, [cell, t] of some cells."""
    source, target, _ = policy.layout.moves_within(cells)
    so_far = before(go)[:, :-1]
    entry = so_far[source] - so_far[target]
    return ResponseSum(settled=along(stop, go)[:, None], entry=entry, fading=np.zeros_like(entry),
                       excess=np.zeros((len(go), 1, 1)))


def settled_sum(policy: CellArrays, cells: slice, settled: FloatArray) -> ResponseSum:
    """A sum that the end alone settles, [cell, grade or 1, end] of some cells."""
    nothing = np.zeros((len(policy.layout.moves_within(cells).target), policy.max_tokens))
    return ResponseSum(settled=settled, entry=nothing, fading=nothing, excess=np.zeros((len(settled), 1, 1)))


def gae_sum(step: Step, cells: slice, stop: FloatArray, go: FloatArray) -> ResponseSum:
    """Σ_t Â_t · score_t of a response under GAE with one λ, for scores of its tokens [cell, t] of some cells."""
    gae = needed_gae(step)
    tail = discounted_sum(step.errors.going[cells], gae.discount)
    excess = step.errors.last[cells] - np.column_stack([tail, tail[:, -1]])[:, None]
    entry = gae_entry(step, cells, stop, go)
    return ResponseSum(settled=gae_projection(step, cells, stop, go), entry=entry.settled, fading=entry.fading,
                       excess=excess)


class ResponseSums(Record):
    """The sums of a step's responses along directions; ``mean`` is what a surrogate's signs are read against."""

    step: Step
    directions: Directions
    mean: float

    def penalties(self, cells: slice, stop: FloatArray, go: FloatArray) -> ResponseSum:
        """KL in the loss and entropy, for scores of the tokens of some cells."""
        step = self.step
        by_stop = np.zeros_like(stop)
        by_go = np.zeros_like(go)
        if step.kl_slope is not None:
            by_stop += stop * step.kl_slope.stop[cells]
            by_go += go * step.kl_slope.go[cells]
        if step.scheme.entropy is not None:
            # Σ_a π(a) (-log π(a)) score, the same whatever token is drawn; at the first over the paths of the class.
            surprise = surprises(step.policy, cells)
            bonus = step.scheme.entropy.coefficient * (stop * surprise.stop + go * surprise.go)
            at_first = step.policy.cell_probability[cells] * step.policy.at_risk[cells, 0]
            bonus[:, 0] = float(at_first @ bonus[:, 0])
            by_stop += bonus
            by_go += bonus
        return sum_along(step.policy, cells, by_stop, by_go)

    @cached_property
    def by_class(self) -> list[Moments]:
        """Sums over the tokens of a response of each class, [sum, cell, grade, end]: penalties, then scores with the
        gains of tokens at either sign of the advantage; under GAE advantage times score, score, and advantage alone.
        """
        gae = self.step.token_level
        discount = 1.0 if gae is None or gae.adaptive else gae.discount
        found = []
        for cells in self.step.old.class_cells:
            stop, go = self.directions.scores(cells)
            made = [self.penalties(cells, stop, go)]
            signs = (+1, -1) if self.step.signed and gae is None else (+1,)
            made += [sum_along(self.step.policy, cells, *self.gained(cells, sign)) for sign in signs]
            if gae is not None:
                made.insert(1, self.credited(cells))
                if self.step.whitening is not None:
                    made.append(self.alone(cells))
            found.append(moments_given_end(self.step.old, cells, made, discount))
        return found

    def gained(self, cells: slice, sign: int = +1) -> tuple[FloatArray, FloatArray]:
        """Scores of the tokens that stop and that go on, times their gains at that sign, [cell, t] of some cells."""
        stop, go = self.directions.scores(cells)
        gains = self.step.gains(sign, cells)
        return (stop, go) if gains is None else (stop * gains.stop, go * gains.go)

    @cached_property
    def by_pairs(self) -> FloatArray | None:
        """Σ_t Â_t · score_t by pairs of a position and an end, [cell, grade, end]; None where recurrences do it."""
        if self.step.signed:
            return signed_projection(self.step, self.mean, *self.directions.scores())
        if needed_gae(self.step).adaptive:
            return adaptive_projection(self.step, *self.gained(slice(None)))
        return None

    def credited(self, cells: slice) -> ResponseSum:
        """Σ_t Â_t · score_t under GAE; with the gains at each token's sign and less the mean, if they read it."""
        if self.by_pairs is None:
            return gae_sum(self.step, cells, *self.gained(cells))
        return settled_sum(self.step.policy, cells, self.by_pairs[cells])

    def alone(self, cells: slice) -> ResponseSum:
        """Σ_t Â_t under GAE."""
        if needed_gae(self.step).adaptive:
            return settled_sum(self.step.policy, cells, advantage_sums(self.step)[0][cells])
        one = np.ones_like(self.step.policy.logits[cells])
        return gae_sum(self.step, cells, one, one)
