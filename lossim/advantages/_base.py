"""What all estimators have in common: what they say of themselves, and the groups that they are given.

Engines ask an estimator what it is, and never test for its class.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from lossim._support import checks
from lossim._support.types import FloatArray
from lossim.critics import Critic

if TYPE_CHECKING:
    from lossim.advantages._response import ResponseAdvantage
    from lossim.advantages._token import GAE, Whitened


@dataclass(frozen=True, kw_only=True)
class Advantage(checks.Checked):
    """Base of all estimators."""

    @property
    def token_level(self) -> GAE | None:
        """The estimator without whitening, if it has an advantage for each token."""
        return None

    @property
    def assumed_critics(self) -> tuple[tuple[str, Critic], ...]:
        """Where nobody said which critic: those that may be meant, by name, the one that is taken first; else none."""
        gae = self.token_level
        return () if gae is None else gae.critic.alternatives

    @property
    def response_level(self) -> ResponseAdvantage | None:
        """The estimator without whitening, if it has one advantage for all tokens of a response."""
        return None

    @property
    def whitening(self) -> Whitened | None:
        """Whitening over the tokens of a step, if there is any."""
        return None

    @property
    def group_relative(self) -> bool:
        """Whether the estimator compares a response with the others of its group."""
        return False

    @property
    def least_group_size(self) -> int:
        """The smallest group for which the estimator is defined."""
        return 1

    def with_critic(self, critic: Critic) -> Advantage:
        """The same estimator with another critic, if it has one."""
        checks.fail("advantage", self, "must be GAE to have a critic", error=TypeError)

    def repeated(self, count: int) -> Self:
        """The estimator of so many copies of all prompt classes: what it holds per class or cell, written once each."""
        return self


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Members of groups, [..., member]: the responses of real groups, or reward levels with how often they occur.

    Attributes:
        returns: R of each member.
        count: how often the member occurs in the baseline; 0 leaves it out (its entry is then meaningless).
        length: T of each member, tokens.
        baseline: the fixed baseline of the group's prompt class, [..., 1]; 0 where there is none.
    """

    returns: FloatArray
    count: FloatArray
    length: FloatArray
    baseline: FloatArray

    @cached_property
    def members(self) -> FloatArray:
        """How many count, [..., 1]."""
        return np.sum(self.count, axis=-1, keepdims=True)

    @cached_property
    def shifted(self) -> FloatArray:
        """Returns less the largest that counts, so that equal ones are exactly 0 and centring leaves no rounding."""
        top = np.max(np.where(self.count > 0, self.returns, -np.inf), axis=-1, keepdims=True)
        return self.returns - np.where(np.isfinite(top), top, 0.0)

    @cached_property
    def centred(self) -> FloatArray:
        """Returns less their mean over those that count."""
        total = np.sum(self.count * self.shifted, axis=-1, keepdims=True)
        return self.shifted - total / np.maximum(self.members, 1.0)

    @cached_property
    def squares(self) -> FloatArray:
        """Σ (R - mean)² over those that count, [..., 1]."""
        return np.sum(self.count * self.centred**2, axis=-1, keepdims=True)

    def variance(self, ddof: int) -> FloatArray:
        """Σ (R - mean)² / (members - ddof), [..., 1]."""
        return self.squares / np.maximum(self.members - ddof, 1.0)


def group_of(returns: FloatArray, *, count: FloatArray | None = None, length: FloatArray | None = None,
             baseline: FloatArray | None = None) -> Group:
    """Groups of these returns [..., member], each counted once unless told otherwise.

    >>> group_of(np.array([1.0, 0.0, 0.0, 0.0])).centred
    array([ 0.75, -0.25, -0.25, -0.25])
    """
    ones = np.ones_like(returns)
    return Group(returns=returns, count=ones if count is None else count, length=ones if length is None else length,
                 baseline=np.zeros(1) if baseline is None else baseline)
