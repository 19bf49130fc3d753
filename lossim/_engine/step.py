"""What one step of a scheme sees: who draws, what responses are paid, how old and new policy differ."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from lossim._engine.measures import EndSums, Roles
from lossim._engine.ratios import clash_at, log_ratio
from lossim._engine.rules import EndRules, Logged
from lossim._engine.states import along_pairs, mean_along, reweighed, variance_along, with_entries
from lossim._model import CellArrays, Layout
from lossim._support import checks
from lossim._support.records import Record, mapped
from lossim._support.types import BoolArray, FloatArray, IntArray, NoClosedForm
from lossim.advantages import GAE, ResponseAdvantage, Whitened
from lossim.aggregation import Aggregation
from lossim.critics import CriticView
from lossim.schemes import Scheme

__all__ = ["Errors", "Step"]


class Errors(Record):
    """TD errors δ: ``going`` [cell, t] at tokens that are not the last (0 at N), ``last`` [cell, grade, end].

    ``moving`` [move, t] are those of tokens of the state before, at t, whose next token is in the next state.
    """

    going: FloatArray
    last: FloatArray
    moving: FloatArray


class Step(Record):
    """What one step of a scheme on a policy sees. Arrays are [cell, grade, end] or less.

    Attributes:
        scheme: what the trainer does with a batch.
        policy: the policy that is updated.
        reference: the one that a KL refers to.
        old: the one that drew the batch; ``policy`` itself on-policy.
        logged: rewards of a log in place of the scheme's rule; None for the rule.
        known: rules of another step, which are taken where they are those of this one; they need not be.
    """

    scheme: Scheme
    policy: CellArrays
    reference: CellArrays
    old: CellArrays
    logged: Logged | None = None
    known: EndRules | None = None

    def __post_init__(self) -> None:
        # Ratios that are infinite, and rewards or baselines that do not fit, are told now.
        _ = self.kl_slope
        _ = self.paid
        _ = self.drawn_ratio
        _ = self.task
        _ = self.baseline

    # --- the estimator ----------------------------------------------------------------------------------------

    @cached_property
    def token_level(self) -> GAE | None:
        """The estimator, if it has an advantage for each token; whitening is taken off."""
        return self.scheme.advantage.token_level

    @cached_property
    def response_level(self) -> ResponseAdvantage | None:
        """The estimator, if it has one advantage per response, as groups of this size have it; without whitening."""
        given = self.scheme.advantage.response_level
        return None if given is None else given.for_group_size(self.scheme.group_size)

    @cached_property
    def whitening(self) -> Whitened | None:
        """Whitening over the tokens of the step, if there is any."""
        return self.scheme.advantage.whitening

    def refuse_whitened_groups(self) -> None:
        """Say that whitened GAE is not summed where a reward compares a group."""
        if self.token_level is not None and self.whitening is not None and self.scheme.reward.group_relative:
            raise NoClosedForm("reward", "whitened GAE with a reward that compares the responses of a group",
                               hint="use a response-level advantage or leave whitening out")

    @property
    def group_relative(self) -> bool:
        """Whether a response is compared with the others of its group."""
        return self.response_level is not None and self.response_level.group_relative

    # --- what the scheme says of ends -------------------------------------------------------------------------

    @cached_property
    def rules(self) -> EndRules:
        """What the scheme says of the ends, whatever the policy."""
        scheme = self.scheme
        mine = EndRules(reward=scheme.reward, truncation=scheme.truncation, selection=scheme.selection,
                        layout=self.policy.layout, goals=self.policy.target, logged=self.logged)
        return self.known if self.known is not None and self.known.same_as(mine) else mine

    @property
    def in_loss(self) -> BoolArray:
        """Which ends are in the loss, [end]."""
        return self.rules.in_loss

    @property
    def in_baseline(self) -> BoolArray:
        """Which ends are in baseline and std, [end]."""
        return self.rules.in_baseline

    @property
    def in_time(self) -> BoolArray:
        """Which ends are no later than the scheme takes responses, [end]."""
        return self.rules.in_time

    @property
    def admitted(self) -> BoolArray:
        """Which ends the responses of a step can have, [end]."""
        return self.rules.admitted

    @property
    def task(self) -> FloatArray:
        """Task reward with shaping, [1, grade, end], or [cell, grade, end] where it reads a target."""
        return self.rules.task

    @property
    def target(self) -> FloatArray | None:
        """The target of each class, [class], where the reward reads it; None where it does not."""
        return self.rules.target

    @property
    def pay(self) -> FloatArray:
        """What grades are paid before cuts and shapings, [grade]."""
        return self.rules.pay

    @property
    def runs(self) -> IntArray:
        """The first end of each run of ends that are alike, [run]."""
        return self.rules.runs

    @property
    def few_runs(self) -> bool:
        """Whether these runs are few, beside the ends."""
        return self.rules.few_runs

    @property
    def run_of_end(self) -> IntArray:
        """The run of each end, [end]."""
        return self.rules.run_of_end

    @property
    def reward_levels(self) -> tuple[FloatArray, IntArray]:
        """The different task rewards, increasing, and which of them each [grade, end] gets; of the first class."""
        return self.rules.reward_levels

    @property
    def levels_by_class(self) -> list[tuple[FloatArray, IntArray]]:
        """The same for each class; one entry for all where they are paid alike."""
        return self.rules.levels_by_class

    # --- who counts -------------------------------------------------------------------------------------------

    @property
    def least_kept(self) -> int:
        """How many responses a group needs in the baseline to contribute."""
        compares = self.group_relative and self.scheme.group_size > 1
        return 2 if compares and self.scheme.removes else 1

    def own_weight(self, rule: Aggregation) -> FloatArray:
        """The factors of n·weight that a response brings by itself, [end]; 0 out of the loss."""
        own = self.in_loss * rule.prefactor(self.policy.length, self.policy.max_tokens)
        return own * rule.scale(self.scheme.group_size, self.scheme.prompts_per_step)

    # --- what responses are paid --------------------------------------------------------------------------------

    @cached_property
    def law_by_run(self) -> FloatArray:
        """P(grade, run of ends; in the cell | path) of the policy that draws, [cell, grade, run]."""
        return np.add.reduceat(self.old.law, self.runs, axis=-1)

    @cached_property
    def paid(self) -> Roles | None:
        """KL in the reward by the token's role; None if there is none to pay."""
        kl = self.scheme.kl_in_reward
        if kl is None or kl.coefficient == 0:
            return None
        ratio = log_ratio(self.old, self.reference, "the reference")
        if not (ratio.stop.any() or ratio.go.any() or kl.content_per_token):
            return None
        return Roles(stop=-kl.coefficient * ratio.stop, go=-kl.coefficient * (ratio.go + kl.content_per_token))

    @cached_property
    def paid_or_nothing(self) -> Roles:
        """KL in the reward by the token's role, 0 where there is none."""
        if self.paid is not None:
            return self.paid
        zero = np.broadcast_to(0.0, self.old.logits.shape)
        return Roles(stop=zero, go=zero)

    @cached_property
    def returns(self) -> FloatArray:
        """Task reward plus the KL paid on the way, on average given the end, [cell or 1, grade, end]."""
        if self.paid is None:
            return self.task
        return self.task + mean_along(self.old, self.paid.stop, self.paid.go)[:, None, :]

    @cached_property
    def paid_variance(self) -> FloatArray:
        """Variance given the end of the KL paid on the way, [cell, end]; 0 where no response changes state."""
        if self.paid is None:
            return np.zeros_like(self.old.ends)
        return variance_along(self.old, self.paid.go)

    @cached_property
    def baseline(self) -> FloatArray:
        """The fixed baseline of the estimator per class (0 if it has none)."""
        classes = len(self.policy.class_weight)
        if self.response_level is None:
            return np.zeros(classes)
        return self.response_level.fixed_baseline(classes)

    @cached_property
    def expected_pay(self) -> FloatArray:
        """E[task reward | cell, end], [cell, end]."""
        if self.logged is not None:
            return self.logged.expected_pay
        right = self.task[:, 0]
        wrong = (self.old.not_correct * self.task[:, 1:]).sum(axis=1)
        return wrong + self.old.correctness * (right - wrong)

    # --- ratios -----------------------------------------------------------------------------------------------

    @cached_property
    def drawn_ratio(self) -> Roles | None:
        """log π/π_old by the token's role; None on-policy."""
        if self.old is self.policy:
            return None
        mine = self.policy
        other = self.old
        clash = (np.isinf(mine.logits) | np.isinf(other.logits)) & (mine.logits != other.logits)
        if clash.any() or ((mine.probability > 0) != (other.probability > 0)).any():
            raise ValueError("the old policy must have hazards of 0 and 1 and paths of probability 0 exactly where the "
                             f"policy has them, or ratios are 0 or infinite{clash_at(mine, other, clash)}")
        return log_ratio(mine, other, "the old policy")

    @cached_property
    def kl_slope(self) -> Roles | None:
        """-β·dk/d log π by the token's role; None without KL in the loss."""
        kl = self.scheme.kl_in_loss
        if kl is None:
            return None
        drawn = self.drawn_ratio or log_ratio(self.policy, self.old, "the old policy")
        held = drawn if kl.to == "old" else log_ratio(self.policy, self.reference, "the reference")
        return mapped(lambda to, ratio: -kl.coefficient * kl.slope(to, ratio), held, drawn)

    @property
    def signed(self) -> bool:
        """Whether the update has to tell positive from negative advantages."""
        return self.drawn_ratio is not None and self.scheme.surrogate.signed

    def gains(self, sign: int, cells: slice = slice(None)) -> Roles | None:
        """The surrogate's gains of tokens for advantages of that sign, of some cells; None on-policy: they are 1."""
        if self.drawn_ratio is None:
            return None
        return mapped(lambda ratio: self.scheme.surrogate.token_gain(ratio[cells], sign), self.drawn_ratio)

    def response_parts(self, sign: int) -> Roles | None:
        """What tokens add to the sum that the gain of a whole response reads; None where no gain reads it."""
        surrogate = self.scheme.surrogate
        if self.drawn_ratio is None or not surrogate.response_level:
            return None
        return mapped(lambda ratio: surrogate.response_part(ratio, sign), self.drawn_ratio)

    def response_gain(self, sign: int) -> FloatArray:
        """The gain of a whole response, [cell, end]; where states change, that of the mean sum of its parts."""
        parts = self.response_parts(sign)
        if parts is None:
            return np.ones_like(self.policy.ends)
        total = mean_along(self.old, parts.stop, parts.go)
        return self.scheme.surrogate.response_gain(total, self.policy.length, sign)

    def response_gain_by_move(self, move: int, ends: slice, sign: int) -> FloatArray | None:
        """The gain of a whole response that changes state at t, for some ends, [end, t]; None where it is 1."""
        parts = self.response_parts(sign)
        if parts is None:
            return None
        total = along_pairs(self.old, move, parts.stop, parts.go, slice(None, -1), ends).T
        length = np.broadcast_to(self.old.length[ends, None], total.shape)
        return self.scheme.surrogate.response_gain(total, length, sign)

    def gained(self, ended: FloatArray, sign: int) -> EndSums:
        """A measure over the law [cell, grade, end], times the gains of whole responses."""
        parts = self.response_parts(sign)
        if parts is None:
            return with_entries(self.old, ended)
        surrogate = self.scheme.surrogate
        return reweighed(self.old, ended, parts.stop, parts.go,
                         lambda total, length: surrogate.response_gain(total, length, sign))

    # --- the critic -------------------------------------------------------------------------------------------

    def critic_view(self, gae: GAE) -> CriticView:
        """What a critic may look at: law and pay of the policy that draws."""
        policy = self.old
        paid = self.paid_or_nothing
        expected = self.expected_pay
        return CriticView(
            class_of_cell=policy.class_of_cell, probability=policy.cell_probability, hazard=policy.hazard,
            stay=policy.stay, log_at_risk=policy.log_at_risk[:, :-1], left=policy.layout.moves.source,
            arrival=policy.arrival, paid_stop=expected[:, :-1] + paid.stop, paid_go=paid.go,
            paid_truncated=expected[:, -1], gamma=gae.gamma)

    @cached_property
    def errors(self) -> Errors:
        """TD errors of the critic, δ_t = r_t + γV_{t+1} - V_t with value 0 after the last token.

        Cut responses have the critic's value beyond ``max_tokens`` there instead, where GAE bootstraps them.

        Raises:
            TypeError: the estimator has no critic.
        """
        gae = self.token_level
        if gae is None:
            checks.fail("advantage", self.scheme.advantage, "must be GAE to have TD errors", error=TypeError)
        if self.scheme.reward.group_relative and gae.critic.knows_pay:
            checks.fail("critic", gae.critic, "is not defined for a reward that compares the responses of a group",
                        "give its values as critics.Table")
        if self.paid is None and gae.critic.constant is not None:
            return self.rules.once(_constant_errors, gae, self.task, self.policy.layout)
        table = gae.critic.values(self.critic_view(gae))
        beyond = table[:, -1] if gae.bootstrap_truncated else np.zeros(len(table))
        if not np.isfinite(beyond).all():
            checks.fail("bootstrap_truncated", True, "needs a critic with a value beyond max_tokens",
                        "use critics.Constant, critics.Linear, or a critics.Table with max_tokens + 1 columns")
        return _errors(table[:, :-1], beyond, self.paid_or_nothing, gae.gamma, self.task, self.policy.layout)


def _constant_errors(gae: GAE, task: FloatArray, layout: Layout) -> Errors:
    """TD errors of a critic that is one number, where nothing is paid on the way: no policy enters."""
    values = np.full((layout.cells, layout.max_tokens), gae.critic.constant)
    nothing = np.broadcast_to(0.0, values.shape)
    beyond = values[:, -1] if gae.bootstrap_truncated else np.zeros(layout.cells)
    return _errors(values, beyond, Roles(stop=nothing, go=nothing), gae.gamma, task, layout)


def _errors(values: FloatArray, beyond: FloatArray, paid: Roles, gamma: float, task: FloatArray, layout: Layout
            ) -> Errors:
    """TD errors of V at 1..N [cell, t], and of V after a cut where that counts [cell]."""
    going = paid.go[:, :-1] + gamma * values[:, 1:] - values[:, :-1]
    stopped = paid.stop - values
    cut = (paid.go - values)[:, -1:]
    last = np.concatenate([stopped, cut], axis=1)[:, None, :] + task
    last[:, :, -1] += gamma * beyond[:, None]
    source, target, _ = layout.moves
    moving = going[source] + gamma * (values[target, 1:] - values[source, 1:])

    def nothing_at_cap(x: FloatArray) -> FloatArray:
        return np.column_stack([x, np.zeros(len(x))])

    return Errors(going=nothing_at_cap(going), last=last, moving=nothing_at_cap(moving))
