"""What real groups credit their responses with: one function for sampled, logged and padded batches.

Groups come as arrays [..., group, member], padded where they differ in size; masks say which members count. The
advantages are those of the estimator, by group and then, where it asks for it, by step; who contributes follows from
the scheme's treatment of truncated responses and of groups whose rewards are all equal.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np

from lossim._support.records import Record
from lossim._support.types import BoolArray, FloatArray
from lossim.advantages import Group, ResponseAdvantage, Whitened
from lossim.schemes import Scheme

__all__ = ["Credit", "Groups", "credit", "group_credit", "unequal", "whitening_of_steps"]


class Groups(Record):
    """Responses to prompts in groups, each [..., group, member] unless said otherwise.

    Attributes:
        task: task reward, by which groups are equal or not.
        returns: R, the task reward with the KL that is part of it: what advantages are made from.
        length: T, tokens.
        member: a response, not padding.
        counted: in the baseline; False for padding.
        in_loss: in the loss; False for padding.
        baseline: the fixed baseline of the group's prompt class, [..., group, 1].
    """

    task: FloatArray
    returns: FloatArray
    length: FloatArray
    member: BoolArray
    counted: BoolArray
    in_loss: BoolArray
    baseline: FloatArray

    @cached_property
    def compared(self) -> Group:
        """Its members as an estimator compares them."""
        return Group(returns=self.returns, count=self.counted.astype(np.float64), length=self.length,
                     baseline=self.baseline)

    @cached_property
    def unequal(self) -> BoolArray:
        """See :func:`unequal`."""
        return unequal(self.task, self.counted)


class Credit(Record):
    """What the members of groups are credited with.

    Attributes:
        advantage: one per response, 0 out of the baseline; None where the estimator has one for each token.
        in_loss: in the loss, without the survivors of groups that are too small to contribute.
        unequal: groups with at least two different task rewards that count, [..., group, 1].
    """

    advantage: FloatArray | None
    in_loss: BoolArray
    unequal: BoolArray


def credit(scheme: Scheme, estimator: ResponseAdvantage | None, groups: Groups) -> Credit:
    """The credit of whole steps, [step, group, member]: by group, then by the statistics of the step.

    ``estimator``: the scheme's, without whitening; None where it has an advantage for each token.
    """
    given = group_credit(scheme, estimator, groups)
    if estimator is None or given.advantage is None or not estimator.needs_whole_step:
        return given
    advantage = estimator.of_step(given.advantage, groups.returns, groups.counted)
    return Credit(advantage=np.where(groups.counted, advantage, 0.0), in_loss=given.in_loss, unequal=given.unequal)


def group_credit(scheme: Scheme, estimator: ResponseAdvantage | None, groups: Groups) -> Credit:
    """The same before the statistics of a step are taken: all that a group says by itself."""
    advantage = None
    if estimator is not None:
        advantage = np.where(groups.counted, estimator.of_group(groups.compared), 0.0)
    in_loss = groups.in_loss
    if scheme.removes and scheme.advantage.group_relative:
        # A lone survivor has nobody to be compared with; a group of one had nobody to begin with.
        least = np.minimum(groups.member.sum(axis=-1, keepdims=True), 2)
        in_loss = in_loss & (groups.counted.sum(axis=-1, keepdims=True) >= least)
    return Credit(advantage=advantage, in_loss=in_loss, unequal=groups.unequal)


def unequal(task: FloatArray, counted: BoolArray) -> BoolArray:
    """Groups with at least two different task rewards among the members that count, [..., group, 1]."""
    highest = np.max(np.where(counted, task, -np.inf), axis=-1, keepdims=True)
    lowest = np.min(np.where(counted, task, np.inf), axis=-1, keepdims=True)
    return highest > lowest


def whitening_of_steps(whitening: Whitened, first: FloatArray, second: FloatArray, length: FloatArray,
                       in_loss: BoolArray) -> tuple[FloatArray, FloatArray]:
    """μ and (σ² + eps)^-½ over the tokens in the loss of each step, [step, 1, 1].

    ``first`` and ``second`` are Σ_t A and Σ_t A² of each response.
    """
    def total(x: FloatArray) -> FloatArray:
        return np.sum(x * in_loss, axis=(-2, -1), keepdims=True)

    tokens = np.maximum(total(length), 1.0)
    mean = total(first) / tokens
    square = total(second) / tokens
    return mean, whitening.factor(square - mean**2, square, tokens)
