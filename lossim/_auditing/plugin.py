"""A scheme on a log: what it credits each logged response with, in the group and the step it was logged in.

Three stages: a slab is credited group by group (:meth:`Plugin.credited`), the statistics of each step are summed
(:meth:`Plugin.totals`), and with both come the coefficients of the responses (:meth:`Plugin.coefficients`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property

import numpy as np

from lossim._auditing.cells import LoggedCells
from lossim._auditing.log import Log
from lossim._auditing.slabs import SameSize, Slab
from lossim._engine import Credit, Family, Groups, Logged, Step, advantage_sums_of, group_credit
from lossim._model import Directions
from lossim._support.records import Record, mapped
from lossim._support.types import BoolArray, FloatArray
from lossim.aggregation import balanced
from lossim.penalties import KL
from lossim.rewards import Reward, Shaping, applied
from lossim.schemes import Scheme


class TokenSums(Record):
    """How many tokens are in the loss, the sum of their advantages, and that of the squares of these."""

    tokens: FloatArray
    first: FloatArray
    second: FloatArray


class Totals(Record):
    """Sums that denominators and whitening of a step take, of each group, each step or each block of prompts.

    Attributes:
        n: responses.
        groups: groups they are in.
        size: their sum in the aggregation's denominator, where that is a sum over the step.
        credit: under whitening, what it takes of the tokens in the loss.
    """

    n: FloatArray
    groups: FloatArray
    size: FloatArray | None = None
    credit: TokenSums | None = None


class Coefficients(Record):
    """What responses add to the measures of the engine, times n; single responses or sums of them.

    Attributes:
        plain: the weight alone; None where no sum of it is needed.
        response: weight × advantage, where that is one per response; under GAE what whitening takes off.
        gae: the weight, for the part of token advantages that the critic makes.
        extra: weight × reward, for the part that the reward makes.
        kl: weight × slope of KL in the loss.
    """

    plain: FloatArray | None = None
    response: FloatArray | None = None
    gae: FloatArray | None = None
    extra: FloatArray | None = None
    kl: FloatArray | None = None


class Credited(Record):
    """The responses of a slab as a scheme sees them; statistics of a step are not taken yet.

    Attributes:
        paid: rewards with the KL in them.
        credit: the advantage as far as the group gives it; None under GAE.
        weight: the factors of n·weight that group and response bring, 0 out of the loss.
        kl_slope: -β·k'(log ratio) of KL in the loss, at the mean log ratio of a token; None without.
        in_loss: whether a response is in the loss.
        in_step: [group], whether its responses count in n.
        alive: [group], whether its rewards differ; a group of one is compared with nothing, and not dead.
    """

    slab: Slab
    paid: FloatArray
    credit: FloatArray | None
    weight: FloatArray
    kl_slope: FloatArray | None
    in_loss: BoolArray
    in_step: BoolArray
    alive: BoolArray

    @property
    def worth(self) -> FloatArray:
        """What a table shows of a response: its credit, or what it is paid under GAE."""
        return self.paid if self.credit is None else self.credit


class Grouped(Record):
    """The groups of a slab before any scheme credits them: returns and who counts [response], and both by size."""

    returns: FloatArray
    counted: BoolArray
    by_size: list[Groups]


class Plugin(Record):
    """A scheme on a log.

    Responses are paid as logged, or by a ``rule``, and then through ``shapings``; the scheme's own reward is not read.
    """

    cells: LoggedCells
    scheme: Scheme
    rule: Reward | None = None
    kernels: Family | None = None
    shapings: tuple[Shaping, ...] = ()

    @property
    def log(self) -> Log:
        """What was logged."""
        return self.cells.log

    @cached_property
    def bare(self) -> Scheme:
        """The scheme without what the rows bring themselves: its reward and its KL."""
        kept = tuple(penalty for penalty in self.scheme.penalties if not isinstance(penalty, KL))
        return replace(self.scheme, reward=Reward(), penalties=kept)

    @property
    def adaptive(self) -> bool:
        """Whether λ depends on the length, so that every pass takes O(N²)."""
        gae = self.scheme.advantage.token_level
        return gae is not None and gae.adaptive

    @cached_property
    def kl(self) -> tuple[KL | None, KL | None]:
        """KL in the reward and in the loss, where the log has what it takes and the penalty refers to the reference."""
        in_loss = self.scheme.kl_in_loss
        if self.log.rollouts.kl is None:
            return None, None
        return self.scheme.kl_in_reward, in_loss if in_loss is not None and in_loss.to == "reference" else None

    # --- what the engine sees ---------------------------------------------------------------------------------

    def step_on(self, directions: Directions, each_paid: float = 0.0) -> Step:
        """What a step of the scheme sees on each of the logs side by side.

        The engine's table of task rewards pays all responses ``each_paid``; a critic learns their logged means.
        """
        count = math.prod(directions.shape)
        policy = directions.policy
        logged = Logged(task=np.full((1, 2, self.log.shape[2]), each_paid),
                        expected_pay=np.tile(self._cell_reward, (count, 1)))
        scheme = replace(self.bare, advantage=self.scheme.advantage.repeated(count))
        return Step(scheme=scheme, policy=policy, reference=policy, old=policy, logged=logged)

    @cached_property
    def step(self) -> Step:
        """The step on the policy of the log."""
        return self.step_on(self.cells.directions)

    @property
    def _as_logged(self) -> bool:
        """Whether responses are paid what the log says, and stand at a place by what it says of each alone."""
        log = self.log
        return (self.rule is None and not self.shapings and self.kl[0] is None and not log.shortened
                and log.answered is None)

    @property
    def counts_alone(self) -> bool:
        """Whether all that a step takes of its responses is how many there are."""
        scheme = self.scheme
        summed = not scheme.aggregation.within_group and scheme.aggregation.size(np.ones(1)) is not None
        return not summed and scheme.advantage.whitening is None and not scheme.replaces

    @cached_property
    def _above(self) -> tuple[FloatArray, float]:
        """Sums of rewards by [place], each above the first one, and that."""
        if self._as_logged:
            return self.log.rewards_above
        above = np.zeros(len(self.log.count))
        first: float | None = None
        for slab in self.log.slabs():
            _, paid, _ = self._paid(slab)
            first = float(paid[0]) if first is None else first
            np.add.at(above, self.log.place(slab), paid - first)
        return above, first or 0.0

    @cached_property
    def mean_reward(self) -> FloatArray:
        """Mean reward by [kind, grade, end], 0 where nothing ended; equal rewards have exactly their mean."""
        above, first = self._above
        return _mean(self.log.by_end(above), self.log.law, first)

    @cached_property
    def _cell_reward(self) -> FloatArray:
        """Mean reward by [cell, end]; a critic alone wants it."""
        if self.scheme.advantage.token_level is None:
            return np.zeros((1, 1))
        above, first = self._above
        count = self.log.count
        paid, law = (self.cells.sums(x[None]).ended.sum(axis=1) for x in (_mean(above, count, first) * count, count))
        return _mean(paid, law, 0.0)

    @cached_property
    def task(self) -> FloatArray:
        """Mean reward by grade and end over all classes, [1, grade, end], for the change of the reward."""
        law = self.log.law
        first = self.mean_reward[law > 0][0]
        above = ((self.mean_reward - first) * law).sum(axis=0)
        return _mean(above, law.sum(axis=0), first)[None]

    # --- credit -----------------------------------------------------------------------------------------------

    def _paid(self, slab: Slab) -> tuple[FloatArray, FloatArray, BoolArray]:
        """Task rewards, the same less what KL in the reward takes off them, and who is in the baseline."""
        counted = ~slab.cut if self.scheme.truncation == "remove" else np.ones_like(slab.cut)
        if self._drops("response"):
            counted &= ~self._late(slab)
        task = slab.reward
        if self.rule is not None:
            task = np.empty_like(slab.length)
            everyone = (SameSize(size=1, groups=slice(None), responses=slice(None)),)
            for same in slab.by_size if self.rule.group_relative else everyone:
                target = None if slab.target is None else same.of(slab.target)
                same.of(task)[:] = self.rule.group_values(same.of(slab.length), same.of(slab.correct),
                                                          same.of(slab.cut), same.of(counted), target=target)
        if self.shapings:
            task = applied(self.shapings, task, slab.length, slab.outcome)
        kl = self.kl[0]
        if kl is None or slab.kl is None:
            return task, task, counted
        return task, task - kl.coefficient * slab.kl, counted

    def _drops(self, what: str) -> bool:
        """Whether late responses are dropped, or groups with one."""
        return self.scheme.selection is not None and self.scheme.selection.drops == what

    def _late(self, slab: Slab) -> BoolArray:
        """Which responses are late."""
        selection = self.scheme.selection
        return np.zeros_like(slab.cut) if selection is None else ~selection.in_time(slab.length)

    @property
    def whole_steps(self) -> bool:
        """Whether responses are credited by the statistics of their step."""
        estimator = self.scheme.advantage.response_level
        return estimator is not None and estimator.needs_whole_step

    def _grouped(self, slab: Slab) -> Grouped:
        """A slab's groups, before any scheme credits them."""
        estimator = self.scheme.advantage.response_level
        task, returns, counted = self._paid(slab)
        everyone = np.ones_like(slab.cut)
        kept = everyone if self.scheme.truncation == "keep" else ~slab.cut
        if self._drops("response"):
            kept = kept & ~self._late(slab)
        baseline = np.zeros(len(slab.prompt))
        if estimator is not None:
            baseline = estimator.fixed_baseline(len(self.log.classes))[slab.prompt_class]
        by_size = [Groups(task=same.of(task), returns=same.of(returns), length=same.of(slab.length),
                          member=same.of(everyone), counted=same.of(counted), in_loss=same.of(kept),
                          baseline=baseline[same.groups, None]) for same in slab.by_size]
        return Grouped(returns=returns, counted=counted, by_size=by_size)

    def _credit(self, grouped: Grouped) -> list[Credit]:
        """What its groups are credited with, by size."""
        estimator = self.scheme.advantage.response_level
        return [group_credit(self.scheme, estimator, groups) for groups in grouped.by_size]

    def _grouped_and_credited(self, slab: Slab) -> tuple[Grouped, list[Credit]]:
        """Both; shared with other schemes where pay and baseline are those of the log."""
        scheme = self.scheme
        estimator = scheme.advantage.response_level
        own = scheme.selection is not None or self.rule is not None or self.shapings or self.kl[0] is not None
        if own or (estimator is not None and estimator.fixed_baseline(len(self.log.classes)).any()):
            grouped = self._grouped(slab)
            return grouped, self._credit(grouped)
        grouped = slab.once(scheme.truncation, lambda: self._grouped(slab))
        key = scheme.truncation, estimator, scheme.advantage.group_relative
        return grouped, slab.once(key, lambda: self._credit(grouped))

    def credited(self, slab: Slab) -> Credited:
        """The responses of a slab, credited by group, and then by the statistics of the step if the estimator asks."""
        scheme = self.scheme
        rule = scheme.aggregation
        estimator = scheme.advantage.response_level
        grouped, credits = self._grouped_and_credited(slab)
        returns, counted = grouped.returns, grouped.counted
        # By group.
        advantage = None if estimator is None else np.empty_like(returns)
        in_loss = np.empty_like(counted)
        weight = np.empty_like(returns)
        alive = np.empty(len(slab.prompt), dtype=np.bool_)
        for same, groups, credit in zip(slab.by_size, grouped.by_size, credits, strict=True):
            alive[same.groups] = credit.unequal[:, 0] | (same.size == 1)
            same.of(in_loss)[:] = credit.in_loss
            own = rule.prefactor(groups.length, self.log.max_tokens) * credit.in_loss
            size = rule.size(groups.length) if rule.within_group else None
            if rule.by_sign and credit.advantage is not None:
                own = balanced(groups.length, credit.in_loss, credit.advantage)
            elif size is not None:
                total = (size * credit.in_loss).sum(axis=1, keepdims=True)
                own = own / np.where(total > 0, total, 1.0)
            same.of(weight)[:] = own
            if advantage is not None:
                same.of(advantage)[:] = credit.advantage
        # Equal groups: out of the loss, or out of the step altogether, as late ones are.
        in_step = np.ones_like(alive)
        if self._drops("group"):
            in_step = slab.by_group(self._late(slab)) == 0
        if scheme.dynamic_sampling == "resample":
            in_step = in_step & alive
        if scheme.dynamic_sampling != "none" or scheme.replaces:
            weight *= slab.each(in_step if scheme.dynamic_sampling == "none" else in_step & alive)
        if scheme.replaces:
            in_loss &= slab.each(in_step)
            counted = counted & slab.each(in_step)  # it is shared
        # By step.
        if advantage is not None and estimator is not None and estimator.needs_whole_step:
            for rows in slab.by_step():
                advantage[rows] = estimator.of_step(advantage[None, rows], returns[None, rows], counted[None, rows])[0]
        kl = self.kl[1]
        slope = None if kl is None or slab.kl is None else -kl.coefficient * kl.slope(slab.kl / slab.length)
        return Credited(slab=slab, paid=returns, weight=weight, kl_slope=slope, in_loss=in_loss, in_step=in_step,
                        alive=alive, credit=advantage)

    # --- statistics of a step ---------------------------------------------------------------------------------

    def totals(self, part: Credited) -> Totals:
        """The sums of each group."""
        slab = part.slab
        groups = part.in_step.astype(np.float64)
        rule = self.scheme.aggregation
        size = None if rule.within_group else rule.size(slab.length)
        sums = Totals(n=groups * slab.sizes, groups=groups,
                      size=None if size is None else slab.by_group(size * part.in_loss))
        if self.scheme.advantage.whitening is None:
            return sums
        # Σ_t Â_t and Σ_t Â_t² of each response.
        if part.credit is not None:
            first, second = (each * slab.length for each in (part.credit, part.credit**2))
        else:
            powers = np.stack([part.paid**0, part.paid, part.paid**2])
            place = self.log.place(slab)
            first, second = ((table[:, place] * powers).sum(axis=0) for table in self._gae_sums)
        each = TokenSums(tokens=slab.length, first=first, second=second)
        return replace(sums, credit=mapped(lambda x: slab.by_group(x * part.in_loss), each))

    @cached_property
    def _gae_sums(self) -> tuple[FloatArray, FloatArray]:
        """Σ_t Â_t and Σ_t Â_t² as polynomials in the reward, [power, place]: Â_t is linear in it."""
        steps = [self.step_on(self.cells.directions, each_paid=reward) for reward in (-1.0, 0.0, 1.0)]
        below, zero, above = (np.array(advantage_sums_of(step, self.cells.draws)) for step in steps)
        first, second = np.stack([zero, (above - below) / 2.0, (above + below) / 2.0 - zero], axis=1)
        return first, second

    def scales(self, totals: Totals) -> tuple[FloatArray, FloatArray, FloatArray]:
        """What the sums of steps make of them: ``weight``, ``mean`` and ``factor``.

        (n·weight) over the responses' own factors; whitened, an advantage A becomes (A - mean)·factor.
        """
        scheme = self.scheme
        rule = scheme.aggregation
        n = totals.n
        if rule.within_group:
            weight = n / np.maximum(totals.groups, 1.0)
        elif totals.size is not None:
            weight = n / np.where(totals.size > 0, totals.size, 1.0)
        else:
            weight = np.full_like(n, rule.scale(scheme.group_size, scheme.prompts_per_step))
        whitening = scheme.advantage.whitening
        sums = totals.credit
        if whitening is None or sums is None:
            return weight, np.zeros_like(weight), np.ones_like(weight)
        tokens = np.maximum(sums.tokens, 1.0)
        mean = sums.first / tokens
        square = sums.second / tokens
        return weight, mean, whitening.factor(square - mean**2, square, sums.tokens)

    # --- coefficients -----------------------------------------------------------------------------------------

    def coefficients(self, part: Credited, weight: FloatArray, mean: FloatArray, factor: FloatArray) -> Coefficients:
        """What each response adds to each measure, times n, with the :meth:`scales` of all steps."""
        slab = part.slab
        whitened = self.scheme.advantage.whitening is not None
        plain = part.weight * slab.each(weight[slab.step])
        scaled = plain * slab.each(factor[slab.step]) if whitened else plain
        off = slab.each(mean[slab.step]) if whitened else None
        kl = None if part.kl_slope is None else plain * part.kl_slope
        if part.credit is not None:
            credit = part.credit if off is None else part.credit - off
            return Coefficients(plain=plain, response=scaled * credit, kl=kl)
        return Coefficients(plain=plain, response=None if off is None else -scaled * off, gae=scaled,
                            extra=scaled * part.paid, kl=kl)


def _mean(above: FloatArray, count: FloatArray, first: float) -> FloatArray:
    """Means of numbers from sums of what they are above one of them; 0 where there are none."""
    return np.where(count > 0, first + above / np.where(count > 0, count, 1.0), 0.0)
