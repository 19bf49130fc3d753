"""What a scheme makes of a log: plug-in measures by block of prompts, and the gradient they give.

The law of the policy is the log's own (hazards are stops over responses at risk), and each response is credited in
the group and the step it was logged in. Both are sums over prompts, so the log with its prompts drawn again is a
weighted sum of what blocks of prompts contribute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from lossim._auditing.cells import Cells
from lossim._auditing.log import Log, Pay, Slab
from lossim._engine import Measures, Step, advantage_sums
from lossim._support.types import BoolArray, FloatArray, IntArray
from lossim.advantages import GAE, LengthAdaptive, ResponseAdvantage, Whitened
from lossim.penalties import KL
from lossim.policies import Policy
from lossim.rewards import Reward
from lossim.schemes import Scheme

__all__ = ["Credited", "LoggedStep", "Plugin", "Totals"]


@dataclass(frozen=True, kw_only=True, eq=False)
class LoggedStep(Step):
    """A step whose task rewards are logged: none in the tables of the engine, their means for a critic to learn."""

    mean_reward: FloatArray

    @cached_property
    def task(self) -> FloatArray:
        return np.zeros((1, 2, self.policy.max_tokens + 1))

    @property
    def expected_pay(self) -> FloatArray:
        return self.mean_reward


@dataclass(frozen=True, kw_only=True, eq=False)
class Credited:
    """The responses of a slab as a scheme sees them; statistics of a step are not taken yet.

    ``paid`` rewards with the KL in them; ``credit`` by the group (None under GAE); ``weight`` the factors of
    n·weight that group and response bring; ``in_loss`` and ``counted`` in n; ``alive``: in groups whose rewards differ.
    """

    slab: Slab
    paid: FloatArray
    credit: FloatArray | None
    weight: FloatArray
    kl_slope: FloatArray | None
    in_loss: BoolArray
    counted: BoolArray
    alive: BoolArray


SUMS = ("n", "groups", "size", "tokens", "first", "second")


@dataclass(frozen=True, kw_only=True, eq=False)
class Totals:
    """Sums over the responses of each step (or block of prompts) that its denominators and its whitening take.

    ``n`` responses in so many ``groups``, ``size`` of the aggregation's denominator, ``tokens`` in the loss, ``first``
    and ``second`` the sums of the advantages of those tokens and of their squares.
    """

    n: FloatArray
    groups: FloatArray
    size: FloatArray
    tokens: FloatArray
    first: FloatArray
    second: FloatArray

    def of(self, weights: FloatArray) -> Totals:
        """The sums of a log whose blocks are weighted."""
        return Totals(**{name: weights @ getattr(self, name) for name in SUMS})


@dataclass(frozen=True, kw_only=True, eq=False)
class Plugin:
    """A scheme on a log. ``pay`` says what responses are paid; the scheme's own reward is not read."""

    cells: Cells
    scheme: Scheme
    pay: Pay = field(default_factory=Pay)

    @property
    def log(self) -> Log:
        """What was logged."""
        return self.cells.log

    # --- the scheme, as far as a log has use for it -----------------------------------------------------------

    @cached_property
    def bare(self) -> Scheme:
        """The scheme without what the rows bring themselves: its reward and its KL."""
        kept = tuple(penalty for penalty in self.scheme.penalties if not isinstance(penalty, KL))
        return replace(self.scheme, reward=Reward(), penalties=kept)

    @property
    def advantage(self) -> GAE | ResponseAdvantage:
        """The estimator, without whitening."""
        given = self.scheme.advantage
        inner = given.inner if isinstance(given, Whitened) else given
        assert isinstance(inner, (GAE, ResponseAdvantage))
        return inner

    @property
    def adaptive(self) -> bool:
        """Whether λ depends on the length, so that every pass takes O(N²)."""
        return isinstance(self.advantage, GAE) and isinstance(self.advantage.gae_lambda, LengthAdaptive)

    @property
    def whitened(self) -> Whitened | None:
        """Whitening over the tokens of a step, if there is any."""
        return self.scheme.advantage if isinstance(self.scheme.advantage, Whitened) else None

    @property
    def of_whole_step(self) -> bool:
        """Whether the estimator itself needs a step's responses at once."""
        return not isinstance(self.advantage, GAE) and type(self.advantage.innermost).of_step is not \
            ResponseAdvantage.of_step

    @property
    def has_size(self) -> bool:
        """Whether token losses are divided by a sum over the step."""
        rule = self.scheme.aggregation
        return rule.size(np.ones(1)) is not None and not rule.within_group

    @cached_property
    def kl(self) -> tuple[KL | None, KL | None]:
        """KL in the reward and in the loss, where the log has what it takes and the penalty refers to the reference."""
        if self.log.rollouts.kl is None:
            return None, None
        loss = self.scheme.kl_in_loss
        return self.scheme.kl_in_reward, loss if loss is not None and loss.to == "reference" else None

    def step_of(self, policy: Policy) -> LoggedStep:
        """What a step of the scheme on this policy sees."""
        return LoggedStep(scheme=self.bare, policy=policy, reference=policy, old=policy, mean_reward=self._cell_reward)

    @cached_property
    def _cell_reward(self) -> FloatArray:
        """Mean reward by [cell, end]; a critic alone wants it."""
        if not isinstance(self.advantage, GAE):
            return np.zeros(1)
        graded, law = (self.cells.of_cells(x).sum(axis=1) for x in (self.mean_reward * self.log.law, self.log.law))
        mean: FloatArray = np.divide(graded, law, out=np.zeros_like(law), where=law > 0)
        return mean

    @cached_property
    def step(self) -> LoggedStep:
        """The step on the policy of the log."""
        return self.step_of(self.cells.policy)

    @cached_property
    def mean_reward(self) -> FloatArray:
        """Mean reward by [class, grade, end], 0 where nothing ended."""
        paid = np.zeros(self.log.shape)
        for slab in self.log.slabs():
            paid += self.log.total(slab, self._less_kl(slab, slab.paid(self.pay, self._in_baseline(slab))))
        return np.divide(paid, self.log.law, out=np.zeros_like(paid), where=self.log.law > 0)

    @cached_property
    def task(self) -> FloatArray:
        """Mean reward by grade and end over all classes, [1, grade, end], for the change of the reward."""
        law = self.log.law.sum(axis=0)
        paid = (self.mean_reward * self.log.law).sum(axis=0)
        mean: FloatArray = np.divide(paid, law, out=np.zeros_like(paid), where=law > 0)
        return mean[None]

    @cached_property
    def scale(self) -> float:
        """About how large an update's coefficients are before anything cancels, per response."""
        value = float(np.abs(self.step.errors.last).max()) if isinstance(self.advantage, GAE) else 0.0
        return max((float(np.abs(x).sum()) * (value if name == "gae" else 1.0) for name, x in self.sums.items()
                    if name != "plain"), default=0.0)

    # --- responses --------------------------------------------------------------------------------------------

    def _in_baseline(self, slab: Slab) -> BoolArray:
        return ~slab.cut if self.scheme.truncation == "remove" else np.ones_like(slab.cut)

    def _less_kl(self, slab: Slab, task: FloatArray) -> FloatArray:
        """Task rewards with what KL in the reward takes off them."""
        in_reward = self.kl[0]
        return task if in_reward is None or slab.kl is None else task - in_reward.coefficient * slab.kl

    def credited(self) -> Iterator[Credited]:
        """The log slab by slab, credited by group."""
        for slab in self.log.slabs(whole_steps=self.of_whole_step):
            yield self._credited(slab)

    def _credited(self, slab: Slab) -> Credited:
        scheme, rule = self.scheme, self.scheme.aggregation
        in_baseline = self._in_baseline(slab)
        in_loss = np.ones_like(slab.cut) if scheme.truncation == "keep" else ~slab.cut
        task = slab.paid(self.pay, in_baseline)
        paid = self._less_kl(slab, task)
        alive, credit, weight = np.empty_like(slab.cut), np.zeros_like(paid), np.empty_like(paid)
        least = 2 if scheme.advantage.group_relative and scheme.truncation == "remove" else 1
        for members in slab.by_size:
            inside = in_baseline[members]
            top = np.where(inside, task[members], -np.inf).max(axis=1, keepdims=True)
            alive[members] = top > np.where(inside, task[members], np.inf).min(axis=1, keepdims=True)
            enough = (inside.sum(axis=1, keepdims=True) >= least) | (members.shape[1] == 1)
            kept = in_loss[members] & enough
            in_loss[members] = kept
            own = rule.prefactor(slab.length[members], self.log.max_tokens) * kept
            if rule.within_group:
                size = rule.size(slab.length[members])
                assert size is not None
                total = (size * kept).sum(axis=1, keepdims=True)
                own /= np.where(total > 0, total, 1.0)
            weight[members] = own
            if not isinstance(self.advantage, GAE):
                given = self.advantage.of_group(paid[members], inside.astype(np.float64), slab.length[members],
                                                self._baseline(slab, members))
                credit[members] = np.where(inside, given, 0.0)
        counted = np.ones_like(slab.cut)
        if scheme.dynamic_sampling != "none":
            weight *= alive
        if scheme.dynamic_sampling == "resample":  # equal groups are not in the step at all
            counted, in_loss, in_baseline = alive, in_loss & alive, in_baseline & alive
        if self.of_whole_step:
            assert isinstance(self.advantage, ResponseAdvantage)
            for rows in np.split(np.arange(len(paid)), np.flatnonzero(np.diff(slab.of_step)) + 1):
                credit[rows] = self.advantage.of_step(credit[None, rows], paid[None, rows], in_baseline[None, rows])[0]
        in_loss_kl = self.kl[1]
        slope = None if in_loss_kl is None or slab.kl is None else -in_loss_kl.coefficient * in_loss_kl.slope(
            slab.kl / slab.length)
        return Credited(slab=slab, paid=paid, weight=weight, kl_slope=slope, in_loss=in_loss, counted=counted,
                        alive=alive, credit=None if isinstance(self.advantage, GAE) else credit)

    def _baseline(self, slab: Slab, members: IntArray) -> FloatArray:
        """The fixed baseline of Raw by prompt class (0 for others), [group, 1]."""
        return self.step.baseline[slab.of_class[members[:, :1]]]

    # --- statistics of a step ---------------------------------------------------------------------------------

    @cached_property
    def totals(self) -> tuple[Totals, Totals]:
        """By step and by block of prompts."""
        steps, blocks = len(self.log.steps[1]), self.log.blocks
        sums = {name: (np.zeros(steps), np.zeros(blocks)) for name in SUMS}
        for part in self.credited():
            slab, rule = part.slab, self.scheme.aggregation
            size, in_loss = rule.size(slab.length), part.in_loss
            first, second = self._advantage_sums(part)
            opens = np.zeros_like(part.counted)
            opens[slab.first] = True
            rows = {"n": part.counted, "groups": part.counted & opens,
                    "size": in_loss * (slab.length if size is None else size),
                    "tokens": in_loss * slab.length, "first": in_loss * first, "second": in_loss * second}
            for name, x in rows.items():
                for total, index in zip(sums[name], (slab.of_step, self.log.block(slab)), strict=True):
                    total += np.bincount(index, weights=x, minlength=len(total))
        by_step, by_block = (Totals(**{name: both[i] for name, both in sums.items()}) for i in (0, 1))
        return by_step, by_block

    def _advantage_sums(self, part: Credited) -> tuple[FloatArray, FloatArray]:
        """Σ_t Â_t and Σ_t Â_t² of each response."""
        slab = part.slab
        if part.credit is not None:
            return part.credit * slab.length, part.credit**2 * slab.length
        if self.whitened is None:
            return np.zeros_like(slab.length), np.zeros_like(slab.length)
        first, second = (table[:, self.cells.cell(slab), slab.end] for table in self._gae_sums)
        powers = np.stack([np.ones_like(part.paid), part.paid, part.paid**2])
        return (first * powers).sum(axis=0), (second * powers).sum(axis=0)

    @cached_property
    def _gae_sums(self) -> tuple[FloatArray, FloatArray]:
        """Σ_t Â_t and Σ_t Â_t² as polynomials in the reward, [power, cell, end]: Â_t is linear in it."""
        at = []
        for reward in (-1.0, 0.0, 1.0):
            step = self.step_of(self.cells.policy)
            step.__dict__["task"] = np.full_like(step.task, reward)
            at.append([sums[:, 0] for sums in advantage_sums(step)])
        below, zero, above = (np.array(sums) for sums in at)
        first, second = np.stack([zero, (above - below) / 2.0, (above + below) / 2.0 - zero], axis=1)
        return first, second

    def scales(self, totals: Totals) -> tuple[FloatArray, FloatArray, FloatArray]:
        """(n·weight) / own factors, the mean taken off each advantage, and what the rest is multiplied by."""
        rule, scheme = self.scheme.aggregation, self.scheme
        if rule.within_group:
            weight = totals.n / np.maximum(totals.groups, 1.0)
        elif self.has_size:
            weight = totals.n / np.where(totals.size > 0, totals.size, 1.0)
        else:
            weight = np.full_like(totals.n, rule.scale(scheme.group_size, scheme.prompts_per_step))
        if self.whitened is None:
            return weight, np.zeros_like(totals.n), np.ones_like(totals.n)
        tokens = np.maximum(totals.tokens, 1.0)
        mean, square = totals.first / tokens, totals.second / tokens
        return weight, mean, self.whitened.factor(square - mean**2, square, totals.tokens)

    # --- measures ---------------------------------------------------------------------------------------------

    def coefficients(self) -> Iterator[tuple[Credited, dict[str, FloatArray]]]:
        """Slab by slab, what each response adds to each measure, all statistics taken, times n.

        ``response`` and ``kl``: weight × advantage and × slope; under GAE ``gae``, ``extra`` and ``response``, see
        :class:`lossim._engine.gradients.Measures`; ``plain``, the weight alone.
        """
        weight, mean, factor = self.scales(self.totals[0])
        for part in self.credited():
            step = part.slab.of_step
            plain = part.weight * weight[step]
            scaled = plain * factor[step]
            made = {"plain": plain}
            if part.credit is not None:
                made["response"] = scaled * (part.credit - mean[step])
            else:
                made |= {"gae": scaled, "extra": scaled * part.paid}
                if self.whitened is not None:
                    made["response"] = -scaled * mean[step]
            if part.kl_slope is not None:
                made["kl"] = plain * part.kl_slope
            yield part, made

    def measured(self, watch: Callable[[Credited, dict[str, FloatArray]], None] | None = None
                 ) -> dict[str, FloatArray]:
        """The sums of the coefficients by [block, class, grade, end]; not divided by n.

        ``watch`` sees the responses go by.
        """
        total: dict[str, FloatArray] = {}
        for part, made in self.coefficients():
            for name, x in made.items():
                if name != "plain" or self.scheme.entropy is not None or self.whitened is not None:
                    tally = self.log.tally(part.slab, x)
                    total[name] = np.add(total[name], tally, out=total[name]) if name in total else tally
            if watch is not None:
                watch(part, made)
        return total

    @cached_property
    def measures(self) -> dict[str, FloatArray]:
        """The same, kept."""
        return self.measured()

    def redrawn(self, weights: FloatArray) -> dict[str, FloatArray]:
        """The measures [replicate, class, grade, end], per response, of the log with its blocks weighted.

        A step's denominator and its whitening are redrawn as one for the whole log, to first order.
        """
        now, then = self.totals[1].of(weights), self.totals[1].of(np.ones((1, self.log.blocks)))
        sums = {name: self.log.redrawn(x, weights) for name, x in self.measures.items()}
        (weight, mean, factor), (weight0, mean0, factor0) = (
            [x[:, None, None, None] for x in self.scales(totals)] for totals in (now, then))
        ratio = weight / np.where(weight0 > 0, weight0, 1.0) / np.maximum(now.n, 1.0)[:, None, None, None]
        if self.whitened is not None and float(factor0.item()) > 0:
            sums["response"] = (sums["response"] - (mean - mean0) * factor0 * sums["plain"]) * (factor / factor0)
            for name in {"gae", "extra"} & set(sums):
                sums[name] = sums[name] * (factor / factor0)
        return {name: x * ratio for name, x in sums.items()}

    @cached_property
    def sums(self) -> dict[str, FloatArray]:
        """The measures [class, grade, end], per response, of the log as it is."""
        return {name: x[0] for name, x in self.redrawn(np.ones((1, self.log.blocks))).items()}

    def of_cells(self, sums: dict[str, FloatArray]) -> Measures:
        """The measures as the engine takes them, the KL of the log among the advantages."""
        split = {name: self.cells.of_cells(x) for name, x in sums.items()}
        if "kl" in split:
            split["response"] = split["kl"] + split.get("response", 0.0)
        return Measures(response=split.get("response"), gae=split.get("gae"), extra=split.get("extra"),
                        plain=split["plain"] if self.scheme.entropy is not None else None)
